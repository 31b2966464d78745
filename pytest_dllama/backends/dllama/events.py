"""One run of the real dllama -> the events that the embedded engine's stream would hold.

The log has no clock. Steps are laid out on one that starts with the request, so that the first and
the last token stand at dllama's own TTFT and RCT; every trap on the way is told by a note.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.backends.dllama.faults import Failure, failure_of
from pytest_dllama.backends.dllama.notes import (
    Wire,
    can_tell_bytes,
    invalid_reasons,
    notes_of,
    traffic_of,
    wire_of,
)
from pytest_dllama.backends.dllama.printed.run import LoggedRun, MonitorTable, StepLine
from pytest_dllama.backends.dllama.printed.times import (
    Totals,
    decode_ends_ms,
    prefill_ends_ms,
    totals,
)
from pytest_dllama.backends.dllama.printed.traffic import Traffic, collectives_per_row
from pytest_dllama.events.base import LinkCount
from pytest_dllama.events.ranks import Network, NetworkOp, NetworkTotal, Rank
from pytest_dllama.events.request import Done, RequestStart, Step
from pytest_dllama.events.session import Error, Note, Start
from pytest_dllama.events.stream import Event

# dllama before v0.12 does not tell the prompt's passes from those of the output.
OLD_UNKNOWN = ("n_input_tokens", "ttft_s", "tokens_per_s")
ALL_LINKS = 0  # dllama prints the sum over the root's links: booked on the root itself
NO_TEXT = "~"  # printed for a token without text


def run_events(
    run: LoggedRun, workers: Sequence[LoggedRun] = (), nodes: int | None = None
) -> list[Event]:
    """Events of a root's run.

    Args:
        run: the root's run.
        workers: its workers' sessions, as far as their logs are at hand.
        nodes: nodes with the root, where the log cannot tell.
    """
    n_nodes = run.nodes or nodes or 1
    start = Start(
        event="start",
        version=f"dllama ({run.variant})",
        world_size=n_nodes,
        cpu=run.cpu,
        batch_size=run.n_batches,
    )
    failure = failure_of(run, workers)
    if failure is not None:
        return [start, _error(failure)]
    times = totals(run)
    if times is None:
        return [start, _perplexity(run)]
    if not times.has_steps:
        return [start, *_blocks_alone(run, times)]
    wire = wire_of(run, n_nodes)
    return [
        start,
        RequestStart(event="request", n_input_tokens=_input_tokens(run)),
        *_steps(run, n_nodes, times, wire),
        _done(run, times),
        *_ranks(run, n_nodes),
        *_network(run, wire),
        *(Note(event="note", text=text) for text in notes_of(run, n_nodes, times, wire)),
        *_worker_notes(workers),
        *(Note(event="note", text=why, invalid=True) for why in invalid_reasons(run)),
    ]


def _blocks_alone(run: LoggedRun, times: Totals) -> list[Event]:
    """A paste of the closing blocks: their rates and the whole time; no token by itself."""
    assert run.prediction is not None
    n_output = run.prediction.n_tokens or 0
    n_input = (run.evaluation.n_tokens or 0) if run.evaluation else 0
    ends = [round((times.prefill_ms or 0.0) * 1e6)]
    first_ns, n_even = float(ends[0]), n_output
    if times.is_own_clock and n_output > 1:  # then the first token's time is known
        first_ns, n_even = times.ttft_ms * 1e6, n_output - 1
        ends.append(round(first_ns))
    each_ns = (times.rct_ms * 1e6 - first_ns) / n_even
    ends += [round(first_ns + each_ns * i) for i in range(1, n_even + 1)]
    decode = [
        Step(
            event="step",
            phase="decode",
            index=i,
            n_tokens=1,
            start_ns=ends[i],
            end_ns=ends[i + 1],
            piece="",
        )
        for i in range(n_output)
    ]
    prefill = [
        Step(event="step", phase="prefill", index=0, n_tokens=n_input, start_ns=0, end_ns=ends[0])
    ]
    clock = () if times.is_own_clock else ("ttft_s", "tpot_ms")
    unknown = (*OLD_UNKNOWN, "tpot_ms") if run.is_old else clock
    done = _done(run, times).model_copy(
        update={"n_output_tokens": n_output, "unknown": (*unknown, "itl_ms")}
    )
    return [
        RequestStart(event="request", n_input_tokens=n_input + 1),
        *(prefill if run.evaluation else []),
        *decode,
        done,
        Note(event="note", text=_of_the_end(run)),
    ]


def _of_the_end(run: LoggedRun) -> str:
    text = "Only the closing blocks are at hand: their rates and the sum; the rest is not known."
    if run.ends_unprinted:
        return (
            "dllama before v0.12 counts a last pass that it does not print where the text ends: "
            "its averages are taken, no single token."
        )
    if not run.decode:
        return text
    return f"{text} Its head is missing, and so are all but {len(run.decode)} of its passes' lines."


def _worker_notes(workers: Sequence[LoggedRun]) -> list[Note]:
    said = [
        f"worker {worker.rank} {worker.required_mb}"
        for worker in workers
        if worker.required_mb is not None and worker.rank is not None
    ]
    text = f"MB that workers said they would allocate (RequiredMemory): {', '.join(said)}."
    return [Note(event="note", text=text)] if said else []


def _error(failure: Failure) -> Error:
    return Error(event="error", type=failure.kind, message=failure.message, rank=failure.rank)


def _perplexity(run: LoggedRun) -> Error:
    """A perplexity run measures no request; its result is told all the same."""
    figures = ", ".join(f"{name} {value}" for name, value in run.perplexity.items())
    return Error(
        event="error",
        type="NoRequest",
        message=f"a perplexity run, which times no request: {figures} over "
        f"{run.perplexity_tokens} tokens",
    )


def _input_tokens(run: LoggedRun) -> int:
    """All but the last token of a prompt are evaluated; the last one starts the decoding."""
    return sum(step.n_tokens for step in run.prefill) + 1


def _steps(run: LoggedRun, nodes: int, times: Totals, wire: Wire | None) -> list[Step]:
    ends_ms = [*prefill_ends_ms(run.prefill, times), *decode_ends_ms(run.decode, times)]
    # Without the model's figures, or of a version that counts its weights in, bytes are unknown.
    has_bytes = nodes > 1 and (wire is not None or (run.shape is not None and can_tell_bytes(run)))
    steps: list[Step] = []
    position = previous_ns = 0
    for number, (line, end_ms) in enumerate(zip(run.steps, ends_ms, strict=True)):
        traffic = traffic_of(run, nodes, wire, line.n_tokens) if wire else None
        end_ns = round(end_ms * 1e6)
        steps.append(
            Step(
                event="step",
                phase="prefill" if line.phase == "eval" else "decode",
                index=number if line.phase == "eval" else number - len(run.prefill),
                pos=position,
                n_tokens=line.n_tokens,
                start_ns=min(max(end_ns - line.total_ms * 1_000_000, previous_ns), end_ns),
                end_ns=end_ns,
                compute_us=_us(line.compute_ms),
                sync_us=_us(line.sync_ms),
                piece=_piece(line),
                links=(_link(line, traffic),) if has_bytes else (),
                expected_payload_bytes=traffic.bytes if traffic else None,
            )
        )
        position, previous_ns = position + line.n_tokens, end_ns
    return steps


def _piece(line: StepLine) -> str | None:
    if line.phase == "eval":
        return None
    return "" if line.piece == NO_TEXT else line.piece


def _link(line: StepLine, traffic: Traffic | None) -> LinkCount:
    """The closed form's bytes where they are the printed ones, else the printed kB."""
    return LinkCount(
        peer=ALL_LINKS,
        sent_payload_bytes=traffic.sent_bytes if traffic else line.sent_kb * 1024,
        recv_payload_bytes=traffic.recv_bytes if traffic else line.recv_kb * 1024,
    )


def _done(run: LoggedRun, times: Totals) -> Done:
    return Done(
        event="done",
        unknown=_unknown(run, times),
        n_input_tokens=_input_tokens(run),
        n_output_tokens=len(run.decode),
        prefill_s=None if times.prefill_ms is None else times.prefill_ms / 1e3,
        decode_s=None if times.decode_ms is None else times.decode_ms / 1e3,
        ttft_s=times.ttft_ms / 1e3,
        rct_s=times.rct_ms / 1e3,
    )


def _unknown(run: LoggedRun, times: Totals) -> tuple[str, ...]:
    """A prompt that took 0 whole ms has no time: neither has the first token.

    Nor has one whose closing block is lost: its lines are cut to whole ms, and so is any sum with
    them, unless the program's own clock told it. Of an old version's passes on one node nothing
    tells which came first.
    """
    if run.is_old:
        return OLD_UNKNOWN if run.first_pass_is_told else (*OLD_UNKNOWN, "tpot_ms", "itl_ms")
    if run.has_lost_evaluation:
        sums = () if times.is_own_clock else ("ttft_s", "rct_s", "tokens_per_s", "sync_share")
        return ("prefill_s", *sums)
    has_none = bool(run.prefill) and times.prefill_ms is None
    return ("prefill_s", "ttft_s") if has_none or times.ttft_ms <= 0 else ()


def _ranks(run: LoggedRun, nodes: int) -> list[Rank]:
    """The root and, by address, its workers; dllama tells no one's memory or a worker's times."""
    has_parts = all(step.sync_ms is not None for step in run.steps)
    root = Rank(
        event="rank",
        rank=0,
        role="root",
        compute_us=sum(s.compute_ms or 0 for s in run.steps) * 1e3 if has_parts else None,
        sync_us=sum(s.sync_ms or 0 for s in run.steps) * 1e3 if has_parts and nodes > 1 else None,
    )
    workers = [
        Rank(event="rank", rank=socket + 1, role="worker", address=address)
        for socket, address in sorted(run.peer_addresses.items())
    ]
    return [root, *workers]


def _network(run: LoggedRun, wire: Wire | None) -> list[Network]:
    """The fork's own report; for upstream, how many collectives its closed form has."""
    if run.monitor is not None:
        return [_monitored(run.monitor)]
    if wire is None or run.shape is None or run.variant == "fork":
        return []  # no figures of a model that its bytes bear out; the fork counts otherwise
    operations = sum(run.rows) * collectives_per_row(run.shape)
    return [Network(event="network", total=NetworkTotal(operations=operations))]


def _monitored(table: MonitorTable) -> Network:
    p50_ms = table.percentiles_ms[0] if table.percentiles_ms else None
    total = NetworkTotal(
        operations=table.operations,
        avg_us=_us(table.avg_ms),
        max_us=_us(table.max_ms),
        min_us=_us(table.min_ms),
        p50_us=_us(p50_ms),
    )
    ops = tuple(
        NetworkOp(
            op=item.op,
            operations=item.operations,
            bytes=round(item.mb * 2**20),
            avg_us=item.avg_ms * 1e3,
        )
        for item in table.operations_by_kind
    )
    return Network(event="network", total=total, ops=ops)


def _us(value_ms: float | None) -> float | None:
    return None if value_ms is None else value_ms * 1e3
