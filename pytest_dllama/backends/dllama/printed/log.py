"""The real dllama's output, live or from a file -> its runs (`run.LoggedRun`).

A state machine over the lines of `lines`. Pieces of text may contain anything, newlines and
dllama's own marks included; so a line counts as dllama's only where dllama prints such lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_dllama.backends.dllama.printed.blocks import take_average, take_monitor, take_phase
from pytest_dllama.backends.dllama.printed.head import stall_of, take_head
from pytest_dllama.backends.dllama.printed.lines import (
    Line,
    clean,
    is_broken_step,
    is_foreign,
    is_of_a_program,
    looks_like_dllama,
    read_line,
)
from pytest_dllama.backends.dllama.printed.run import SLICE, LoggedRun, PhaseBlock, StepLine

# Lines that only the fork prints.
_FORK_KINDS = {
    *("expects", "initial_ack", "collective", "topology", "monitor_on", "chunks", "timing"),
    *("net_stall", "net_timeout", "exec_stall", "socket_row", "slowest", "downgraded"),
}
# Lines that end the prompt's or a piece's text wherever they come.
_INTERRUPTS = {
    *("eval", "pred", "net_stall", "net_timeout", "exec_stall", "error", "closed", "header"),
    *("listening", "cannot_connect", "circle", "alarm", "memory", "root_connected", "downgraded"),
    *("died", "terminate", "remark", "chat", "connected", "pass", "loaded", "rope_cache"),
    *("connecting", "expects", "initial_ack", "loading", "weights"),
}
# Lines before the first step; the text after the last of them is the prompt.
_PREAMBLE = {*_INTERRUPTS, "cpu", "collective", "topology", "monitor_on", "debug", "evaluating"}
_PREAMBLE |= {"n_nodes", "node_index"}
_TITLE_FOLLOWED_BY = {
    "Evaluation": "batches",
    "Prediction": "tokens",
    "Timing": "timing",
    "Results": "result",
}
_CLOSING = re.compile(
    r"\s*(?:nBatches|prefillChunks|nTokens|tokens/s|prefillMs|ttftMs|decodeMs|totalMs|Avg [a-z]+)\b"
)
_OF_A_WORKER = {SLICE, "nSlices"}  # all that a worker's head has, before v0.12
_FEW_KEYS = 3  # of a header: one line of it twice is no second header
_STALL_KINDS = {"net_stall", "net_timeout", "exec_stall"}
_AFTER_PROMPT = {
    "died",
    "terminate",
    "remark",
    "pass",
    *_STALL_KINDS,
    "eval",
    "pred",
    "error",
    "closed",
    "title",
    "alarm",
    "downgraded",
}


def parse_log(text: str) -> list[LoggedRun]:
    """Every run of a file, in order; none for a file that holds nothing of dllama's."""
    return parse_lines(text.removesuffix("\n").split("\n"))


def parse_lines(lines: Iterable[str]) -> list[LoggedRun]:
    """Every run of some lines, with or without their ends."""
    parser = LogParser()
    for line in lines:
        parser.feed(line)
    return parser.finish()


class LogParser:
    """Feed lines, then finish."""

    def __init__(self) -> None:
        self._runs: list[LoggedRun] = []
        self._run = LoggedRun()
        self._place = "preamble"  # or "steps", "blocks"
        self._block = ""  # title of the block that is being read
        self._title = ""  # a title whose block is not proven yet
        self._previous = ""  # kind of the line before
        self._is_broken = False  # a forward pass's line that cannot be read was seen

    def feed(self, text: str) -> None:
        """Read one line."""
        for part in clean(text).split("\n"):  # a chunk of several lines is fine too
            self._feed_line(part.rstrip("\r"))

    def _feed_line(self, text: str) -> None:
        line = read_line(text)
        if self._title:
            if line is None and is_foreign(text):  # between a title and its block
                self._run.foreign.append(text)
                return
            self._settle_title(line)
        if line is None or not self._belongs(line):
            self._text(text)
            return
        self._maybe_new_run(line)
        self._take(line, text)
        self._previous = line.kind

    def finish(self) -> list[LoggedRun]:
        """The runs, the last one as far as it came."""
        if self._title:
            self._settle_title(None)
        self._close_run()
        return self._runs

    def _belongs(self, line: Line) -> bool:
        """Whether dllama prints such a line here; if not, it is generated text or prompt."""
        if self._place == "preamble":
            if line.kind in ("passes", "average", "title"):
                is_prose = self._run.is_empty  # of a post, before a log without its head
                return is_prose or not self._run.prompt_lines
            return line.kind in _PREAMBLE
        if self._place == "chat":
            return line.kind in _PREAMBLE - {"remark"}
        if self._place == "steps":
            return line.kind in _INTERRUPTS or line.kind in (
                *("title", "report_title", "passes", "average"),
            )
        return True

    def _text(self, text: str) -> None:
        """A line that is not dllama's own."""
        if self._place == "preamble":
            is_blank = not text and not self._run.prompt_lines
            self._is_broken = self._is_broken or is_broken_step(text)
            if not (is_blank or self._is_broken or is_of_a_program(text)):
                self._run.prompt_lines.append(text)
        elif self._place == "steps":
            self._continue_piece(text)
        elif self._place == "blocks" and _CLOSING.match(text):
            self._run.damage = self._run.damage or f"a closing line cannot be read: {text[:80]!r}"
        if looks_like_dllama(text):
            self._run.unread.append(text)

    def _continue_piece(self, text: str) -> None:
        """A token with a line end in it goes on; another program's line is told and left out."""
        decode = self._run.decode
        if is_foreign(text):
            self._run.foreign.append(text)
        elif decode and not text.startswith(("🔶", "🔷")):
            decode[-1].piece += "\n" + text

    def _settle_title(self, following: Line | None) -> None:
        """A title is one if its block follows; else it was the text of a piece."""
        title, self._title = self._title, ""
        if following is not None and following.kind == _TITLE_FOLLOWED_BY[title]:
            self._enter_block(title)
        elif self._place == "steps":
            self._continue_piece(title)
        elif self._place == "preamble":
            self._run.prompt_lines.append(title)

    def _enter_block(self, title: str) -> None:
        run = self._run
        if title == "Evaluation" and run.prediction is not None and run.prediction.has_rate:
            self._close_run()  # closing blocks one after the other, as posts compare them
            run = self._run
            run.signs.add("title")
        if self._place == "steps" and run.decode:
            last = run.decode[-1]
            last.piece = last.piece.removesuffix("\n")  # the empty line before the blocks
        self._place, self._block = "blocks", title
        if title == "Evaluation" and run.evaluation is None:
            run.evaluation = PhaseBlock()
        elif title == "Prediction" and run.prediction is None:
            run.prediction = PhaseBlock()

    def _maybe_new_run(self, line: Line) -> None:
        """A root starts with its tokenizer, a worker's session with Listening."""
        run = self._run
        begun = bool(run.steps or run.errors or run.has_weights or run.perplexity or run.stalls)
        begins = line.kind == "header" and self._is_of_another_run(line.word("key"), begun)
        if line.kind == "connecting" and begun:  # up to v0.11.2 it stands before the header
            begins = self._place == "blocks" or line.whole("socket") in run.peer_addresses
        is_server = line.kind == "listening" and bool(run.header) and run.has_weights
        is_server = is_server and not (run.steps or run.is_worker)  # dllama-api listens for clients
        if begins or (line.kind == "listening" and not run.is_empty and not is_server):
            self._close_run()

    def _is_of_another_run(self, key: str, begun: bool) -> bool:
        """Whether a line of a header begins a run: a whole header, or one run's, has each once."""
        header = self._run.header
        if self._place in ("steps", "blocks"):
            return True
        if self._run.is_worker:
            return key in header or key not in _OF_A_WORKER
        if key in header:
            return begun or (len(header) >= _FEW_KEYS and key == next(iter(header)))
        return key.casefold() in map(str.casefold, header)  # v0.12 begins to write them otherwise

    def _close_run(self) -> None:
        if not self._run.is_empty:
            self._runs.append(self._run)
        self._run = LoggedRun()
        self._place, self._block, self._previous = "preamble", "", ""
        self._is_broken = False

    def _take(self, line: Line, text: str) -> None:
        run = self._run
        run.signs.add(line.kind)
        if "ropeCacheSize" in text and line.kind == "rope_cache":
            run.signs.add("rope_cache_size")
        if line.kind == "loaded" and text.rstrip().endswith(" bytes"):
            run.signs.add("loaded_bytes")
        if line.kind == "circle" and "Worker[" in text:
            run.signs |= {"fork", "worker_speaks"}
        elif line.kind in _FORK_KINDS:
            run.signs.add("fork")
        if self._place == "preamble" and line.kind not in _AFTER_PROMPT:
            run.prompt_lines.clear()
        if line.kind in _STALL_KINDS:
            run.stalls.append(stall_of(line))
        elif line.kind == "title":
            self._title = line.word("title")
        elif line.kind in ("eval", "pred", "pass"):
            self._take_step(line)
        elif line.kind == "chat":
            self._place = "chat"
            run.is_worker = False
            run.prompt_lines.clear()
        elif line.kind == "remark":
            run.remarks.append(text.rstrip())
        elif line.kind in _PREAMBLE:
            take_head(run, line, text)
            if line.kind == "evaluating":
                self._place = "blocks"
        else:
            self._take_block_line(line)

    def _take_step(self, line: Line) -> None:
        if self._place == "blocks" and not self._run.damage:
            self._run.damage = "lines of forward passes stand behind the closing lines"
        self._place = "steps"
        has_parts = "sync_ms" in line.values
        if "pos" in line.values:
            self._run.positions.append(line.whole("pos"))
        self._run.steps.append(
            StepLine(
                "eval" if line.kind == "eval" else "pred",
                line.whole("ms") if has_parts else None,
                line.maybe_whole("sync_ms"),
                line.whole("sent_kb"),
                line.whole("recv_kb"),
                line.whole("tokens") if line.kind == "eval" else 1,
                line.word("piece"),
                line.maybe_whole("wall_ms") if has_parts else line.whole("ms"),
            )
        )

    def _take_block_line(self, line: Line) -> None:
        run = self._run
        if self._place != "blocks" and line.kind == "report_title":
            self._place = "blocks"
        match line.kind:
            case "passes":
                self._place, self._block = "blocks", "Prediction"
                run.prediction = run.prediction or PhaseBlock()
                run.prediction.n_tokens = line.whole("n")
            case "average":
                self._place = "blocks"
                take_average(run, line)
            case "batches":
                run.n_batches = line.whole("n")
            case "tokens" | "rate":
                take_phase(run, line, self._block, self._previous)
            case "timing":
                run.timing_ms[line.word("name")] = line.number("ms")
            case "result":
                run.perplexity[line.word("name")] = line.number("value")
            case _:
                take_monitor(run, line)
