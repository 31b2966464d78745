"""Small run records for the report's tests, built by figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_dllama.record.cell import CellRecord, Estimate, OutputRecord, OutputStatus, Verdict
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.record.run import Environment, ModelRecord, Request, RunRecord

ENVIRONMENT = Environment(
    hostname="box",
    os="Linux",
    machine="x86_64",
    cpu_model="CPU",
    cpu_count=64,
    memory_bytes=1 << 30,
    python="3.11",
    numpy="2.0",
    numba="0.60",
    pytest_dllama="0.1.0",
)


def estimate(*values: float) -> Estimate:
    """The middle of the values, which are repeats."""
    ranked = sorted(values)
    return Estimate(
        value=ranked[len(ranked) // 2], minimum=ranked[0], maximum=ranked[-1], n=len(ranked)
    )


def cell(
    model: str,
    nodes: int,
    tokens_per_s: Sequence[float] = (),
    *,
    output: OutputStatus = "identical",
    **fields: Any,
) -> CellRecord:
    """A measured cell with these repeats of tokens/s."""
    metrics = {"tokens_per_s": estimate(*tokens_per_s)} if tokens_per_s else {}
    values: dict[str, Any] = {
        "model": model,
        "nodes": nodes,
        "status": "ok",
        "metrics": {**metrics, **fields.pop("metrics", {})},
        "output": OutputRecord(text="a text", token_ids=(1, 2), status=output),
        "verdict": Verdict(status="PASS"),
    }
    return CellRecord(**{**values, **fields})


def network(**fields: Any) -> NetworkRecord:
    """A network record in which only the given figures are known."""
    values: dict[str, Any] = {name: None for name in NetworkRecord.model_fields}
    values |= {"operations": 1000, "total_bytes": 0, "high_variance_peers": ()}
    return NetworkRecord(**{**values, "links": (), "ops": (), **fields})


def run(cells: Sequence[CellRecord], node_counts: Sequence[int] = (), **request: Any) -> RunRecord:
    """A run of these cells; models in order of appearance."""
    names = list(dict.fromkeys(item.model for item in cells))
    counts = tuple(node_counts) or tuple(dict.fromkeys(item.nodes for item in cells))
    wanted: Mapping[str, Any] = {
        "prompt": "Hello",
        "steps": 16,
        "repeats": 3,
        "warmup": 1,
        "nthreads": 1,
        "buffer_float_type": "q80",
        "sync_mode": "reduce",
        "temperature": 0.0,
        "seed": 1,
        "node_counts": counts,
        "engine": "embedded",
        "host_kind": "local",
        **request,
    }
    return RunRecord(
        created_utc="2025-01-02T03:04:05+00:00",
        environment=ENVIRONMENT,
        request=Request(**wanted),
        models=tuple(model(name) for name in names),
        cells=tuple(cells),
        definitions={},
    )


def model(name: str) -> ModelRecord:
    """A model of that name."""
    return ModelRecord(
        name=name,
        model_file=f"{name}.m",
        tokenizer_file=f"{name}.t",
        size_bytes=1 << 20,
        arch="llama",
        dim=64,
        hidden_dim=128,
        n_layers=2,
        n_heads=4,
        n_kv_heads=4,
        vocab_size=128,
        seq_len=64,
        weight_type="q40",
    )
