"""Lines before a run's first step, and its troubles -> its record."""

from __future__ import annotations

from pytest_dllama.backends.dllama.printed.lines import Line
from pytest_dllama.backends.dllama.printed.run import SLICE, LoggedRun, Stall


def take_head(run: LoggedRun, line: Line, text: str) -> None:
    """A line of the head: the model, the connections, what a worker or the system says."""
    match line.kind:
        case "header":
            run.header[line.word("key")] = line.word("value").strip()
            run.is_worker = run.is_worker or line.word("key") == SLICE
        case "memory":
            if line.word("unit") == "MB":
                run.required_mb = line.whole("amount")
            else:
                run.required_kb = line.whole("amount")
        case "cpu":
            run.cpu = line.word("value")
        case "weights":
            run.has_weights = True
        case "collective":
            run.collective = line.word("name")
            run.said_nodes.append(line.whole("nodes"))
        case "topology":
            run.pp_size, run.tp_size = line.whole("pp"), line.whole("tp")
        case "expects":
            run.said_nodes.append(line.whole("n") + 1)
        case "connecting":
            run.peer_addresses[line.whole("socket")] = line.word("address")
            if not run.is_worker and run.header and "expects" not in run.signs:
                run.signs.add("upstream")  # the fork's root first counts its workers
        case "connected":
            run.sockets.add(line.whole("socket"))
        case "evaluating":
            run.perplexity_tokens = line.whole("n")
        case _:
            _take_worker_or_trouble(run, line, text)


def _take_worker_or_trouble(run: LoggedRun, line: Line, text: str) -> None:
    match line.kind:
        case "n_nodes":
            run.said_nodes.append(line.whole("n"))
        case "node_index":
            run.node_index = line.whole("n")
            run.is_worker = True
        case "listening":
            run.is_worker = not run.header
            run.listening = (line.word("host"), line.whole("port"))
        case "cannot_connect":
            run.unreachable = (line.word("address"), line.word("reason"))
        case "error":
            run.errors.append(f"{line.word('kind')} error: {line.word('message')}")
        case "died":
            what = line.word("what") or line.word("assertion")
            run.errors.append(f"it died: {what}")
        case "downgraded":
            run.warnings.append(text)
        case "alarm":
            run.unread.append(text)


def stall_of(line: Line) -> Stall:
    """A wait that the fork complained of."""
    if line.kind == "exec_stall":
        return Stall(
            "EXEC_STALL",
            line.word("type"),
            line.whole("ms"),
            step=line.whole("step"),
            steps=line.whole("steps"),
        )
    return Stall(
        "NET_STALL" if line.kind == "net_stall" else "NET_TIMEOUT",
        line.word("what"),
        line.whole("ms"),
        pending_bytes=line.whole("pending"),
        sockets=line.maybe_whole("sockets"),
    )
