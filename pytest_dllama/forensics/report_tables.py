"""The summary tables of a hand-written report: a row a node count, columns in any order."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pytest_dllama.forensics.report_words import (
    FIGURES,
    MEMORY,
    MODEL_COLUMNS,
    NODE_COLUMNS,
    in_our_unit,
    key_and_unit,
    model_of,
)

_HEADING = re.compile(r"^#{1,6}\s+(?P<title>.*?)\s*$")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")
_BEYOND_REASON = 1e18  # of any unit: no figure
_SPEED = ("tokens_per_s", "tpot_ms", "ttft_s", "rct_s")


@dataclass(slots=True)
class SummaryRow:
    """What a table says of one cell."""

    model: str
    nodes: int
    figures: dict[str, float] = field(default_factory=dict)  # keys: values of FIGURES
    memory: dict[str, str] = field(default_factory=dict)  # root, worker: as written, with the unit


def summary_rows(text: str, only_model: str = "") -> Iterator[SummaryRow]:
    """Every row of every table that has node counts and a speed.

    Args:
        text: the report.
        only_model: whose tables are those below a heading that names none.
    """
    model = only_model
    head: list[tuple[str, str]] = []
    for line in text.splitlines():
        if heading := _HEADING.match(line):
            model, head = model_of(heading["title"]) or only_model, []
        elif not line.lstrip().startswith("|"):
            head = []
        else:
            entries = [entry.strip() for entry in line.strip().strip("|").split("|")]
            if not head:
                head = [key_and_unit(entry) for entry in entries]
            elif _is_summary(head) and len(entries) == len(head):
                yield from _row(model, head, entries)


def _is_summary(head: Sequence[tuple[str, str]]) -> bool:
    keys = [key for key, _ in head]
    has_speed = any(FIGURES.get(key) in _SPEED for key in keys)
    return has_speed and any(key in NODE_COLUMNS for key in keys)


def _row(
    model: str, head: Sequence[tuple[str, str]], entries: Sequence[str]
) -> Iterator[SummaryRow]:
    nodes, row = None, SummaryRow(model, 0)
    for (key, unit), entry in zip(head, entries, strict=True):
        number = _NUMBER.search(entry)
        if key in MODEL_COLUMNS:
            row.model = entry.replace("*", "").strip(" ★")
        elif key in NODE_COLUMNS:
            nodes = int(_value(number[0])) if number else None
        elif number is None:
            continue
        elif key in MEMORY:
            row.memory[MEMORY[key]] = f"{number[0]} {unit or entry[number.end() :].strip()}"
        elif key in FIGURES:
            unit = unit or entry[number.end() :].strip(" *").lower()
            row.figures[FIGURES[key]] = in_our_unit(FIGURES[key], _value(number[0]), unit)
    if nodes and row.model and (row.figures or row.memory):
        row.nodes = nodes
        yield row


def _value(text: str) -> float:
    value = float(text.replace(",", ""))
    return value if abs(value) < _BEYOND_REASON else 0.0
