"""Logs that a collector or a tool keeps as JSON -> the lines as a shell would have shown them.

One record a line (container runtimes, `journalctl -o json`), or one document with the output in
it (build servers, configuration tools). Time and origin of a record go before its line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pytest_dllama.backends.dllama.lines import clean, read_line

_FEWEST = 3  # lines of dllama's, to believe that they are a log
_LEAST_SHARE = 0.9  # of the lines that are records
_TIMES = ("time", "timestamp", "@timestamp", "ts", "date", "__REALTIME_TIMESTAMP")
_ORIGINS = ("container_name", "CONTAINER_NAME", "pod", "host", "hostname", "_HOSTNAME", "_PID")


def without_json(text: str) -> tuple[str, list[str]]:
    """The lines that JSON holds, and what was undone; other text as it is."""
    head = text.lstrip()[:1]
    if head not in ("{", "[", '"'):
        return text, []
    records = _records(text)
    key = _message_key(records) if records else None
    if key is not None:
        lines = [line for record in records for line in _shown(record, key)]
        return "\n".join(lines), [f"JSON records, their {key!r} taken"]
    found = [lines for lines in _texts(_loaded(text)) if _n_readable(lines) >= _FEWEST]
    if found:
        return "\n".join(line for lines in found for line in lines), ["JSON, its texts taken"]
    return text, []


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _records(text: str) -> list[dict[str, Any]]:
    """One object a line; none if they are something else."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not all(line.lstrip().startswith("{") for line in lines[:_FEWEST]):
        return []
    records = [record for line in lines if isinstance(record := _loaded(line), dict)]
    return records if len(records) >= max(_FEWEST, _LEAST_SHARE * len(lines)) else []


def _message_key(records: list[dict[str, Any]]) -> str | None:
    """The key whose texts are dllama's."""
    count: Counter[str] = Counter()
    for record in records:
        count.update(key for key in record if _n_readable(_lines(record[key])))
    best = count.most_common(1)
    return best[0][0] if best and best[0][1] >= _FEWEST else None


def _lines(value: object) -> list[str]:
    """A text's lines; the journal keeps what is not plain ASCII as a list of bytes."""
    if isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        value = bytes(value).decode("utf-8", errors="replace")
    return value.removesuffix("\n").split("\n") if isinstance(value, str) else []


def _n_readable(lines: list[str]) -> int:
    return sum(read_line(clean(line)) is not None for line in lines)


def _shown(record: dict[str, Any], key: str) -> Iterator[str]:
    """A record's lines behind its time and origin, as the collector's own viewer prints them."""
    named = [str(record[name]) for name in (*_TIMES, *_ORIGINS) if name in record and name != key]
    before = " ".join(named) + " " if named else ""
    for line in _lines(record.get(key)):
        yield before + line


def _texts(value: object) -> Iterator[list[str]]:
    """Every text of a document, and every list of lines, in their order."""
    if isinstance(value, str):
        yield value.removesuffix("\n").split("\n")
    elif isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        yield [line for item in value for line in item.removesuffix("\n").split("\n")]
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)
