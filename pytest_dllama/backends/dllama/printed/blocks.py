"""Closing lines of a run -> its record: rates, averages, the fork's network report."""

from __future__ import annotations

from pytest_dllama.backends.dllama.printed.lines import Line
from pytest_dllama.backends.dllama.printed.run import LoggedRun, MonitorTable, Operation, PhaseBlock


def take_average(run: LoggedRun, line: Line) -> None:
    """A closing line of dllama before v0.12; over all of its passes, the prompt's too."""
    run.averages[line.word("name")] = line.number("value")
    if run.prediction is None:
        run.prediction = PhaseBlock()
    if line.word("name") == "generation time":
        run.prediction.has_rate = True
        run.prediction.ms_per_token = line.number("value")
    elif line.word("name") == "tokens / second":
        run.prediction.tokens_per_s = line.number("value")


def take_phase(run: LoggedRun, line: Line, title: str, previous: str) -> None:
    """A figure of the block of a title, behind a line of another kind."""
    block = {"Evaluation": run.evaluation, "Prediction": run.prediction}.get(title)
    if block is None:
        return
    if line.kind == "tokens":
        if title == "Evaluation" and previous == "batches":
            run.signs.add("upstream")  # the fork prints its chunks between the two
        block.n_tokens = line.whole("n")
    else:
        block.has_rate, block.ms_per_token = True, line.number("ms")
        block.tokens_per_s = line.number("per_s")


def take_monitor(run: LoggedRun, line: Line) -> None:
    """A line of the fork's network report."""
    monitor = run.monitor
    if line.kind == "socket_row":
        _add_row(run, line)
    elif line.kind == "percentiles" and monitor is not None:
        monitor.percentiles_ms = (line.number("p50"), line.number("p95"), line.number("p99"))
    elif line.kind == "operation" and monitor is not None:
        mb, avg_ms = line.number("mb"), line.number("avg")
        if mb is not None and avg_ms is not None:
            monitor.operations_by_kind.append(
                Operation(line.word("op"), line.whole("operations"), mb, avg_ms)
            )
    elif line.kind == "socket_warning":
        run.warnings.append(f"socket {line.word('socket')} {line.word('what')}")


def _add_row(run: LoggedRun, line: Line) -> None:
    total_mb = line.number("mb")
    if run.monitor is None and total_mb is not None:
        run.monitor = MonitorTable(
            line.whole("operations"),
            total_mb,
            line.number("avg"),
            line.number("max"),
            line.number("min"),
            line.number("mbps"),
        )
