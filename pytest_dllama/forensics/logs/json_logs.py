"""Logs that a collector or a tool keeps as JSON -> the lines as a shell would have shown them.

One record a line (container runtimes, `journalctl -o json`), or one document with the output in
it (build servers, configuration tools). Time and origin of a record go before its line.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pytest_dllama.backends.dllama.printed.lines import clean, read_line

_FEWEST = 3  # lines of dllama's, to believe that they are a log
_LEAST_SHARE = 0.9  # of the lines that are records
_QUOTED = re.compile(r'\s*(?:- +)?"(.*)",?\s*')
_SURROGATES = re.compile(r"\\u[dD]8[0-9a-fA-F]{2}\\u[dD][c-fC-F]")
_TIMES = ("time", "timestamp", "@timestamp", "ts", "date", "__REALTIME_TIMESTAMP")
_ORIGINS = (
    "container_name",
    "CONTAINER_NAME",
    "pod",
    "pod_name",
    "host",
    "hostname",
    "_HOSTNAME",
    "_PID",
)


def without_json(text: str) -> tuple[str, list[str]]:
    """The lines that JSON holds, and what was undone; other text as it is."""
    unquoted = _unquoted(text)
    if unquoted is not None:
        return unquoted, ["lines escaped as in JSON, undone"]
    head = text.lstrip()[:1]
    if head not in ("{", "[", '"'):
        return text, []
    recorded = _recorded_terminal(text)
    if recorded is not None:
        return recorded, ["a recorded terminal, its output taken"]
    records = _records(text)
    key = _message_key(records) if records else None
    if key is not None:
        return _joined(records, key), [f"JSON records, their {key!r} taken"]
    document = _loaded(text)
    for records in _lists_of_records(document):
        key = _message_key(records)
        if key is not None:
            return _joined(records, key), [f"JSON, its records' {key!r} taken"]
    found = [lines for lines in _texts(document) if _n_readable(lines) >= _FEWEST]
    found = [lines for i, lines in enumerate(found) if lines not in found[:i]]  # told twice
    if found:
        return "\n".join(line for lines in found for line in lines), ["JSON, its texts taken"]
    return text, []


def _unquoted(text: str) -> str | None:
    r"""Lines that are JSON strings, bare or in quotes, where an escape shows it; else None.

    >>> _unquoted(r'''- "\ud83d\udca1 Dim: 3"
    ... - "\ud83d\udd36 \"a\""''')
    '💡 Dim: 3\n🔶 "a"'
    """
    if "\\" not in text:
        return None
    lines = text.removesuffix("\n").split("\n")
    quoted = [_QUOTED.fullmatch(line) for line in lines if line.strip()]
    is_bare = not all(quoted) and _SURROGATES.search(text) is not None
    if not is_bare and not all(quoted):
        return None
    inner = lines if is_bare else [match[1] for match in quoted if match]
    read = [_loaded(f'"{line}"') for line in inner]
    return "\n".join(map(str, read)) if all(isinstance(line, str) for line in read) else None


def _joined(records: list[dict[str, Any]], key: str) -> str:
    return "\n".join(line for record in records for line in _shown(record, key))


def _loaded(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _recorded_terminal(text: str) -> str | None:
    """What a terminal showed, of a recording (asciicast): a head, then [time, "o", output]."""
    first, _, rest = text.lstrip().partition("\n")
    head = _loaded(first)
    if not isinstance(head, dict) or "version" not in head or not rest.startswith("["):
        return None
    events = [_loaded(line) for line in rest.split("\n") if line.strip()]
    said = [e[2] for e in events if isinstance(e, list) and len(e) == 3 and e[1] == "o"]
    return "".join(map(str, said)).replace("\r\n", "\n") if said else None


def _records(text: str) -> list[dict[str, Any]]:
    """One object a line; none if they are something else."""
    lines = [line for line in text.split("\n") if line.strip()]
    if not all(line.lstrip().startswith("{") for line in lines[:_FEWEST]):
        return []
    records = [_flat(record) for line in lines if isinstance(record := _loaded(line), dict)]
    return records if len(records) >= max(_FEWEST, _LEAST_SHARE * len(lines)) else []


def _flat(record: dict[str, Any], before: str = "") -> dict[str, Any]:
    """A record's values by their path.

    >>> _flat({"log": {"text": "a"}, "n": 1})
    {'log.text': 'a', 'n': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{before}{key}.")
        else:
            flat[f"{before}{key}"] = value
    return flat


def _lists_of_records(value: object) -> Iterator[list[dict[str, Any]]]:
    """Every list of objects, or of [time, text], in a document; all streams of it as one."""
    streams = _streams(value)
    if streams:
        yield streams
    if isinstance(value, list):
        records = [_flat(item) for item in value if isinstance(item, dict)]
        if len(records) >= _FEWEST:
            yield records
    if isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            if isinstance(item, list | dict):
                yield from _lists_of_records(item)


def _streams(value: object) -> list[dict[str, Any]]:
    """[{"stream": labels, "values": [[time, text], ..]}, ..] as a log store answers."""
    if not isinstance(value, list):
        return []
    found: list[dict[str, Any]] = []
    for item in value:
        pairs = item.get("values") if isinstance(item, dict) else None
        if not isinstance(pairs, list):
            return []
        labels = item.get("stream")
        host = "/".join(map(str, labels.values())) if isinstance(labels, dict) else ""
        for pair in pairs:
            if isinstance(pair, list) and len(pair) >= 2:
                named = {"host": host} if len(value) > 1 else {}
                found.append({"time": pair[0], "line": pair[1], **named})
    return found


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
    last = {path.rpartition(".")[2]: value for path, value in record.items() if path != key}
    named = [str(last[name]) for name in (*_TIMES, *_ORIGINS) if name in last]
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
