"""What a reader must know of figures that the real dllama printed: its traps, one sentence each."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dllama.amounts import counted
from pytest_dllama.backends.dllama.printed.lines import MOST_WORDS
from pytest_dllama.backends.dllama.printed.run import LoggedRun, MonitorTable
from pytest_dllama.backends.dllama.printed.times import Totals
from pytest_dllama.backends.dllama.printed.traffic import (
    FORK_COLLECTIVES,
    Build,
    Collective,
    Traffic,
    find_build,
    find_threads,
    pass_traffic,
)

_CANDIDATES = {
    "upstream": (Collective.ALL_TO_ALL,),
    "fork": FORK_COLLECTIVES,
    "unknown": tuple(Collective),
}
_BUILDS = {
    "upstream": "upstream build",
    "fork": "fork (network monitor, collectives, pipeline stages)",
    "unknown": "upstream or fork: nothing in it tells which",
}
PIPELINE_REASON = (
    "pipeline run (pp={pp}): this fork's --pp-size above 1 skips part of the model's work, so its "
    "speed is not that of the model"
)


@dataclass(frozen=True, slots=True)
class Wire:
    """The closed form that gives a run's printed bytes, and the root's threads if it tells."""

    build: Build
    n_threads: int | None = None


def wire_of(run: LoggedRun, nodes: int) -> Wire | None:
    """Which build's closed form the run's bytes follow; None if none of those known."""
    if nodes < 2 or run.shape is None or is_pipeline(run) or run.is_old:
        return None
    printed = [step.printed() for step in run.steps]
    build = find_build(run.shape, nodes, printed, _CANDIDATES[run.variant])
    if build is None:
        return None
    if run.monitor is None:
        return Wire(build)
    table = run.monitor
    n_threads = find_threads(run.shape, nodes, build, run.rows, table.operations, table.total_mb)
    return Wire(build, n_threads)


def can_tell_bytes(run: LoggedRun) -> bool:
    """Whether its printed kB, which no closed form gives, can be taken at all."""
    return run.printed_kb > 0 and not run.is_old and run.has_even_bytes


def traffic_of(run: LoggedRun, nodes: int, wire: Wire, rows: int) -> Traffic:
    """Bytes of one forward pass by the closed form."""
    assert run.shape is not None
    return pass_traffic(run.shape, nodes, wire.build, rows)


def is_pipeline(run: LoggedRun) -> bool:
    """Whether the fork split the layers over stages, which it does not do right."""
    return (run.pp_size or 1) > 1


def invalid_reasons(run: LoggedRun) -> list[str]:
    """Why the figures may not be believed, beyond what any engine is judged by."""
    return [PIPELINE_REASON.format(pp=run.pp_size)] if is_pipeline(run) else []


def notes_of(run: LoggedRun, nodes: int, times: Totals, wire: Wire | None) -> list[str]:
    """Every trap that this run's figures fall under."""
    return [
        f"The output is that of dllama's {_build_shown(run)}.",
        *_time_notes(run, times),
        *(_byte_notes(run, nodes, wire) if nodes > 1 and not run.is_old else []),
        *(_monitor_notes(run.monitor, wire) if run.monitor is not None else []),
        *_other_notes(run),
    ]


def _old_versions(run: LoggedRun) -> str:
    """By what its head says: names that changed."""
    if run.positions:
        return "v0.4"
    if "loaded_bytes" in run.signs:
        return "v0.1 to v0.3"
    if run.header.get("arch") == "llama2":
        return "v0.5 or v0.6"
    if "rope_cache_size" not in run.signs:
        return "v0.6 to v0.10.1" if run.header else "some version before v0.12"
    if run.sockets:
        return "v0.11"
    return "v0.10.2 to v0.11.2" if run.nodes == 1 else "v0.10.2 to v0.10.6"


def _build_shown(run: LoggedRun) -> str:
    """Which build printed it, as far as the shape of its lines tells."""
    if run.is_old:
        return f"{_old_versions(run)} (upstream)"
    if any(step.wall_ms is not None for step in run.steps):
        return "v0.12.0 to v0.12.7 (upstream)"
    return _BUILDS[run.variant]


def _old_notes(run: LoggedRun) -> list[str]:
    if run.first_pass_is_told:
        tpot = "decode speed is over all passes, TPOT over all but the first"
    else:
        tpot = "decode speed is over all passes; TPOT is not known on one node"
    return [
        "dllama before v0.12 prints one line for each forward pass, the prompt's tokens among "
        "them, and nothing tells where the prompt ends: TTFT and output tokens / RCT are not "
        f"known; {tpot}, and the text begins with the prompt.",
        "Its bytes hold the weights in the first line: no bytes a token are taken from them.",
        "On x86, v0.5.2 to v0.10.5 sum into an unset register: greedy output may differ from run "
        "to run.",
    ]


def _time_notes(run: LoggedRun, times: Totals) -> list[str]:
    if run.is_old:
        return _old_notes(run)
    if run.has_lost_evaluation:
        n_tokens = sum(step.n_tokens for step in run.prefill)
        return [
            f"The Evaluation block is not whole. Its tokens ({n_tokens}) stand in Eval lines, "
            "which are cut to whole ms: prefill time, TTFT, RCT and output tokens / RCT are not "
            "known."
        ]
    said = [
        "dllama prints single steps in whole ms, cut off; its totals are exact, so the cut-off "
        "fractions are spread evenly over the gaps between tokens.",
        "dllama's own tokens/s count forward passes only: tokenizing and sampling are left out.",
    ]
    if times.is_own_clock:
        said.append(
            "TTFT and RCT are ttftMs and totalMs of dllama's Timing block: tokenizing the prompt "
            "is left out."
        )
    else:
        said.append(
            "This dllama prints no Timing block: TTFT and RCT are sums of its forward passes, "
            "without tokenizing, sampling and printing; the real ones are a little longer."
        )
    if times.wraps:
        said.append(
            f"dllama's 32-bit microseconds overflowed (71.6 min) {times.wraps} times; the totals "
            "are corrected by the step lines."
        )
    return said


def _byte_notes(run: LoggedRun, nodes: int, wire: Wire | None) -> list[str]:
    if wire is None:
        is_shown = run.shape is not None and can_tell_bytes(run)
        how = "lower bounds and unchecked" if is_shown else "not shown"
        return [
            f"dllama printed {run.printed_kb} kB (of 1024, cut off, over all of the root's links); "
            f"{_why_no_form(run)}, so bytes are {how}."
        ]
    more = ""
    if wire.build.collective is Collective.STAR_SLICES:
        more = (
            f" This build moves (n-1)(n+1) = {(nodes - 1) * (nodes + 1)} vectors over the root's "
            "links for each sync: more nodes cost the root more than they give."
        )
    return [
        f"Bytes are those of the closed form of {wire.build.collective} with "
        f"{wire.build.buffer_float_type} buffers, which gives every Sent and Recv that was "
        f"printed (whole kB of 1024, the root's links only).{more}"
    ]


def _why_no_form(run: LoggedRun) -> str:
    if is_pipeline(run):
        return "no closed form is known for pipeline stages"
    if run.shape is None:
        return "the model's header is not in the log"
    if not run.has_even_bytes:
        return "lines of one token each differ in them, so that some were changed"
    return "no closed form of a known build gives these figures"


def _monitor_notes(table: MonitorTable, wire: Wire | None) -> list[str]:
    said = [
        f"The fork's network report charges {table.operations} operations and {table.total_mb} MB "
        f"(of 2^20): {_monitor_check(wire)}. It counts each sync once a thread, each prefill row "
        "as its whole batch and the whole buffer whatever moved, and books all of it on socket 0: "
        "it is not what crossed the wire and names no slow worker.",
        "Latencies of the fork's report are over such records; its operation analysis covers the "
        "first 500 of them only (cold start and prefill).",
    ]
    if table.percentiles_ms is not None:
        shown = ", ".join(
            f"P{percent} {'-' if value is None else value} ms"
            for percent, value in zip((50, 95, 99), table.percentiles_ms, strict=True)
        )
        said.append(
            f"The fork's percentiles ({shown}) are of its first 50 records: too few for P95 and "
            "P99, which are left out."
        )
    if table.bandwidth_mbps is not None:
        said.append(
            f"The fork's bandwidth ({table.bandwidth_mbps} Mbps) is that of its last operation "
            "alone, in MiB/s times 8: left out."
        )
    return said


def _monitor_check(wire: Wire | None) -> str:
    if wire is None or wire.n_threads is None:
        return "its closed form could not be checked"
    threads = "1 thread" if wire.n_threads == 1 else f"{wire.n_threads} threads"
    return f"its closed form with {threads} gives both figures"


def _other_notes(run: LoggedRun) -> list[str]:
    said = [f"dllama said: {text}" for text in dict.fromkeys(run.remarks)]
    if run.required_kb is not None:
        said.append(
            f"The root said it would allocate {run.required_kb} kB (RequiredMemory, of 1024); "
            "dllama measures no memory: a peak is shown only where it was read from outside."
        )
    if run.required_mb is not None:
        said.append(
            f"The root said it would allocate {run.required_mb} MB (RequiredMemory, of 2^20); "
            "dllama measures no memory: a peak is shown only where it was read from outside."
        )
    said.append("dllama prints neither the time its links were busy nor that of loading.")
    if is_pipeline(run):
        said.append(PIPELINE_REASON.format(pp=run.pp_size) + ".")
    if any(step.piece == "~" for step in run.decode):
        said.append('dllama prints "~" for a token without text: the text may hold such marks.')
    if run.stalls:
        longest = max(stall.stalled_ms for stall in run.stalls)
        said.append(f"The run stalled, {longest} ms at the longest, and went on.")
    if run.foreign:
        why = (
            "with more words than a token has"
            if any(len(text.split()) > MOST_WORDS for text in run.foreign)
            else "that other programs are known to print"
        )
        said.append(
            f"{counted(len(run.foreign), 'line')} among the tokens {why}, such as "
            f"{run.foreign[0][:80]!r}: taken for another program's and left out of the text."
        )
    if run.unread:
        said.append(f"{len(run.unread)} of dllama's lines could not be read: {run.unread[0]!r}")
    return said
