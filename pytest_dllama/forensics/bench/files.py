"""Result files of other benchmarks, told apart by their keys.

vLLM's `bench serve`, GuideLLM's report, AIPerf's profile exports and llama.cpp's `llama-bench`.
Where a file's own figure is defined otherwise ours is computed from its times, and a note says so.
A file of sums over its requests gives one sample, and a note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pytest_dllama.forensics.bench import aiperf, guidellm, llama_bench, vllm
from pytest_dllama.forensics.bench.base import BenchFile, BenchFileError, Document
from pytest_dllama.forensics.bench.llama_tables import tables

_Reader = tuple[Callable[[Sequence[Document]], bool], Callable[[Sequence[Document]], BenchFile]]
_READERS: tuple[_Reader, ...] = (
    (vllm.knows, vllm.read),
    (guidellm.knows, guidellm.read),
    (llama_bench.knows, llama_bench.read),
    (aiperf.knows, aiperf.read),
)
_KNOWN = (
    "vLLM `bench serve --save-result`, GuideLLM's JSON report, AIPerf's profile_export_aiperf.json "
    "or profile_export.jsonl, or `llama-bench` (any -o)"
)


def parse_bench_file(text: str) -> BenchFile:
    """Read any of the known forms.

    Raises:
        BenchFileError: another form, or no request that ended well.
    """
    documents, is_cut = _documents(text)
    for knows, read in _READERS:
        if documents and knows(documents):
            found = read(documents)
            if not any(cell.samples for cell in found.cells):
                raise BenchFileError(f"a file of {found.tool} without a request that ended well")
            if is_cut:
                found.notes.append("The file is not whole: what could be read of it is here.")
            return found
    raise BenchFileError(f"no result file that is known: {_KNOWN}")


def _documents(text: str) -> tuple[list[Document], bool]:
    """The objects of JSON, of a list in it, of JSON lines, or a table's; whether some are cut off.

    Raises:
        BenchFileError: neither of them.
    """
    if found := tables(text):
        return found, False
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        found = _objects(text)
        if text.strip() and not found:
            raise BenchFileError("no JSON, no JSON lines and no table of llama-bench") from None
        return found, not _are_lines(text)
    items = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(item, dict) for item in items):
        raise BenchFileError("JSON, but no objects with keys")
    return items, False


def _are_lines(text: str) -> bool:
    """Whether every line is JSON of its own."""
    return all(_object_at(line, 0) is not None for line in text.splitlines() if line.strip())


def _objects(text: str) -> list[Document]:
    """Every whole object of a file that is no JSON: lines, messages between, an end cut off."""
    found = []
    place = text.find("{")
    while place >= 0:
        read = _object_at(text, place)
        if read is None:  # the rest of this line is none, nor what it holds
            next_line = text.find("\n", place)
            place = text.find("{", next_line) if next_line >= 0 else -1
            continue
        found.append(read[0])
        place = text.find("{", read[1])
    return found


def _object_at(text: str, place: int) -> tuple[Document, int] | None:
    try:
        value: Any
        value, end = json.JSONDecoder().raw_decode(text, place)
    except (ValueError, RecursionError):
        return None
    return (value, end) if isinstance(value, dict) else None
