"""A hand-written Markdown report of a Pi cluster -> its figures, as they stand there.

The form is that of people who copy dllama's closing blocks and the fork's network monitor into a
page, one section a node count (in Korean). Knows nothing of run files; what a report does not say
is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

NO_DATA = "측정 데이터 없음"
_DETAILS = re.compile(r"^#{2,4}\s+(?P<model>\S.*?)\s+모델 상세 결과\s*$")
_NODES = re.compile(r"^#{3,5}\s+(?:\d+\.\s*)?(?P<nodes>\d+)대(?: 워커)?(?: 구성)?\b")
_HEADING = re.compile(r"^(?P<marks>#{1,6})\s+(?P<title>.*?)\s*$")
_ITEM = re.compile(r"^\s*[-*]\s+(?P<key>[^:]+?)\s*:\s*(?P<value>.+?)\s*$")
_RATE = re.compile(r"tokens/s:\s*(?P<per_s>[\d.,]+)\s*\((?P<ms>[\d.,]+)\s*ms/tok\)")
_COUNT = re.compile(r"^\s*(?P<key>nBatches|nTokens):\s*(?P<n>\d+)\s*$")
_OPERATION = re.compile(r"^(?P<ops>[\d,]+) ops, (?P<mb>[\d.,]+) MB, (?P<avg>[\d.,]+) ms avg$")
_PERCENTILES = re.compile(
    r"P50:\s*(?P<p50>[\d.,]+)\s*ms,\s*P95:\s*(?P<p95>[\d.,]+)\s*ms,\s*P99:\s*(?P<p99>[\d.,]+)\s*ms"
)
_SIZE = re.compile(r"^(?P<n>[\d.,]+)\s*(?P<unit>[KMG])i?B\b")
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9}  # "7,338 MB (약 7.3 GB)": decimal
_MODEL_OF_COMMANDS = re.compile(r"^#{2,4}\s+(?P<model>\S.*?)\s+모델\s*$")
_ENVIRONMENT = {
    "모델": "models",
    "토크나이저": "tokenizers",
    "버퍼 타입": "buffer_float_type",
    "프롬프트": "prompt",
    "최대 스텝": "steps",
    "스레드 수": "nthreads",
}
_FIGURES = {
    "InputTokens": "n_input_tokens",
    "OutputTokens": "n_output_tokens",
    "TokensPerSecond": "tokens_per_s",
    "TPOT_MS": "tpot_ms",
    "TTFT_S": "ttft_s",
    "RCT_S": "rct_s",
    "총 작업 수": "operations",
    "총 전송량": "total_mb",
    "평균 지연시간": "avg_ms",
    "최대 지연시간": "max_ms",
    "최소 지연시간": "min_ms",
    "대역폭": "bandwidth_mbps",
    "가장 느린 소켓": "slowest_socket",
}


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
    figures: dict[str, float] = field(default_factory=dict)  # keys: values of _FIGURES
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

    environment: dict[str, str] = field(default_factory=dict)  # keys: values of _ENVIRONMENT
    cells: list[ReportedCell] = field(default_factory=list)
    workers: dict[tuple[str, int], int] = field(default_factory=dict)  # in the command of a cell


def read_report(text: str) -> ReportText:
    """Read a report; no cell if it is of another form."""
    report = ReportText()
    section = model = ""
    cell: ReportedCell | None = None
    block = ""
    for line in _joined(text.splitlines()):
        heading = _HEADING.match(line)
        if heading:
            section, model, cell = _at_heading(report, line, heading, section, model, cell)
            block = ""
        elif section == "details" and cell is not None:
            block = _take_detail(cell, line, block)
        elif section == "commands" and "--workers" in line:
            names = line.partition("--workers")[2].split()
            nodes = cell.nodes if cell else 0
            report.workers[model, nodes] = sum(1 for name in names if ":" in name)
        elif not report.cells and (item := _ITEM.match(line)) and item["key"] in _ENVIRONMENT:
            report.environment.setdefault(_ENVIRONMENT[item["key"]], item["value"])
    return report


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


def _at_heading(
    report: ReportText,
    line: str,
    heading: re.Match[str],
    section: str,
    model: str,
    cell: ReportedCell | None,
) -> tuple[str, str, ReportedCell | None]:
    """Section, model and cell that the lines behind this heading belong to."""
    if found := _DETAILS.match(line):
        return "details", found["model"], None
    if "부록" in heading["title"] or "명령어" in heading["title"]:
        return "commands", "", None
    if section == "commands" and (found := _MODEL_OF_COMMANDS.match(line)):
        return section, found["model"], None
    if section and model and (found := _NODES.match(line)):
        cell = ReportedCell(model, int(found["nodes"]))
        if section == "details":
            report.cells.append(cell)
        return section, model, cell
    return "", "", None  # a section of conclusions


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
    if key == "Root":
        cell.root_bytes = _bytes(value)
    elif key == "Worker":
        cell.worker_bytes = _bytes(value)
    elif key in _FIGURES and (found := re.match(r"-?[\d.,]*\d", value)):
        cell.figures[_FIGURES[key]] = _number(found[0])
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
    return float(text.replace(",", ""))


def _bytes(value: str) -> int | None:
    """A size as people write it.

    >>> _bytes("7,338 MB (약 7.3 GB)"), _bytes("12 GB"), _bytes("측정 데이터 없음")
    (7338000000, 12000000000, None)
    """
    found = _SIZE.match(value)
    return round(_number(found["n"]) * _UNITS[found["unit"]]) if found else None


def environment_names(environment: Mapping[str, str], key: str) -> list[str]:
    """File names of a list such as "`a.m`, `b.m`".

    >>> environment_names({"models": "`a.m`, `b.m`"}, "models")
    ['a.m', 'b.m']
    """
    return [part.strip().strip("`") for part in environment.get(key, "").split(",") if part.strip()]
