"""llama.cpp's `llama-bench`: what it timed, whichever of its outputs it stands in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_dllama.forensics.bench.base import BenchCell, BenchFile, Document, positive
from pytest_dllama.record.cell import Sample, Workload

# What no test is told apart by: its result, when and on which machine it ran, the model's figures.
_NO_SETTING = {
    *("n_prompt", "n_gen", "n_depth", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts"),
    *("samples_ns", "samples_ts", "test_time", "build_number", "cpu_info", "gpu_info"),
    *("model_filename", "model_type", "model_size", "model_n_params"),
}
_SHORT = {
    "build_commit": "build", "n_threads": "threads", "n_batch": "batch", "n_ubatch": "ubatch",
    "n_gpu_layers": "ngl", "flash_attn": "fa", "type_k": "ctk", "type_v": "ctv",
}  # fmt: skip
_NOTE = (
    "llama-bench times prompt (pp) and generation (tg) apart, without tokenizing and sampling: "
    "its rates are the prefill and decode tokens/s here; TTFT, TPOT and RCT are not known."
)


def knows(documents: Sequence[Document]) -> bool:
    """Whether all are tests of llama-bench."""
    return all({"n_prompt", "n_gen"} <= one.keys() and _times(one) for one in documents)


def read(documents: Sequence[Document]) -> BenchFile:
    """A cell a test."""
    found = BenchFile("llama-bench")
    for document in documents:
        n_prompt, n_gen, depth = (_whole(document, key) for key in ("n_prompt", "n_gen", "n_depth"))
        workload = Workload(
            prompt_tokens=n_prompt or None,
            output_tokens=n_gen or None,
            context_depth=depth or None,
        )
        cell = BenchCell(_model(document), workload, settings=_settings(document))
        cell.samples += [_sample(n_prompt, n_gen, ns / 1e9) for ns in _times(document)]
        found.cells.append(cell)
    found.notes.append(_NOTE)
    if any(cell.workload.prompt_tokens and cell.workload.output_tokens for cell in found.cells):
        found.notes.append("A test of pp and tg together (-pg) gives its whole time as RCT.")
    if not any("samples_ns" in one for one in documents):
        found.notes.append(
            "This output of llama-bench has means only: spread is not known (-o json has it)."
        )
    return found


def _times(document: Document) -> list[float]:
    """Nanoseconds of each repeat, else of their mean."""
    samples = document.get("samples_ns")
    known = samples if isinstance(samples, list) and samples else [document.get("avg_ns")]
    if times := [ns for value in known if (ns := positive(value)) is not None]:
        return times
    rate = positive(document.get("avg_ts"))
    tokens = _whole(document, "n_prompt") + _whole(document, "n_gen")
    return [tokens / rate * 1e9] if rate and tokens else []


def _whole(document: Document, key: str) -> int:
    return int(positive(document.get(key)) or 0)


def _settings(document: Document) -> dict[str, str]:
    return {
        _SHORT.get(name, name): _shown(value)
        for name, value in document.items()
        if name not in _NO_SETTING and not isinstance(value, list | dict)
    }


def _shown(value: Any) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _model(document: Document) -> str:
    name = str(document.get("model_filename") or document.get("model_type") or "model")
    return name.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".gguf")


def _sample(n_prompt: int, n_gen: int, seconds: float) -> Sample:
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
