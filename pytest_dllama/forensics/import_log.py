"""`pytest-dllama import-log`: logs of the real dllama -> one run file, as if it had been measured.

Runs of one model, prompt and length on one node count become the repeats of one cell; each other
run is a cell of its own. The same parser, events and arithmetic as for a live dllama.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.backends.dllama.backend import CANNOT_GIVE
from pytest_dllama.backends.dllama.events import run_events
from pytest_dllama.backends.dllama.printed.log import parse_lines
from pytest_dllama.backends.dllama.printed.run import LoggedRun
from pytest_dllama.events.trace import RequestTrace, TraceError, build_trace
from pytest_dllama.forensics.imported_roofline import imported_roofline
from pytest_dllama.forensics.imported_run import (
    ImportLogError,
    ImportOptions,
    Session,
    cell_groups,
    model_name,
    models_of,
    notes_of_run,
    request_of,
)
from pytest_dllama.forensics.logs.archives import LogTextError
from pytest_dllama.forensics.logs.log_text import read_log
from pytest_dllama.forensics.same_work import told_apart
from pytest_dllama.hosts.controller import probe_environment
from pytest_dllama.metrics import catalog
from pytest_dllama.metrics.samples import sample_of
from pytest_dllama.record.cell import CellRecord, OutputRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.validity.output import compare_output, oracle_output, unchecked_output
from pytest_dllama.verdict.cell import MeasuredCell, cell_record, failed_cell


@dataclass(slots=True)
class _Logs:
    roots: list[tuple[LoggedRun, Path]] = field(default_factory=list)
    workers: list[LoggedRun] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what was undone to read them


def import_logs(paths: Sequence[Path], options: ImportOptions) -> RunRecord:
    """Read logs, roots' and workers' in any order.

    Raises:
        ImportLogError: no root's run in them, or a node count that nothing tells.
        ImportLogError: a model file that is not the one of the logs.
        OSError: a file that cannot be read.
    """
    logs = _read(paths)
    if not logs.roots:
        shown = ", ".join(str(path) for path in paths)
        hint = "only workers' logs" if logs.workers else "no line of dllama's"
        raise ImportLogError(
            f"{shown}: {hint}; give the output of the root (dllama inference ... > root.log 2>&1)"
        )
    sessions = _sessions(logs, options)
    groups = cell_groups(sessions)
    oracles = {group[0].model: _oracle(group) for group in groups if group[0].nodes == 1}
    cells = [_cell(group, oracles.get(group[0].model), options) for group in groups]
    return RunRecord(
        created_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        environment=probe_environment(),
        request=request_of(sessions, options),
        models=models_of(sessions),
        cells=tuple(cell for cell, _ in cells),
        definitions=catalog.all_definitions(),
        notes=(*logs.notes, *notes_of_run(sessions, [notes for _, notes in cells])),
    )


def _read(paths: Sequence[Path]) -> _Logs:
    logs = _Logs()
    logs.notes += [f"{path.name} is given twice: read once." for path in _given_twice(paths)]
    for path in dict.fromkeys(paths):
        try:
            log = read_log(path)
        except LogTextError as error:
            raise ImportLogError(str(error)) from error
        logs.notes += log.notes
        for source in log.sources:
            for run in parse_lines(source.lines):
                run.damage = run.damage or source.damage
                if run.is_worker:
                    logs.workers.append(run)
                elif (known := _copied(run, logs.roots)) is not None and known != path:
                    logs.notes.append(
                        f"{path.name}: a run that {known.name} holds too, the same to the last "
                        "digit: a copy, counted once."
                    )
                else:
                    if known is not None:
                        logs.notes.append(
                            f"{path.name}: two runs are the same to the last digit: if one is a "
                            "copy, it counts twice."
                        )
                    logs.roots.append((run, path))
    return logs


def _given_twice(paths: Sequence[Path]) -> list[Path]:
    return [path for path in dict.fromkeys(paths) if paths.count(path) > 1]


def _copied(run: LoggedRun, roots: Sequence[tuple[LoggedRun, Path]]) -> Path | None:
    """Where a whole run stands already; no two runs take the same times to the last digit."""
    if run.prediction is None:
        return None
    return next((path for other, path in roots if other == run), None)


def _sessions(logs: _Logs, options: ImportOptions) -> list[Session]:
    """Each root's run with its workers: of every rank the first session not yet taken."""
    left = list(logs.workers)
    sessions = []
    for run, path in logs.roots:
        nodes = run.nodes or options.nodes
        if nodes is None and run.says_nothing and len(logs.roots) > 1:
            logs.notes.append(f"{path.name}: a run that ended before it connected is left out.")
            continue
        if nodes is None:
            raise ImportLogError(
                f"{path}: nothing tells on how many nodes it ran{_what_it_says(run)}; add "
                "--nodes N, the root counted"
            )
        if options.nodes not in (None, nodes):
            logs.notes.append(
                f"--nodes {options.nodes} was given, but {path.name} says {nodes}: it is taken "
                f"for a run on {nodes}."
            )
        taken = _take_workers(left, run, nodes)
        sessions.append(Session(run, path, nodes, model_name(run, options), tuple(taken)))
    return told_apart(sessions)


def _what_it_says(run: LoggedRun) -> str:
    """What a run without a node count tells all the same."""
    blocks = {"prompt": run.evaluation, "decode": run.prediction}
    rates = [f"{n} {b.tokens_per_s} tokens/s" for n, b in blocks.items() if b and b.tokens_per_s]
    said = [*(f"it says: {error}" for error in run.errors), *rates]
    why = "it ends before it connected" if run.header else "its head is missing"
    return f" ({'; '.join([why, *said])})"


def _take_workers(left: list[LoggedRun], run: LoggedRun, nodes: int) -> list[LoggedRun]:
    taken = []
    for rank in range(1, nodes):
        for worker in left:
            if _is_worker_of(worker, run, rank, nodes):
                taken.append(worker)
                left.remove(worker)
                break
    return taken


def _is_worker_of(worker: LoggedRun, run: LoggedRun, rank: int, nodes: int) -> bool:
    """Same rank and size, and the port that the root dialled, as far as they are known."""
    if worker.nodes is not None and worker.nodes != nodes:
        return False
    address = run.peer_addresses.get(rank - 1)
    port = address.rpartition(":")[2] if address else ""
    if worker.listening is not None and port and str(worker.listening[1]) != port:
        return False
    if worker.rank is not None:
        return worker.rank == rank
    has_met_a_root = bool(worker.signs - {"listening"})
    return has_met_a_root and bool(port)


def _traces(sessions: Sequence[Session]) -> tuple[list[RequestTrace], list[TraceError]]:
    """The runs that can be used, and why the others cannot."""
    traces: list[RequestTrace] = []
    failures: list[TraceError] = []
    for session in sessions:
        try:
            traces.append(build_trace(run_events(session.run, session.workers, session.nodes)))
        except TraceError as error:
            failures.append(error)
    return traces, failures


def _oracle(sessions: Sequence[Session]) -> tuple[RequestTrace, str] | None:
    """The first run on one node that can be used, with its prompt."""
    for session in sessions:
        traces, _ = _traces([session])
        if traces:
            return traces[0], session.run.prompt
    return None


def _output(
    session: Session, trace: RequestTrace, oracle: tuple[RequestTrace, str] | None
) -> OutputRecord:
    """By the text of a one-node run of the same logs, prompt and length."""
    if oracle is None or oracle[1] != session.run.prompt:
        why = "the logs hold no run of this prompt on one node to compare with"
        return unchecked_output(trace, f"output unchecked: {why}")
    if session.nodes == 1:
        return oracle_output(trace)
    if len(oracle[0].tokens) != len(trace.tokens):
        return unchecked_output(trace, "output unchecked: the one-node run has other --steps")
    return compare_output(oracle[0], trace, buffer_float_type="q80", sync_mode="reduce")


def _cell(
    sessions: Sequence[Session], oracle: tuple[RequestTrace, str] | None, options: ImportOptions
) -> tuple[CellRecord, list[str]]:
    """One cell with its notes; runs that failed are told and left out of the figures."""
    traces, failures = _traces(sessions)
    logs = tuple(dict.fromkeys(session.log.name for session in sessions))
    first = sessions[0]
    if not traces:
        skipped = all(failure.kind == "NoRequest" for failure in failures)
        error = "\n".join(dict.fromkeys(str(failure) for failure in failures))
        return failed_cell(first.model, first.nodes, error, logs, skipped=skipped), []
    notes = [note for trace in traces for note in trace.notes]
    notes += [f"One run of {len(sessions)} failed and is left out: {e}." for e in failures]
    samples = [sample_of(trace) for trace in traces]
    limits = options.thresholds.of(first.model, first.nodes)
    measured = MeasuredCell(
        first.model,
        first.nodes,
        traces,
        samples,
        _output(first, traces[0], oracle),
        roofline=imported_roofline(first, samples, options),
        logs=logs,
    )
    cell = cell_record(measured, limits, CANNOT_GIVE)
    notes += [
        f"The limit of {limit.metric} is not judged: {CANNOT_GIVE[limit.metric]}."
        for limit in limits
        if limit.metric in CANNOT_GIVE and limit.metric not in cell.metrics
    ]
    return cell, list(dict.fromkeys(notes))
