"""llama-bench's CSV, SQL and Markdown outputs as the objects that its JSON has."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence

from pytest_dllama.forensics.bench.base import Document

_INSERT = re.compile(
    r"^INSERT INTO \w+ *\((?P<names>[^)]*)\)\s*VALUES *\((?P<values>.*)\);?\s*$",
    re.MULTILINE | re.IGNORECASE,
)
_HEAD = re.compile(r'"?\w+"?(,"?\w+"?)+')
_NUMBER = re.compile(r"-?\d+(\.\d+)?(e[-+]?\d+)?", re.IGNORECASE)
_NUMBERS = ("n_prompt", "n_gen", "n_depth", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts")
_TEST = re.compile(r"(?:pp *(?P<pp>\d+))?\+?(?:tg *(?P<tg>\d+))?(?: *@ *d *(?P<d>\d+))?")
_COLUMNS = {"model": "model_type"}
_OF_MODEL = ("size", "params", "test", "t/s")


def tables(text: str) -> list[Document]:
    """The tests of the first form that the text has; none: it has no table of llama-bench."""
    for read in (_sql, _csv, _markdown):
        if found := list(read(text)):
            return found
    return []


def _sql(text: str) -> Iterator[Document]:
    for insert in _INSERT.finditer(text):
        names = [name.strip(" \"'`") for name in insert["names"].split(",")]
        values = next(_rows([insert["values"]], "'"))
        if "avg_ts" in names and len(names) == len(values):
            yield _typed(dict(zip(names, values, strict=True)))


def _csv(text: str) -> Iterator[Document]:
    """From the head on, wherever it stands: messages may have come before it."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if not _HEAD.fullmatch(line):
            continue
        names = [name.strip('"') for name in line.split(",")]
        if {"n_prompt", "n_gen", "avg_ts"} <= set(names):
            for row in _rows(lines[number + 1 :]):
                if len(row) == len(names):
                    yield _typed(dict(zip(names, row, strict=True)))
            return


def _rows(lines: Sequence[str], quote: str = '"') -> Iterator[list[str]]:
    """Each line's values; a line that is no CSV has none."""
    for line in lines:
        try:
            yield next(csv.reader([line], quotechar=quote, skipinitialspace=True), [])
        except csv.Error:
            yield []


def _typed(row: dict[str, str]) -> Document:
    """With the figures as numbers."""
    found: Document = dict(row)
    for name in _NUMBERS:
        if _NUMBER.fullmatch(row.get(name, "")):
            found[name] = float(row[name])
    return found


def _markdown(text: str) -> Iterator[Document]:
    names: list[str] = []
    for line in text.splitlines():
        if not line.lstrip().startswith("|"):
            names = []
            continue
        row = [entry.strip() for entry in line.strip().strip("|").split("|")]
        if {"model", "test", "t/s"} <= set(row):
            names = row
        elif names and len(row) == len(names) and not set(line) <= set("|-: "):
            found = _of_row(dict(zip(names, row, strict=True)))
            if found is not None:
                yield found


def _of_row(row: dict[str, str]) -> Document | None:
    test, rate = _TEST.fullmatch(row["test"]), _NUMBER.match(row["t/s"])
    if test is None or rate is None:
        return None
    found: Document = {
        _COLUMNS.get(name, name): value for name, value in row.items() if name not in _OF_MODEL
    }
    for name, group in (("n_prompt", "pp"), ("n_gen", "tg"), ("n_depth", "d")):
        found[name] = int(test[group] or 0)
    return found | {"avg_ts": float(rate[0])}
