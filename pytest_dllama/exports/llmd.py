"""llm-d's benchmark report 0.2, one a cell, checked and written by its published library.

Their time per output token leaves the first token out, as ours does; what we do not measure (rates
of many requests, accelerators) is left out or says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from statistics import fmean, median, stdev
from typing import Any

from pytest_dllama import __version__
from pytest_dllama.exports.base import ExportError
from pytest_dllama.record.cell import CellRecord, Sample
from pytest_dllama.record.run import RunRecord


def llmd_reports(run: RunRecord) -> dict[str, str]:
    """YAML of each measured cell, by the cell's id.

    Raises:
        ExportError: their library is not installed.
    """
    try:
        from llmd_benchmark_report import load_benchmark_report
    except ImportError:
        raise ExportError(
            "benchmark reports of llm-d are written by llmd-benchmark-report, which is not "
            "installed; run: pip install 'pytest-dllama[exports]'"
        ) from None
    return {
        cell.id: load_benchmark_report(_report(run, cell)).get_yaml_str()
        for cell in run.cells
        if cell.samples
    }


def _report(run: RunRecord, cell: CellRecord) -> dict[str, Any]:
    return {
        "version": "0.2.1",
        "run": {
            "uid": _digest(run.created_utc, run.fingerprint or "", cell.id),
            "eid": _digest(run.created_utc, run.fingerprint or ""),
            "cid": run.fingerprint,
            "time": {"start": run.created_utc},
            "description": f"{cell.id}, verdict {cell.verdict.status if cell.verdict else '-'}",
        },
        "scenario": {"stack": [_engine(run, cell)], "load": _load(run, cell)},
        "results": {
            "request_performance": {"aggregate": _aggregate(cell.samples)},
            **_observability(cell),
        },
    }


def _observability(cell: CellRecord) -> dict[str, Any]:
    """Mean power of each request, all machines together; nothing where it is not known."""
    watts = [s.request_j / s.rct_s if s.request_j and s.rct_s else None for s in cell.samples]
    power = _statistics(watts, "Watts")
    if power is None:
        return {}
    component = {"component_label": cell.id, "aggregate": {"power_consumption": power}}
    return {"observability": {"components": [component]}}


def _engine(run: RunRecord, cell: CellRecord) -> dict[str, Any]:
    request, machine = run.request, run.environment
    hosts = [host.board or host.cpu_model or host.machine for host in run.hosts[: cell.nodes]]
    config = {
        "buffer_float_type": request.buffer_float_type,
        "sync_mode": request.sync_mode,
        "nthreads": request.nthreads,
        "options": dict(cell.workload.options),
    }
    return {
        "metadata": {"label": cell.id, "cfg_id": _digest(str(sorted(config.items())))},
        "standardized": {
            "kind": "inference_engine",
            "tool": request.engine,
            "tool_version": machine.pytest_dllama if request.engine == "embedded" else "-",
            "role": "replica",
            "replicas": 1,
            "model": {"name": cell.model},
            "accelerator": {  # there is none: the CPUs of the nodes
                "model": ", ".join(dict.fromkeys(hosts)) or machine.board or machine.cpu_model,
                "count": cell.nodes,
                "parallelism": {"tp": cell.nodes, "workers": cell.nodes},
            },
        },
        "native": {"config": config},
    }


def _load(run: RunRecord, cell: CellRecord) -> dict[str, Any]:
    inputs = [s.n_input_tokens for s in cell.samples if s.n_input_tokens is not None]
    return {
        "metadata": {"cfg_id": _digest(run.request.prompt, str(run.request.steps), cell.id)},
        "standardized": {
            "tool": "pytest-dllama",
            "tool_version": __version__,
            "source": "sampled",
            "input_seq_len": {"distribution": "fixed", "value": max(inputs, default=0)},
            "output_seq_len": {"distribution": "fixed", "value": cell.samples[0].n_output_tokens},
            "concurrency": 1,
        },
        "native": {"config": run.request.model_dump(mode="json")},
    }


def _aggregate(samples: Sequence[Sample]) -> dict[str, Any]:
    latency = {
        "time_to_first_token": _statistics([s.ttft_s for s in samples], "s"),
        "time_per_output_token": _statistics([s.tpot_ms for s in samples], "ms/token"),
        "inter_token_latency": _statistics([g for s in samples for g in s.itl_ms], "ms/token"),
        "request_latency": _statistics([s.rct_s for s in samples], "s"),
    }
    rate = _statistics([s.tokens_per_s for s in samples], "tokens/s")
    return {
        "requests": {
            "total": len(samples),
            "failures": 0,
            "input_length": _statistics([s.n_input_tokens for s in samples], "count"),
            "output_length": _statistics([s.n_output_tokens for s in samples], "count"),
        },
        "latency": {name: value for name, value in latency.items() if value},
        "throughput": {"output_token_rate": rate} if rate else None,
    }


def _statistics(values: Sequence[float | None], units: str) -> dict[str, Any] | None:
    """Mean, median and range; higher percentiles need more requests than a cell has."""
    known = [float(value) for value in values if value is not None]
    if not known:
        return None
    spread = {"stddev": stdev(known)} if len(known) > 1 else {}
    return {
        "units": units,
        "mean": fmean(known),
        "min": min(known),
        "p50": median(known),
        "max": max(known),
        **spread,
    }


def _digest(*words: str) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:32]
