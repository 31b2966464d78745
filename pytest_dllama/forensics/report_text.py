"""A hand-written Markdown report of a Pi cluster -> its figures, as they stand there.

The form is that of people who copy dllama's closing blocks and the fork's network monitor into a
page, one section a node count, in Korean or English; what a section lacks is taken of the summary
tables. Knows nothing of run files; what a report does not say is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_dllama.forensics.report_tables import SummaryRow, summary_rows
from pytest_dllama.forensics.report_words import (
    ENVIRONMENT,
    FIGURES,
    MEMORY,
    NODES,
    are_commands,
    details_of,
    in_our_unit,
    key_and_unit,
    model_of,
)

_N = r"\d[\d,]*(?:\.\d+)?"
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<title>.*?)\s*$")
_ITEM = re.compile(r"^\s*[-*]\s+(?P<key>[^:]+?)\s*:\**\s*(?P<value>.+?)\s*$")
_RATE = re.compile(rf"tokens/s:\s*(?P<per_s>{_N})\s*\((?P<ms>{_N})\s*ms/tok\)")
_COUNT = re.compile(r"^\s*(?P<key>nBatches|nTokens):\s*(?P<n>\d+)\s*$")
_OPERATION = re.compile(rf"^(?P<ops>\d[\d,]*) ops, (?P<mb>{_N}) MB, (?P<avg>{_N}) ms avg$")
_PERCENTILES = re.compile(
    rf"P50:\s*(?P<p50>{_N})\s*ms,\s*P95:\s*(?P<p95>{_N})\s*ms,\s*P99:\s*(?P<p99>{_N})\s*ms"
)
_FIGURE = re.compile(rf"(?P<n>-?{_N})\s*(?P<unit>[a-z초밀리]*)", re.IGNORECASE)
_SIZE = re.compile(rf"^(?P<n>{_N})\s*(?P<unit>[KMG])i?B\b", re.IGNORECASE)
_BEYOND_REASON = 1e18  # of any unit: no figure
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}  # "7,338 MB (약 7.3 GB)": decimal
_FILE_NAME = re.compile(r"^(?:dllama_model_)?(?P<name>.+?)(?:_q\d+|_f\d+)?(?:\.m|\.gguf)?$")


@dataclass(frozen=True, slots=True)
class Phase:
    """An Evaluation or Prediction block."""

    n_tokens: int | None = None
    tokens_per_s: float | None = None
    ms_per_token: float | None = None


@dataclass(frozen=True, slots=True)
class ReportedOperation:
    """A line of the operation analysis."""

    name: str
    operations: int
    mb: float
    avg_ms: float


@dataclass(slots=True)
class ReportedCell:
    """One model on one node count, as written."""

    model: str
    nodes: int
    figures: dict[str, float] = field(default_factory=dict)  # keys: values of FIGURES
    summary: dict[str, float] = field(default_factory=dict)  # the same as a summary table has them
    root_bytes: int | None = None
    worker_bytes: int | None = None
    n_batches: int | None = None
    evaluation: Phase | None = None
    prediction: Phase | None = None
    percentiles_ms: tuple[float, float, float] | None = None  # P50, P95, P99
    operations: list[ReportedOperation] = field(default_factory=list)


@dataclass(slots=True)
class ReportText:
    """A whole report."""

    environment: dict[str, str] = field(default_factory=dict)  # keys: values of ENVIRONMENT
    cells: list[ReportedCell] = field(default_factory=list)
    workers: dict[tuple[str, int], int] = field(default_factory=dict)  # in the command of a cell


def read_report(text: str) -> ReportText:
    """Read a report; no cell if it is of another form."""
    reader = _Reader(ReportText())
    for line in _joined(text.splitlines()):
        reader.take(line)
    report = reader.report
    for row in summary_rows(text, _only_model(report)):
        _add_summary(report, row)
    return report


@dataclass(slots=True)
class _Reader:
    """Where in a report the next line stands."""

    report: ReportText
    section: str = ""  # "details" or "commands"
    model: str = ""
    cell: ReportedCell | None = None
    level: int = 0  # of the heading of the cell
    block: str = ""  # of dllama's closing blocks

    def take(self, line: str) -> None:
        """One line."""
        if heading := _HEADING.match(line):
            self._heading(heading["title"], len(heading["marks"]))
        elif self.section == "details" and self.cell is not None:
            self.block = _take_detail(self.cell, line, self.block)
        elif self.section == "commands" and "--workers" in line:
            names = line.partition("--workers")[2].split()
            nodes = self.cell.nodes if self.cell else 0
            self.report.workers[self.model, nodes] = sum(1 for name in names if ":" in name)
        elif not self.report.cells and (item := _ITEM.match(line)):
            key, _ = key_and_unit(item["key"])
            if key in ENVIRONMENT:
                self.report.environment.setdefault(ENVIRONMENT[key], item["value"])

    def _heading(self, title: str, level: int) -> None:
        if self.cell is not None and level > self.level:
            return  # a part of the cell's own section
        self.block = ""
        if (model := details_of(title)) is not None:
            self.section, self.model, self.cell = "details", model, None
        elif are_commands(title):
            self.section, self.model, self.cell = "commands", "", None
        elif self.section == "commands" and (model := model_of(title)) is not None:
            self.model, self.cell = model, None
        elif self.section and self.model and (nodes := NODES.match(title)):
            self.cell, self.level = ReportedCell(self.model, int(nodes["nodes"])), level
            if self.section == "details":
                self.report.cells.append(self.cell)
        else:  # a section of conclusions
            self.section, self.model, self.cell = "", "", None


def _only_model(report: ReportText) -> str:
    """The model of a report of one, by its file's name where no section names it."""
    known = dict.fromkeys(cell.model for cell in report.cells)
    files = environment_names(report.environment, "models")
    if len(known) == 1:
        return next(iter(known))
    found = _FILE_NAME.match(files[0]) if len(files) == 1 and not known else None
    return found["name"] if found else ""


def _add_summary(report: ReportText, row: SummaryRow) -> None:
    """What a table says of a cell, beside what its own section says."""
    for cell in report.cells:
        if (cell.model, cell.nodes) == (row.model, row.nodes):
            break
    else:
        cell = ReportedCell(row.model, row.nodes)
        report.cells.append(cell)
    cell.summary |= {name: v for name, v in row.figures.items() if name not in cell.summary}
    cell.figures = row.figures | cell.figures
    cell.root_bytes = cell.root_bytes or _bytes(row.memory.get("root", ""))
    cell.worker_bytes = cell.worker_bytes or _bytes(row.memory.get("worker", ""))


def _joined(lines: list[str]) -> Iterator[str]:
    """Lines of a shell command that end in a backslash are one."""
    held = ""
    for line in lines:
        whole = held + line
        if whole.rstrip().endswith("\\"):
            held = whole.rstrip().removesuffix("\\") + " "
            continue
        held = ""
        yield whole


def _take_detail(cell: ReportedCell, line: str, block: str) -> str:
    """One line of a cell's section; returns the block that the next one stands in."""
    text = line.strip()
    if text in ("Evaluation", "Prediction"):
        return text.lower()
    if count := _COUNT.match(line):
        if count["key"] == "nBatches":
            cell.n_batches = int(count["n"])
        elif block:
            _set_phase(cell, block, Phase(n_tokens=int(count["n"])))
        return block
    if block and (rate := _RATE.search(text)):
        phase = getattr(cell, block) or Phase()
        _set_phase(cell, block, Phase(phase.n_tokens, _number(rate["per_s"]), _number(rate["ms"])))
        return block
    if found := _PERCENTILES.search(text):
        cell.percentiles_ms = (
            _number(found["p50"]),
            _number(found["p95"]),
            _number(found["p99"]),
        )
        return block
    if item := _ITEM.match(line):
        _take_item(cell, item["key"], item["value"])
    return block


def _set_phase(cell: ReportedCell, block: str, phase: Phase) -> None:
    if block == "evaluation":
        cell.evaluation = phase
    else:
        cell.prediction = phase


def _take_item(cell: ReportedCell, key: str, value: str) -> None:
    plain, unit = key_and_unit(key)
    if MEMORY.get(plain) == "root":
        cell.root_bytes = _bytes(value)
    elif MEMORY.get(plain) == "worker":
        cell.worker_bytes = _bytes(value)
    elif plain in FIGURES and (found := _FIGURE.match(value)):
        figure = FIGURES[plain]
        unit = unit or found["unit"].lower()
        cell.figures[figure] = in_our_unit(figure, _number(found["n"]), unit)
    elif found := _OPERATION.match(value):
        cell.operations.append(
            ReportedOperation(
                key,
                int(_number(found["ops"])),
                _number(found["mb"]),
                _number(found["avg"]),
            )
        )


def _number(text: str) -> float:
    """With commas between thousands.

    >>> _number("1,227.59")
    1227.59
    """
    value = float(text.replace(",", ""))
    return value if value < _BEYOND_REASON else 0.0


def _bytes(value: str) -> int | None:
    """A size as people write it.

    >>> _bytes("7,338 MB (약 7.3 GB)"), _bytes("12 GB"), _bytes("측정 데이터 없음")
    (7338000000, 12000000000, None)
    """
    found = _SIZE.match(value)
    size = _number(found["n"]) * _UNITS[found["unit"].upper()] if found else 0.0
    return round(size) or None


def environment_names(environment: Mapping[str, str], key: str) -> list[str]:
    """File names of a list such as "`a.m`, `b.m`".

    >>> environment_names({"models": "`a.m`, `b.m`"}, "models")
    ['a.m', 'b.m']
    """
    return [part.strip().strip("`") for part in environment.get(key, "").split(",") if part.strip()]
