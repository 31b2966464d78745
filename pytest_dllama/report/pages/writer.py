"""Sentences, tables and values -> Markdown of one language, through its word list and macros."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from markupsafe import Markup

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.record.run import Environment
from pytest_dllama.report.figures.cell_detail import Percentile
from pytest_dllama.report.figures.quantities import Quantity
from pytest_dllama.report.sentences.base import Sentence
from pytest_dllama.report.sentences.hosts import HostProblem
from pytest_dllama.report.tables.columns import (
    Code,
    Column,
    Entry,
    Flags,
    Nodes,
    NodeStep,
    Table,
    Word,
    metric_value,
)
from pytest_dllama.report.text import korean, markdown, numbers, shell

# A sentence is a list item: a mark at its start would open another list inside.
_LIST_START = re.compile(r"^(\d*)([-+]|(?<=\d)[.)])(?=\s|$)")


class Writer:
    """Turns sentences, tables and values into Markdown of one language."""

    def __init__(
        self, words: Mapping[str, Any], macro: Callable[[type[Sentence]], Callable[[Sentence], str]]
    ) -> None:
        self.words = words
        self.macro = macro

    def say(self, sentence: Sentence) -> Markup:
        """A sentence in words: the macro of its kind."""
        text = self.macro(type(sentence))(sentence).strip()
        return Markup(_LIST_START.sub(r"\1\\\2", text))

    def table(self, table: Table) -> Markup:
        """A table in Markdown, with a legend for the marks in it."""
        header = [self._header(column) for column in table.columns]
        rows = [[self._cell(cell) for cell in row] for row in table.rows]
        text = markdown.table(header, rows, [column.numeric for column in table.columns])
        legends = "".join(f"\n\n{mark} {self.words['marks'][mark]}" for mark in table.marks)
        return Markup(text + legends)

    def _header(self, column: Column) -> str:
        title: str = self.words["columns"].get(column.key) or self._short(column.key)
        title = title.replace("{model}", str(markdown.escape(column.model)))
        return f"{title} ({column.unit})" if column.unit else title

    def _short(self, key: str) -> str:
        short: str = self.words["quantities"][key]["short"]
        return short

    def _cell(self, cell: Entry) -> str:
        match cell:
            case Nodes(n):
                return self._phrase("nodes_cell", n=str(n))
            case NodeStep(start, end):
                return self._phrase("step", start=str(start), end=str(end))
            case Word(group, key):
                return str(self.words[group][key])
            case Code(text):
                return str(markdown.code(text, in_table=True))
            case Flags(flags):
                return self._flags(flags) if flags else str(self.words["phrases"]["no_flags"])
            case str():
                return str(markdown.escape(cell))

    def filters(self) -> dict[str, Callable[..., object]]:
        """Filters of the templates; all return ready Markdown."""
        return {
            "code": lambda text: markdown.code(text),
            "fence": lambda text, kind="": markdown.fence(text, kind),
            "command": lambda argv: markdown.fence(shell.wrapped(argv), "bash"),
            "particle": lambda text, pair: Markup(korean.particle(str(text), pair)),
            "josa": self._josa,
            "listing": self._listing,
            "numbers": lambda values: self._join(str(value) for value in values),
            "nodes": self._nodes,
            "plural": _plural,
            "value": lambda value, quantity: Markup(_with_unit(value, quantity)),
            "metric": lambda value, name: Markup(metric_value(name, value)),
            "advantage": self._advantage,
            "percent": lambda value: Markup(numbers.percent(value)),
            "magnitude": lambda value: Markup(numbers.percent(abs(value)).lstrip("+")),
            "share": lambda value: Markup(numbers.share(value)),
            "short": lambda value: Markup(numbers.short(value)),
            "seconds": lambda value: Markup(_seconds(value)),
            "factor": lambda value: Markup(numbers.factor(value)),
            "size": lambda value: Markup(numbers.size(value)),
            "count": lambda value: Markup(numbers.count(value)),
            "plain": lambda value, decimals: Markup(numbers.plain(value, decimals)),
            "signed": lambda value, decimals: Markup(numbers.signed(value, decimals)),
            "significant": _significant,
            "filled": _filled,
            "codes": lambda texts: Markup(", ".join(map(markdown.code, texts)) or "-"),
            "quoted": lambda text: Markup(f"“{markdown.escape(text)}”"),
            "join_versus": self._versus,
            "estimate": lambda value, quantity: Markup(
                _with_unit(value.value if value else None, quantity)
            ),
            "flags": lambda flags: Markup(self._flags(flags)),
            "host_problem": self._host_problem,
            "percentile": self._percentile,
            "slowest_link": self._slowest_link,
            "machine_line": self._machine,
            "versions_line": _versions,
        }

    def _josa(self, text: str, pair: str) -> Markup:
        shown = text if isinstance(text, Markup) else markdown.escape(str(text))
        return Markup(f"{shown}{korean.particle(str(text), pair)}")

    def _listing(self, texts: Iterable[str]) -> Markup:
        return self._join(
            text if isinstance(text, Markup) else markdown.escape(text) for text in texts
        )

    def _nodes(self, values: int | Iterable[int]) -> Markup:
        """Node counts with their noun, for use inside a sentence."""
        counts = [values] if isinstance(values, int) else list(values)
        phrase = "nodes_one" if counts == [1] else "nodes"
        return Markup(self._phrase(phrase, n=self._join(map(str, counts))))

    def _join(self, texts: Iterable[str]) -> Markup:
        *first, last = list(texts) or [numbers.MISSING]
        joined = ", ".join(first)
        return Markup(f"{joined}{self._phrase('last_of_list')}{last}" if first else last)

    def _flags(self, flags: Iterable[str]) -> str:
        """Throttling flags in words; one that nobody knows as it is."""
        known: Mapping[str, str] = self.words["throttled"]
        return ", ".join(str(markdown.escape(known.get(flag, flag))) for flag in flags)

    def _host_problem(self, problem: HostProblem) -> Markup:
        """What is wrong with a host, with its remedy."""
        values: dict[str, object] = dict(problem.values)
        if isinstance(flags := values.get("flags"), str):
            values["flags"] = Markup(self._flags(flags.split(", ")))
        return _filled(self.words["host_problems"][problem.kind], **values)

    def _versus(self, models: Iterable[str]) -> Markup:
        return Markup(self._phrase("versus").join(map(markdown.escape, models)))

    def _percentile(self, percentile: Percentile) -> Markup:
        if percentile.too_few:
            counts = {"n": str(percentile.n), "needed": str(percentile.needed)}
            return Markup(self._phrase("too_few", **counts))
        text = numbers.plain(percentile.value_ms, 2)
        return Markup(text if text == numbers.MISSING else f"{text} ms")

    def _slowest_link(self, network: NetworkRecord, cell: CellRecord) -> Markup:
        """The slowest peer with its address and average latency, as far as they are known."""
        peer = network.slowest_peer
        address = next((rank.address for rank in cell.ranks if rank.rank == peer), "")
        latency = next((link.avg_ms for link in network.links if link.peer == peer), None)
        shown = f"{peer} {markdown.code(address)}" if address else str(peer)
        if latency is None and len(network.links) < 2 and cell.nodes == 2:
            latency = network.avg_ms  # a single link: the average over all is its own
        if latency is None:
            return Markup(shown)
        return Markup(self._phrase("link", peer=shown, avg=numbers.plain(latency, 2)))

    def _machine(self, machine: Environment) -> Markup:
        """`machine: board or CPU, cores, memory, OS`."""
        labels = self.words["labels"]
        parts = [
            *([machine.board] if machine.board else []),
            f"{machine.cpu_model} ({machine.machine})",
            f"{machine.cpu_count} {labels['cores']}",
            f"{labels['memory_short']} {numbers.size(machine.memory_bytes)}",
            machine.os,
        ]
        return markdown.escape(", ".join(parts))

    def _phrase(self, key: str, **values: str) -> str:
        text: str = self.words["phrases"][key]
        for name, value in values.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    def _advantage(self, low: float, high: float, quantity: Quantity) -> Markup:
        """How far one is ahead of the other, from `low` to `high`."""
        small = quantity.as_factor and low < 1.1  # "3.2 %" reads better than "1.03 times"
        if quantity.as_factor and not small:
            ends, phrase = [numbers.factor(low), numbers.factor(high)], "times"
        else:
            percents = [(low - 1) * 100, (high - 1) * 100] if small else [low, high]
            ends = [numbers.number(p, 1) for p in percents]
            phrase = "points" if quantity.unit == "share" else "percents"
        text = ends[0] if ends[0] == ends[1] else f"{ends[0]}{self._phrase('to')}{ends[1]}"
        return Markup(self._phrase(phrase, x=text))


def _plural(n: int, noun: str, many: str = "") -> Markup:
    """`1 cell`, `2 cells`."""
    return Markup(f"{numbers.count(n)} {noun if n == 1 else many or noun + 's'}")


def _with_unit(value: float | None, quantity: Quantity) -> str:
    if quantity.unit == "B":
        return numbers.size(value)
    if quantity.unit == "share":
        return numbers.share(value)
    decimals = quantity.shown_decimals(value)
    text = numbers.plain(value, decimals)
    return text if text == numbers.MISSING else f"{text} {quantity.unit}"


def _seconds(value: float | None) -> str:
    text = numbers.number(value, 1)
    return text if text == numbers.MISSING else f"{text} s"


def _filled(template: str, **values: object) -> Markup:
    """`template` with each `{name}` replaced by its escaped value."""
    text = str(template)
    for name, value in values.items():
        shown = value if isinstance(value, Markup) else markdown.escape(str(value))
        text = text.replace(f"{{{name}}}", str(shown))
    return Markup(text)


def _versions(machine: Environment) -> Markup:
    return markdown.escape(
        f"pytest-dllama {machine.pytest_dllama}, Python {machine.python}, "
        f"numpy {machine.numpy}, numba {machine.numba}"
    )


def _significant(value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return Markup(numbers.MISSING)
    return Markup(numbers.plain(value, numbers.decimals_for(value, 3)))
