"""vLLM's `bench serve --save-result` (SGLang's bench_serving writes nearly the same)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pytest_dllama.forensics.bench.base import (
    BenchCell,
    BenchFile,
    Document,
    left_out,
    only_middle,
    positive,
    request,
    scaled,
    summary,
)

_TIMES = ("ttft", "tpot", "itl", "e2el", "e2e_latency")
_SETTINGS = {"request_rate": "rate", "max_concurrency": "concurrency", "burstiness": "burstiness"}
_DETAILS = ("ttfts", "itls", "input_lens", "output_lens")


def knows(documents: Sequence[Document]) -> bool:
    """Whether all are results of a served model."""
    return all("completed" in one and _has_times(one) for one in documents)


def _has_times(document: Document) -> bool:
    return any(f"{kind}_{name}_ms" in document for name in _TIMES for kind in ("median", "mean"))


def read(documents: Sequence[Document]) -> BenchFile:
    """A cell a result: one file may hold several (--append-result)."""
    is_sglang = any("median_e2e_latency_ms" in one for one in documents)
    found = BenchFile("SGLang bench_serving" if is_sglang else "vLLM bench serve")
    for document in documents:
        settings = {
            ours: str(document[theirs])
            for theirs, ours in _SETTINGS.items()
            if document.get(theirs) is not None
        }
        cell = BenchCell(str(document.get("model_id") or "model"), settings=settings)
        found.cells.append(cell)
        if all(isinstance(document.get(name), list) for name in _DETAILS):
            requests = list(_requests(document))
            cell.samples += filter(None, requests)
            if lost := len(requests) - len(cell.samples):
                found.notes.append(left_out(cell.model, lost, len(requests)))
        else:
            found.notes.append(_of_summary(document, cell))
    found.notes.append(
        "SGLang's TPOT leaves the first token out, as ours does."
        if is_sglang
        else "vLLM's TPOT leaves the first token out, as ours does."
    )
    return found


def _requests(document: Document) -> Iterator[Any]:
    columns = [document[name] for name in _DETAILS]
    errors = document.get("errors")
    failed = errors if isinstance(errors, list) else []
    for index, (ttft, itls, n_input, n_output) in enumerate(zip(*columns, strict=False)):
        known = itls if isinstance(itls, list) else []
        gaps = [float(gap) for gap in known if positive(gap) is not None or gap == 0]
        first = positive(ttft)
        if first is None or (index < len(failed) and failed[index]):
            yield None
            continue
        yield request(
            n_input=n_input, n_output=n_output, ttft_s=first, rct_s=first + sum(gaps), itl_s=gaps
        )


def _of_summary(document: Document, cell: BenchCell) -> str:
    """Put the one sample that a file of sums gives into the cell; what is to be said of it."""
    kind = "median" if any(f"median_{name}_ms" in document for name in _TIMES) else "mean"
    ttft, tpot, e2el, latency = (
        positive(document.get(f"{kind}_{name}_ms"))
        for name in ("ttft", "tpot", "e2el", "e2e_latency")
    )
    n = int(positive(document.get("completed")) or 0)
    sample = summary(
        n_input=_mean(document, "total_input_tokens", n),
        n_output=_mean(document, "total_output_tokens", n),
        ttft_s=scaled(ttft, 1e-3),
        tpot_ms=tpot,
        rct_s=scaled(e2el or latency, 1e-3),
    )
    cell.samples += [sample] if sample and n else []
    return only_middle(cell.model, kind == "median", n)


def _mean(document: Document, name: str, n: int) -> float | None:
    return scaled(document.get(name), 1 / n) if n else None
