"""Result files of other benchmarks -> what they tell of single requests, by our definitions.

vLLM's `bench serve` (with --save-detailed), GuideLLM's report, AIPerf's profile export and
llama.cpp's `llama-bench`. Where a file's own figure is defined otherwise ours is computed from its
times, and a note says so. A file of sums over its requests gives one sample, and a note.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_dllama.metrics import definitions
from pytest_dllama.record.cell import Sample, Workload


class BenchFileError(ValueError):
    """A file of another form; the message says which are read."""


@dataclass(slots=True)
class BenchCell:
    """The requests of one workload of one model."""

    model: str
    workload: Workload = field(default_factory=Workload)
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class BenchFile:
    """What a file tells."""

    tool: str
    cells: list[BenchCell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def parse_bench_file(text: str) -> BenchFile:
    """Read any of the known forms, told apart by their keys.

    Raises:
        BenchFileError: no JSON, another form, or no request that ended well.
    """
    documents = _documents(text)
    for knows, read in _READERS:
        if documents and all(knows(document) for document in documents):
            found = read(documents)
            if not any(cell.samples for cell in found.cells):
                raise BenchFileError(f"a file of {found.tool} without a request that ended well")
            return found
    raise BenchFileError(
        "no result file that is known: vLLM `bench serve --save-result`, GuideLLM's JSON report, "
        "AIPerf's profile_export_aiperf.json or profile_export.jsonl, or `llama-bench -o json`"
    )


def _documents(text: str) -> list[dict[str, Any]]:
    """The objects of a JSON file, of a list in it, or of JSON lines."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError):
        try:
            whole = [json.loads(line) for line in text.splitlines() if line.strip()]
        except (ValueError, RecursionError):
            raise BenchFileError("no JSON and no JSON lines") from None
    items = whole if isinstance(whole, list) else [whole]
    if not all(isinstance(item, dict) for item in items):
        raise BenchFileError("JSON, but no objects with keys")
    return items


def _request(
    *, n_input: Any, n_output: Any, ttft_s: Any, rct_s: Any, itl_s: Sequence[float] = ()
) -> Sample | None:
    """One request by our definitions; None where its times or tokens are not known."""
    tokens, ttft, rct = _positive(n_output), _positive(ttft_s), _positive(rct_s)
    if tokens is None or rct is None:
        return None
    n = int(tokens)
    return Sample(
        n_input_tokens=None if _positive(n_input) is None else int(n_input),
        n_output_tokens=n,
        ttft_s=ttft,
        tpot_ms=None if ttft is None else definitions.tpot_ms(rct, ttft, n),
        rct_s=rct,
        tokens_per_s=n / rct,
        prefill_tokens=0,
        prefill_s=None,
        decode_tokens=0,
        decode_s=None,
        itl_ms=tuple(1e3 * gap for gap in itl_s),
    )


def _positive(value: Any) -> float | None:
    """A finite number above 0; anything else is no figure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < float("inf") else None


# -- vLLM -----------------------------------------------------------------------------------------

_MEDIANS = "Only medians over {n} requests are in the file: spread and percentiles are not known."


def _is_vllm(document: Mapping[str, Any]) -> bool:
    return "median_ttft_ms" in document and "completed" in document


def _read_vllm(documents: Sequence[Mapping[str, Any]]) -> BenchFile:
    found = BenchFile("vLLM bench serve")
    for document in documents:
        cell = BenchCell(str(document.get("model_id") or "model"))
        found.cells.append(cell)
        if "ttfts" in document and "itls" in document:
            cell.samples += filter(None, _vllm_requests(document))
            continue
        n = int(_positive(document.get("completed")) or 0)
        mean = (_positive(document.get("total_output_tokens")) or 0) / n if n else 0
        inputs = (_positive(document.get("total_input_tokens")) or 0) / n if n else 0
        ttft_s, tpot_s = (
            (_positive(document.get(f"median_{name}_ms")) or 0) / 1e3 for name in ("ttft", "tpot")
        )
        e2el_s = (_positive(document.get("median_e2el_ms")) or 0) / 1e3
        sample = _request(
            n_input=round(inputs),
            n_output=round(mean),
            ttft_s=ttft_s,
            rct_s=e2el_s or ttft_s + tpot_s * max(round(mean) - 1, 0),
        )
        cell.samples += [sample] if sample else []
        found.notes.append(f"{cell.model}: {_MEDIANS.format(n=n)}")
    found.notes.append("vLLM's TPOT leaves the first token out, as ours does.")
    return found


def _vllm_requests(document: Mapping[str, Any]) -> Iterator[Sample | None]:
    columns = [document.get(name) or () for name in ("ttfts", "itls", "input_lens", "output_lens")]
    for ttft, itls, n_input, n_output in zip(*columns, strict=False):
        gaps = [float(gap) for gap in itls if isinstance(gap, int | float)]
        yield _request(
            n_input=n_input, n_output=n_output, ttft_s=ttft, rct_s=ttft + sum(gaps), itl_s=gaps
        )


# -- GuideLLM -------------------------------------------------------------------------------------


def _is_guidellm(document: Mapping[str, Any]) -> bool:
    benchmarks = document.get("benchmarks")
    return isinstance(benchmarks, list) and all(
        isinstance(item, dict) and "requests" in item for item in benchmarks
    )


def _read_guidellm(documents: Sequence[Mapping[str, Any]]) -> BenchFile:
    found = BenchFile("GuideLLM")
    for document in documents:
        for index, benchmark in enumerate(document["benchmarks"], start=1):
            requests = benchmark["requests"]
            good = requests.get("successful") if isinstance(requests, dict) else None
            model = _guidellm_model(document, benchmark)
            cell = BenchCell(model if index == 1 else f"{model} #{index}")
            cell.samples += filter(None, map(_guidellm_request, good or ()))
            found.cells.append(cell)
    found.notes.append(
        "GuideLLM's time per output token counts the first token; TPOT here is (RCT - TTFT) / "
        "(output tokens - 1), computed from its times."
    )
    return found


def _guidellm_model(document: Mapping[str, Any], benchmark: Mapping[str, Any]) -> str:
    """Its place changed from version to version."""
    for holder in (benchmark, document):
        for path in (
            ("config", "spec", "backend", "model"), ("config", "backend", "model"),
            ("args", "model"), ("config", "model"), ("worker", "backend_model"),
        ):  # fmt: skip
            value: Any = holder
            for key in path:
                value = value.get(key) if isinstance(value, dict) else None
            if isinstance(value, str) and value:
                return value
    return "model"


def _guidellm_request(request: Any) -> Sample | None:
    if not isinstance(request, dict):
        return None
    ttft_ms = _positive(request.get("time_to_first_token_ms"))
    return _request(
        n_input=request.get("prompt_tokens"),
        n_output=request.get("output_tokens"),
        ttft_s=None if ttft_ms is None else ttft_ms / 1e3,
        rct_s=request.get("request_latency"),
    )


# -- AIPerf ---------------------------------------------------------------------------------------

_AIPERF_NOTE = "AIPerf's inter-token latency of a request is our TPOT: (RCT - TTFT) / (tokens - 1)."
_IN_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, "sec": 1.0}


def _is_aiperf(document: Mapping[str, Any]) -> bool:
    metrics = document.get("metrics", document)
    return isinstance(metrics, dict) and "request_latency" in metrics


def _read_aiperf(documents: Sequence[Mapping[str, Any]]) -> BenchFile:
    found = BenchFile("AIPerf", notes=[_AIPERF_NOTE])
    cells: dict[str, BenchCell] = {}
    for document in documents:
        model = _aiperf_model(document)
        cell = cells.setdefault(model, BenchCell(model))
        metrics, is_record = document.get("metrics", document), "metrics" in document
        key = "value" if is_record else "p50"
        sample = _request(
            n_input=_aiperf_value(metrics, "input_sequence_length", key),
            n_output=_aiperf_value(metrics, "output_sequence_length", key),
            ttft_s=_aiperf_value(metrics, "time_to_first_token", key),
            rct_s=_aiperf_value(metrics, "request_latency", key),
        )
        cell.samples += [sample] if sample else []
        if not is_record:
            n = _aiperf_value(metrics, "request_count", "avg")
            found.notes.append(f"{model}: {_MEDIANS.format(n=int(n) if n else 'all')}")
    found.cells = list(cells.values())
    return found


def _aiperf_value(metrics: Mapping[str, Any], name: str, key: str) -> float | None:
    """A value in seconds or tokens."""
    metric = metrics.get(name)
    if not isinstance(metric, dict):
        return None
    value = _positive(metric.get(key))
    return None if value is None else value * _IN_SECONDS.get(str(metric.get("unit")), 1.0)


def _aiperf_model(document: Mapping[str, Any]) -> str:
    config = document.get("input_config")
    endpoint = config.get("endpoint") if isinstance(config, dict) else None
    names = endpoint.get("model_names") if isinstance(endpoint, dict) else None
    return str(names[0]) if isinstance(names, list) and names else "model"


# -- llama-bench ----------------------------------------------------------------------------------


def _is_llama_bench(document: Mapping[str, Any]) -> bool:
    return {"n_prompt", "n_gen", "avg_ts"} <= document.keys()


def _read_llama_bench(documents: Sequence[Mapping[str, Any]]) -> BenchFile:
    found = BenchFile("llama-bench")
    for document in documents:
        n_prompt, n_gen = (int(_positive(document[key]) or 0) for key in ("n_prompt", "n_gen"))
        depth = int(_positive(document.get("n_depth")) or 0)
        workload = Workload(
            prompt_tokens=n_prompt or None,
            output_tokens=n_gen or None,
            context_depth=depth or None,
        )
        cell = BenchCell(_llama_model(document), workload)
        times = [_positive(t) for t in document.get("samples_ns") or [document.get("avg_ns")]]
        for nanoseconds in filter(None, times):
            cell.samples.append(_llama_sample(n_prompt, n_gen, nanoseconds / 1e9))
        found.cells.append(cell)
    found.notes.append(
        "llama-bench times prompt (pp) and generation (tg) apart, without tokenizing and sampling: "
        "its rates are the prefill and decode tokens/s here; TTFT, TPOT and RCT are not known."
    )
    if any(cell.workload.prompt_tokens and cell.workload.output_tokens for cell in found.cells):
        found.notes.append("A test of pp and tg together (-pg) gives its whole time as RCT.")
    return found


def _llama_model(document: Mapping[str, Any]) -> str:
    name = str(document.get("model_filename") or document.get("model_type") or "model")
    return name.rsplit("/", 1)[-1].removesuffix(".gguf")


def _llama_sample(n_prompt: int, n_gen: int, seconds: float) -> Sample:
    both = bool(n_prompt and n_gen)
    return Sample(
        n_input_tokens=n_prompt or None,
        n_output_tokens=n_gen,
        ttft_s=None,
        tpot_ms=None,
        rct_s=seconds if both else None,
        tokens_per_s=n_gen / seconds if both else None,
        prefill_tokens=n_prompt,
        prefill_s=seconds if n_prompt and not n_gen else None,
        decode_tokens=n_gen,
        decode_s=seconds if n_gen and not n_prompt else None,
    )


_Reader = tuple[
    Callable[[Mapping[str, Any]], bool], Callable[[Sequence[Mapping[str, Any]]], BenchFile]
]
_READERS: tuple[_Reader, ...] = (
    (_is_vllm, _read_vllm),
    (_is_guidellm, _read_guidellm),
    (_is_llama_bench, _read_llama_bench),
    (_is_aiperf, _read_aiperf),
)
