"""Small run records for the report's tests, built by figures alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_dllama.record.cell import CellRecord, Estimate, OutputRecord, OutputStatus, Verdict
from pytest_dllama.record.network import NetworkRecord
from pytest_dllama.record.run import Environment, ModelRecord, Request, RunRecord
from pytest_dllama.record.verdict import (
    AttributedPart,
    Attribution,
    CellVerdict,
    MetricVerdict,
    PairStatus,
    VerdictFile,
    worst,
)
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.sentences.base import Sentence

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
    none = dict.fromkeys(("links", "ops", "times", "tcp", "nics"), ())
    return NetworkRecord(**{**values, **none, **fields})


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


def metric_verdict(metric: str = "tpot_ms", percent: float = 0.4, **fields: Any) -> MetricVerdict:
    """A metric judged from five pairs: REGRESSED beyond the tolerance, else PASS."""
    change = percent / 100
    values: dict[str, Any] = {
        "metric": metric,
        "status": "REGRESSED" if change > 0.05 else "PASS",
        "tolerance": 0.05,
        "base": 5.0,
        "new": 5.0 * (1 + change),
        "change": change,
        "lower": change - 0.013,
        "upper": change + 0.013,
        "pairs": 5,
        "pair_sd": 0.02,
        "detectable_change": 0.06,
        "pairs_to_decide": 7,
        "is_provisional": False,
        "p_worse": 0.01,
    }
    return MetricVerdict(**{**values, **fields})


def waiting_for(rank: int) -> Attribution:
    """Nearly all of a change is waiting for a rank whose feed-forward became slower."""
    return Attribution(
        metric="tpot_ms",
        parts=(
            AttributedPart(
                phase="decode", part="exchange-wait", rank=0, waited_for=rank, effect_ms=0.36,
                share=0.91,
            ),
            AttributedPart(
                phase="decode", part="feed-forward", rank=rank, effect_ms=0.3, share=0.8,
                change=0.31,
            ),
        ),
    )  # fmt: skip


def verdict(record: RunRecord, *regressed: str, **fields: Any) -> VerdictFile:
    """Every cell of the run judged by TPOT; those named are 8.3 % slower, waiting for rank 3."""
    cells = []
    for item in record.cells:
        slow = item.id in regressed
        one = metric_verdict(
            percent=8.3 if slow else 0.4, attribution=waiting_for(3) if slow else None
        )
        status: PairStatus = one.status
        cells.append(
            CellVerdict(model=item.model, nodes=item.nodes, workload=item.workload, status=status,
                        metrics=(one,))
        )  # fmt: skip
    values: dict[str, Any] = {
        "created_utc": record.created_utc,
        "wall_s": 60.0,
        "baseline": "git:main",
        "base_label": "main (a1b2c3d)",
        "new_label": "working tree",
        "fingerprint": record.fingerprint or "-",
        "seed": 1,
        "looks": (3, 5),
        "level": 0.02,
        "prompt": "Hello",
        "steps": 16,
        "prior_groups": 30,
        "status": worst([cell.status for cell in cells]),
        "holm_p": {},
        "cells": tuple(cells),
    }
    return VerdictFile(**{**values, **fields})


def view_of(*cells: CellRecord, node_counts: tuple[int, ...] = ()) -> RunView:
    """What the report sees of a run of these cells."""
    return RunView.of(run(cells, node_counts))


def kinds(said: Sequence[Sentence]) -> list[type[Sentence]]:
    """Which statements are made, in their order."""
    return [type(sentence) for sentence in said]


def only(said: Sequence[Sentence], kind: type[Sentence]) -> list[Sentence]:
    """The statements of one kind."""
    return [sentence for sentence in said if isinstance(sentence, kind)]
