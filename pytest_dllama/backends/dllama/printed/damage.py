"""Whether a run's lines are all of it, unchanged: what a whole log cannot say, in words.

Each check is one that every whole log of every version passes. What nothing in a log tells twice
(a digit of one pass's time) no check can find.
"""

from __future__ import annotations

from pytest_dllama.backends.dllama.printed.run import LoggedRun, PhaseBlock, StepLine
from pytest_dllama.backends.dllama.printed.times import Totals, is_sum

_PRINTED_MS = 1.0  # prefillMs is a wall time, ms/tok a rounded mean: they differ by less
_NOT_THE_FORKS = (
    "this is no Timing block of the real fork (dllama-py's own runs are measured with pytest, not "
    "imported)"
)
_MOST_BESIDE_MS = 100.0  # of sampling and printing, beside a forward pass
_DIM_OF_A_KB = 256  # from here on each token's embedding is a kB for every worker
_PRINTED = 0.0051  # two decimals


def lost(run: LoggedRun) -> str | None:
    """A line that a whole log has and this one lacks, where a figure would be another without it.

    Without its Evaluation block a prompt has Eval lines still: see `run.has_lost_evaluation`.
    """
    if run.prediction is None or not run.prediction.has_rate:
        return None  # it ends early, which is told
    if run.is_old:
        return _lost_of_old(run)
    evaluation = run.evaluation
    if run.steps and not run.prefill and (evaluation is None or not evaluation.has_rate):
        return "the Eval lines and the Evaluation block are missing: lines were lost"
    has_some = bool({"timing", "chunks"} & run.signs)
    if has_some and not {"ttftMs", "totalMs"} <= run.timing_ms.keys():
        return "the Timing block is not whole: lines were lost"
    if run.sockets and run.peer_addresses and run.sockets != set(run.peer_addresses):
        return "not every worker has its two lines, connecting and connected: lines were lost"
    return None


def _lost_of_old(run: LoggedRun) -> str | None:
    assert run.prediction is not None
    n_averages = 3 if run.prints_no_rate else 4
    if run.prediction.n_tokens is None or len(run.averages) < n_averages:
        return "the closing averages are not whole: lines were lost"
    first = run.positions[0] if run.positions and run.is_tail else 0
    if run.positions and run.positions != list(range(first, first + len(run.steps))):
        return "the positions of the forward passes do not count up: lines were lost or moved"
    if not run.decode and not run.is_tail:
        return "the lines of the forward passes are missing"
    return None


def damaged(run: LoggedRun, times: Totals) -> str | None:
    """What of the run contradicts itself.

    Args:
        run: a run whose closing lines are there.
        times: its times.
    """
    checks = [_two_versions(run), _contradiction(run), _other_nodes(run)]
    if times.has_steps:
        checks += [
            _other_count(run),
            _moved(run),
            _unordered(run, times),
            _other_timing(run, times),
        ]
        checks += [_other_averages(run) if run.is_old else _other_sum(run, times)]
    return next((why for why in checks if why), None)


def _two_versions(run: LoggedRun) -> str | None:
    """Lines that no one build prints together."""
    has_walls = {step.wall_ms is not None for step in run.steps}
    is_mixed = len(has_walls) > 1 or (
        run.is_old and ("eval" in run.signs or run.evaluation is not None)
    )
    is_mixed = is_mixed or (run.variant == "fork" and True in has_walls and not run.is_old)
    return "lines of two versions of dllama: they are of different runs" if is_mixed else None


def _contradiction(run: LoggedRun) -> str | None:
    """A closing block whose two rates are not those of one time."""
    if run.prints_no_rate:
        return None  # it has one
    for name, block in (("Evaluation", run.evaluation), ("Prediction", run.prediction)):
        if block is not None and block.contradicts_itself:
            return (
                f"the {name} block says {block.tokens_per_s or 'no'} tokens/s and "
                f"{block.ms_per_token} ms a token, which are not one time: lines were changed or "
                "mixed"
            )
    return None


def _other_nodes(run: LoggedRun) -> str | None:
    said = sorted({*run.said_nodes, *([len(run.sockets) + 1] if run.sockets else [])})
    if len(said) > 1 and not run.is_worker:
        counts = " and ".join(map(str, said))
        return f"the log says {counts} nodes: lines were changed, lost or mixed with another run's"
    moved_kb = run.printed_kb
    dim = run.header.get("Dim", run.header.get("dim", ""))
    is_silent = moved_kb == 0 and dim.isdecimal() and int(dim[:9]) >= _DIM_OF_A_KB
    if run.steps and ((run.nodes == 1 and moved_kb) or ((run.nodes or 0) > 1 and is_silent)):
        return (
            f"the log's node count is {run.nodes}, and its passes moved {moved_kb} kB: lines were "
            "changed, lost or mixed with another run's"
        )
    return None


def _phases(run: LoggedRun) -> tuple[tuple[str, PhaseBlock | None, list[StepLine]], ...]:
    return (("Evaluation", run.evaluation, run.prefill), ("Prediction", run.prediction, run.decode))


def _other_count(run: LoggedRun) -> str | None:
    """Step lines that are not as many as the closing blocks say."""
    for name, block, steps in _phases(run):
        printed = sum(step.n_tokens for step in steps)
        if block is not None and block.n_tokens is not None and block.n_tokens != printed:
            return (
                f"the log has {printed} tokens in its {steps[0].phase if steps else 'Eval'} lines "
                f"where the {name} block says {block.n_tokens}: lines were lost, doubled or mixed "
                "with another run's"
            )
    return None


def _moved(run: LoggedRun) -> str | None:
    if run.is_old and not run.positions and run.pass_with_weights:
        return "the pass that sent the weights is not the first: lines were moved"
    phases = [step.phase for step in run.steps]
    if phases != sorted(phases):  # "eval" before "pred"
        return "Eval lines stand behind Pred lines: lines were moved"
    return None


def _unordered(run: LoggedRun, times: Totals) -> str | None:
    slack_ms = _PRINTED_MS + 0.01 * sum(run.rows)  # ms per token has two decimals
    if (times.prefill_ms or 0.0) - slack_ms <= times.ttft_ms <= times.rct_ms + slack_ms:
        return None
    return (
        f"the times do not follow each other: prefill {times.prefill_ms or 0.0:.2f} ms, first "
        f"token {times.ttft_ms:.2f} ms, last token {times.rct_ms:.2f} ms; {_NOT_THE_FORKS}"
    )


def _other_timing(run: LoggedRun, times: Totals) -> str | None:
    """The fork's Timing block: its parts are the whole, its first token no later than it can be."""
    timing = {
        name: run.timing_ms.get(f"{name}Ms") for name in ("prefill", "ttft", "decode", "total")
    }
    if times.wraps or any(value is None for value in timing.values()):
        return None
    prefill, ttft, decode, total = (value or 0.0 for value in timing.values())
    first_ms = run.decode[0].total_ms
    most_ms = first_ms + max(decode - sum(step.total_ms for step in run.decode), 0.0)
    is_whole = abs(prefill + decode - total) <= 3 * _PRINTED
    n_passes = max(len(run.decode), len(run.prefill))
    for own, passes in ((prefill, times.prefill_ms), (decode, times.decode_ms)):
        is_whole = is_whole and (passes is None or own - passes <= _MOST_BESIDE_MS * n_passes)
    if is_whole and first_ms - _PRINTED_MS <= ttft - prefill <= most_ms + _PRINTED_MS:
        return None
    return (
        f"the Timing block contradicts itself or the Pred lines: prefill {prefill:.2f} ms, first "
        f"token {ttft:.2f} ms, decode {decode:.2f} ms, total {total:.2f} ms: lines were changed or "
        f"mixed, or {_NOT_THE_FORKS}"
    )


def _other_sum(run: LoggedRun, times: Totals) -> str | None:
    """Step lines that do not sum up to the closing blocks."""
    if any(step.wall_ms is not None for step in run.steps):
        return _more_than_all(run, times)
    phases = (
        ("Eval", "Evaluation", times.prefill_ms, run.prefill),
        ("Pred", "Prediction", times.decode_ms, run.decode),
    )
    for line, block, total_ms, steps in phases:
        if total_ms is not None and not is_sum(total_ms, steps):
            summed_ms = sum(step.total_ms for step in steps)
            return (
                f"the {line} lines sum up to {summed_ms} ms where the {block} block says "
                f"{total_ms:.0f} ms: lines were changed, lost or mixed with another run's"
            )
    return None


def _more_than_all(run: LoggedRun, times: Totals) -> str | None:
    """v0.12.0 to v0.12.7 sum up whole loops, printing and all: never less than their lines."""
    for name, total_ms, steps in (
        ("Evaluation", times.prefill_ms, run.prefill),
        ("Prediction", times.decode_ms, run.decode),
    ):
        summed_ms = sum(step.total_ms for step in steps)
        slack_ms = _PRINTED_MS + 0.01 * sum(step.n_tokens for step in steps)
        if total_ms is not None and total_ms < summed_ms - slack_ms:
            return (
                f"the lines of the {name} block's phase sum up to {summed_ms} ms where it says "
                f"{total_ms:.0f} ms: lines were changed or mixed with another run's"
            )
    return None


def _other_averages(run: LoggedRun) -> str | None:
    """Up to v0.11.2 the averages are those of the printed whole ms, to the last digit."""
    n = len(run.decode)
    sums = {
        "generation time": sum(step.total_ms for step in run.decode),
        "inference time": sum(step.compute_ms or 0 for step in run.decode),
        "transfer time": sum(step.sync_ms or 0 for step in run.decode),
    }
    expected = {name: summed / n for name, summed in sums.items()}
    if sums["generation time"]:
        expected["tokens / second"] = 1e3 / expected["generation time"]
    for name, value in expected.items():
        printed = run.averages.get(name)
        if printed is not None and abs(printed - value) > _PRINTED + 1e-6 * value:
            return (
                f"the lines of the forward passes average {value:.2f} where the log says "
                f"{printed:.2f} ({name}): lines were changed or mixed with another run's"
            )
    return None
