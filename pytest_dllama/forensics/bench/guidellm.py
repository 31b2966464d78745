"""GuideLLM's JSON report, of every version that keeps requests or medians."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_dllama.forensics.bench.base import (
    BenchCell,
    BenchFile,
    Document,
    only_middle,
    positive,
    request,
    scaled,
    summary,
    within,
)

_NOTE = (
    "GuideLLM's time per output token counts the first token; TPOT here is (RCT - TTFT) / "
    "(output tokens - 1), computed from its times."
)


def knows(documents: Sequence[Document]) -> bool:
    """Whether all are reports of benchmarks with requests or metrics."""
    return all(_is_report(one.get("benchmarks")) for one in documents)


def _is_report(benchmarks: Any) -> bool:
    return isinstance(benchmarks, list) and all(
        isinstance(one, dict) and ("requests" in one or "metrics" in one) for one in benchmarks
    )


def read(documents: Sequence[Document]) -> BenchFile:
    """A cell a benchmark: a sweep has one for each rate."""
    found = BenchFile("GuideLLM")
    for document in documents:
        for index, benchmark in enumerate(document["benchmarks"], start=1):
            cell = BenchCell(_model(document, benchmark), settings=_strategy(benchmark, index))
            good = within(benchmark, "requests", "successful")
            requests = good if isinstance(good, list) else []
            cell.samples += filter(None, map(_request, requests))
            if not cell.samples and (sample := _summary(benchmark)) is not None:
                cell.samples.append(sample)
                n = positive(within(benchmark, "metrics", "request_latency", "successful", "count"))
                found.notes.append(only_middle(cell.model, True, n))
            found.cells.append(cell)
    found.notes.append(_NOTE)
    return found


def _strategy(benchmark: Document, index: int) -> dict[str, str]:
    """How requests were sent, as `constant` at rate 5; else the benchmark's place in the file."""
    for path in (("config", "strategy"), ("args", "strategy"), ("scheduler", "strategy")):
        strategy = within(benchmark, *path)
        if isinstance(strategy, dict) and strategy.get("type_"):
            told = {"": str(strategy["type_"])}
            for name in ("rate", "streams"):
                if (value := positive(strategy.get(name))) is not None:
                    told[name] = f"{value:g}"
            return told
    return {"no": str(index)}


def _model(document: Document, benchmark: Document) -> str:
    """Its place changed from version to version."""
    for holder in (benchmark, document):
        for path in (
            ("config", "spec", "backend", "model"), ("config", "backend", "model"),
            ("args", "model"), ("config", "model"), ("worker", "backend_model"),
            ("args", "backend_kwargs", "model"),
        ):  # fmt: skip
            value = within(holder, *path)
            if isinstance(value, str) and value:
                return value
    return "model"


def _request(told: Any) -> Any:
    if not isinstance(told, dict):
        return None
    return request(
        n_input=told.get("prompt_tokens"),
        n_output=told.get("output_tokens"),
        ttft_s=scaled(told.get("time_to_first_token_ms"), 1e-3),
        rct_s=told.get("request_latency"),
    )


def _summary(benchmark: Document) -> Any:
    """Of a report that keeps no requests; its inter-token latency is our TPOT."""

    def middle(name: str) -> float | None:
        good = within(benchmark, "metrics", name, "successful")
        return positive(within(good, "median")) or positive(within(good, "percentiles", "p50"))

    return summary(
        n_input=middle("prompt_token_count"),
        n_output=middle("output_token_count"),
        ttft_s=scaled(middle("time_to_first_token_ms"), 1e-3),
        tpot_ms=middle("inter_token_latency_ms"),
        rct_s=middle("request_latency"),
    )
