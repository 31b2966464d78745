"""Why a run of the real dllama has no figures, and which worker is to blame.

Only what the logs prove is said; where the root's log alone cannot tell, it says that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.backends.dllama.printed.damage import damaged, lost
from pytest_dllama.backends.dllama.printed.lines import shells_word
from pytest_dllama.backends.dllama.printed.run import LoggedRun, Stall
from pytest_dllama.backends.dllama.printed.times import totals
from pytest_dllama.backends.dllama.printed.traffic import buffer_bytes

_REMEDIES = {  # what dllama says -> what it means
    "Invalid tokenizer header key": "this dllama does not know all keys of the tokenizer file "
    "(9 and 10 came with v0.14.0): use a newer one, or a tokenizer file without them",
    "Unsupported header key": "this dllama does not know the model's architecture (Qwen3 came with "
    "v0.14.0, its mixture of experts with v0.16.0): use a newer one",
    "Old model format is not supported": "the model file is of an old dllama: convert it anew",
    "Old tokenizer version": "the tokenizer file is of an older dllama: convert it anew",
    "This version supports only Q40 weights with Q80 sync type": "add --buffer-float-type q80, or "
    "use a model with q40 weights",
    "This build does not support GPU": "leave out --gpu-index, or build dllama with "
    "DLLAMA_VULKAN=1",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """A run without figures."""

    kind: str
    message: str
    rank: int | None = None


def failure_of(run: LoggedRun, workers: Sequence[LoggedRun] = ()) -> Failure | None:
    """Why a root's run cannot be used; None for a whole one.

    Args:
        run: the root's run.
        workers: the sessions of its workers, those whose logs are at hand.
    """
    if run.unreachable is not None:
        return _unreachable(run, *run.unreachable)
    if run.errors or any(stall.kind == "NET_TIMEOUT" for stall in run.stalls):
        return _stopped(run, workers)
    if run.perplexity:
        return None
    if "chat" in run.signs:
        return Failure(
            "NoRequest",
            "a log of dllama's chat or API server, which prints no times: give the output of "
            "`dllama inference`; the conversation is not stored",
        )
    why = run.damage or lost(run)
    if why:
        return Failure("LogDamaged", why)
    times = totals(run)
    if times is None:
        return _ends_early(run, workers)
    why = damaged(run, times)
    return Failure("LogDamaged", why) if why else None


def _unreachable(run: LoggedRun, address: str, reason: str) -> Failure:
    ranks = [socket + 1 for socket, peer in run.peer_addresses.items() if peer == address]
    who = f"worker {ranks[0]}" if ranks else "a worker"
    return Failure(
        "WorkerUnreachable",
        f"{who} at {address} cannot be reached ({reason}): no worker listens there; start it, or "
        "correct --workers",
        ranks[0] if ranks else None,
    )


def _stopped(run: LoggedRun, workers: Sequence[LoggedRun]) -> Failure:
    timeouts = [stall for stall in run.stalls if stall.kind == "NET_TIMEOUT"]
    errors = "; ".join(run.errors)
    if remedy := next((text for words, text in _REMEDIES.items() if words in errors), None):
        errors = f"{errors}: {remedy}"
    if not timeouts:
        waits = f"; {_waits(run)}" if run.stalls else ""
        return Failure("DllamaError", (errors or "stopped without a reason") + waits)
    blamed, rank = _culprit(run, workers, timeouts[-1])
    parts = [_timeout(run, timeouts[-1]), blamed, f"dllama said: {errors}" if errors else ""]
    return Failure("NET_TIMEOUT", "; ".join(part for part in parts if part), rank)


def _timeout(run: LoggedRun, stall: Stall) -> str:
    """What was waited for, how long, and where in the step."""
    where = next((s for s in reversed(run.stalls) if s.kind == "EXEC_STALL"), None)
    said = [
        f"{stall.what} gave up after {stall.stalled_ms} ms with {stall.pending_bytes} bytes still "
        "to come"
    ]
    if stall.sockets is not None:
        many = f"it waited on {stall.sockets} sockets"
        said.append("it waited on one socket" if stall.sockets == 1 else many)
    if where is not None:
        said.append(f"it was in step {where.step}/{where.steps} ({where.what})")
    return "; ".join(said)


def _waits(run: LoggedRun) -> str:
    longest = max(run.stalls, key=lambda stall: stall.stalled_ms)
    return f"it waited {longest.stalled_ms} ms in {longest.what} before"


def _culprit(run: LoggedRun, workers: Sequence[LoggedRun], stall: Stall) -> tuple[str, int | None]:
    """Whom the root waited for, in words, and the rank if it is one."""
    if not workers:
        text = "which worker was silent the root's log cannot tell: import the workers' logs too"
        return text, None
    idle = [worker for worker in workers if not worker.stalls]
    if len(idle) == 1 and idle[0].rank is not None:
        rank = idle[0].rank
        said = f" ({'; '.join(idle[0].errors)})" if idle[0].errors else ""
        return (
            f"worker {rank} is the culprit: the others wait, and its log shows no wait{said}",
            rank,
        )
    if idle:
        return f"{len(idle)} workers' logs show no wait: {_ranks(idle)} were silent", None
    return _deadlock(run, workers, stall), None


def _deadlock(run: LoggedRun, workers: Sequence[LoggedRun], stall: Stall) -> str:
    """Everybody waits for somebody."""
    pending = {worker.stalls[-1].pending_bytes or 0 for worker in _net_waiting(workers)}
    everybody = f"no single worker is to blame: {_ranks(workers)} wait too"
    if not pending:
        return everybody
    amounts = " or ".join(map(str, sorted(pending)))
    chunk = _ring_chunk(run, pending, stall)
    wait = f"each waits for {amounts} bytes: a deadlock"
    if chunk is not None:
        wait = (
            f"each waits for {amounts} bytes, one chunk of a ring all-reduce ({chunk} bytes / "
            f"{run.nodes} nodes), while the root runs {run.collective or 'another collective'}: "
            "start the root and every worker with the same --collective"
        )
    return f"{everybody}; {wait}"


def _net_waiting(workers: Sequence[LoggedRun]) -> list[LoggedRun]:
    """Workers whose last words name what they waited for."""
    return [w for w in workers if w.stalls and w.stalls[-1].pending_bytes is not None]


def _ring_chunk(run: LoggedRun, pending: set[int], stall: Stall) -> int | None:
    """The vector whose n-th part all workers wait for, if the root expects it whole."""
    if run.shape is None or not run.nodes or len(pending) != 1 or run.collective == "ring":
        return None
    for buffer_type in ("f32", "q80"):
        vector = buffer_bytes(run.shape.dim, buffer_type)
        if {vector // run.nodes} == pending and (stall.pending_bytes or 0) <= vector * (
            run.nodes - 1
        ):
            return vector
    return None


def _ranks(workers: Sequence[LoggedRun]) -> str:
    ranks = sorted(worker.rank or 0 for worker in workers)
    if len(ranks) == 1:
        return f"worker {ranks[0]}"
    return f"workers {', '.join(map(str, ranks))}"


def _ends_early(run: LoggedRun, workers: Sequence[LoggedRun]) -> Failure:
    if run.decode:
        spent_s = sum(step.total_ms for step in run.steps) / 1e3
        how_far = f"after {len(run.decode)} tokens ({spent_s:.1f} s of forward passes)"
        if len(run.decode) == 1:
            how_far = f"after the first token ({spent_s:.1f} s of forward passes)"
    elif run.prefill:
        how_far = "in the prompt's evaluation"
    elif run.has_weights:
        how_far = "before the first forward pass"
    else:
        how_far = "before the weights were loaded"
    said = [_waits(run)] if run.stalls else []
    if any(line.startswith(("🔷", "🔶")) for line in run.unread):
        said.append(f"lines of an unknown format: {len(run.unread)}, such as {run.unread[0]!r}")
    if word := _shells_word(run):
        said.append(f"the shell said: {word}")
    said += [f"worker {w.rank} said: {'; '.join(w.errors)}" for w in workers if w.errors]
    if run.prediction is not None and run.prediction.has_rate:
        how_far = "without any generated token: ask for more --steps"
        if run.prediction.n_tokens:
            how_far = "with a rate that is no figure (inf, nan or 0 ms a token)"
    return Failure("LogEnds", "; ".join([f"the root's output ends {how_far}", *said]))


def _shells_word(run: LoggedRun) -> str:
    """What the shell printed when a signal ended dllama: the last lines of all."""
    last = [step.piece for step in run.decode[-1:]] + run.prompt_lines + run.foreign
    words = (shells_word(line) for text in last for line in text.split("\n"))
    return next((word for word in words if word), "")
