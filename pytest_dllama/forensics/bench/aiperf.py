"""AIPerf's profile exports (GenAI-Perf's summary has the same form)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_dllama.forensics.bench.base import (
    BenchCell,
    BenchFile,
    Document,
    left_out,
    only_middle,
    positive,
    request,
    summary,
    within,
)

_NOTE = "AIPerf's inter-token latency of a request is our TPOT: (RCT - TTFT) / (tokens - 1)."
_IN_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}


def knows(documents: Sequence[Document]) -> bool:
    """Whether these are records of requests, failed ones among them, or summaries."""
    records = [_is_record(one) for one in documents]
    if all(records):
        return any("request_latency" in one["metrics"] for one in documents)
    return not any(records) and all(isinstance(_figures(one), dict) for one in documents)


def _is_record(document: Document) -> bool:
    return isinstance(document.get("metrics"), dict) and "metadata" in document


def _figures(document: Document) -> Any:
    """Where a summary has its metrics: at the top, or in older versions below `records`."""
    places = (document, document.get("records"), document.get("metrics"))
    return next((p for p in places if isinstance(within(p, "request_latency"), dict)), None)


def read(documents: Sequence[Document]) -> BenchFile:
    """A cell a file of records, and one a summary."""
    found = BenchFile("AIPerf", notes=[_NOTE])
    if all(map(_is_record, documents)):
        found.cells.append(_of_records(documents, found.notes))
    for document in [] if found.cells else documents:
        cell = BenchCell(_model(document), settings=_load(document))
        found.cells.append(cell)
        figures = _figures(document)
        key = "p50" if "p50" in figures["request_latency"] else "avg"
        tpot_s = _value(figures, "inter_token_latency", key)
        sample = summary(
            n_input=_value(figures, "input_sequence_length", key),
            n_output=_value(figures, "output_sequence_length", key),
            ttft_s=_value(figures, "time_to_first_token", key),
            tpot_ms=None if tpot_s is None else tpot_s * 1e3,
            rct_s=_value(figures, "request_latency", key),
        )
        cell.samples += [sample] if sample else []
        n = _value(figures, "request_count", "avg")
        found.notes.append(only_middle(cell.model, key == "p50", n))
    return found


def _of_records(records: Sequence[Document], notes: list[str]) -> BenchCell:
    cell = BenchCell(next(filter(None, map(_record_model, records)), "model"))
    counted = [one for one in records if within(one, "metadata", "benchmark_phase") != "warmup"]
    if warmup := len(records) - len(counted):
        notes.append(f"{cell.model}: {warmup} requests of the warm-up are left out.")
    for one in counted:
        sample = None if one.get("error") else _request(one["metrics"])
        cell.samples += [sample] if sample else []
    if lost := len(counted) - len(cell.samples):
        notes.append(left_out(cell.model, lost, len(counted)))
    return cell


def _request(metrics: Document) -> Any:
    return request(
        n_input=_value(metrics, "input_sequence_length", "value"),
        n_output=_value(metrics, "output_sequence_length", "value"),
        ttft_s=_value(metrics, "time_to_first_token", "value"),
        rct_s=_value(metrics, "request_latency", "value"),
        itl_s=_gaps(metrics),
    )


def _gaps(metrics: Document) -> list[float]:
    """Gaps between chunks of the stream, where each was kept."""
    values = within(metrics, "inter_chunk_latency", "value")
    unit = _unit(metrics, "inter_chunk_latency")
    known = values if isinstance(values, list) else []
    return [gap * unit for value in known if (gap := positive(value)) is not None]


def _value(metrics: Document, name: str, key: str) -> float | None:
    """A value in seconds or tokens."""
    value = positive(within(metrics, name, key))
    return None if value is None else value * _unit(metrics, name)


def _unit(metrics: Document, name: str) -> float:
    return _IN_SECONDS.get(str(within(metrics, name, "unit")), 1.0)


def _load(document: Document) -> dict[str, str]:
    """How requests were sent."""
    found: dict[str, str] = {}
    for name, ours in (("concurrency", "concurrency"), ("request_rate", "rate")):
        value = positive(within(document, "input_config", "loadgen", name))
        found |= {ours: f"{value:g}"} if value is not None else {}
    return found


def _record_model(record: Document) -> str:
    name = within(record, "metadata", "model_name")
    return name if isinstance(name, str) else ""


def _model(document: Document) -> str:
    for path in (("endpoint", "model_names"), ("model_names",), ("model",), ("models",)):
        names = within(document, "input_config", *path)
        if isinstance(names, list) and names and isinstance(names[0], str):
            return names[0]
        if isinstance(names, str) and names:
            return names
    return "model"
