"""A hand-written report -> a run file: its figures as they stand there, notes on what is wrong.

Figures are taken as printed, so that tables made from them are those of the report; nothing of its
prose is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.forensics.report_doubts import doubts
from pytest_dllama.forensics.report_text import (
    Phase,
    ReportedCell,
    ReportText,
    environment_names,
    read_report,
)
from pytest_dllama.hosts.controller import probe_environment
from pytest_dllama.metrics import catalog
from pytest_dllama.models.engine_facts import (
    EngineError,
    ModelConfig,
    shape_config,
    shape_record,
)
from pytest_dllama.record.cell import CellRecord, Estimate, OutputRecord, RankRecord, Sample
from pytest_dllama.record.network import NetworkRecord, OpStats
from pytest_dllama.record.notes import run_notes
from pytest_dllama.record.run import ModelRecord, Request, RunRecord
from pytest_dllama.verdict.judge import judge

_MIB = 2**20
_UNCHECKED = "output unchecked: a report holds no tokens"
_HIGH_VARIANCE = 2.0  # dllama's rule: P95 > 2 * P50
_NEEDED = ("n_output_tokens", "rct_s")
_SPEED = ("tokens_per_s", "tpot_ms", "ttft_s", "rct_s")


def import_report(path: Path) -> RunRecord:
    """Read a report of the form of `report_text`.

    Raises:
        ImportLogError: no text, or no cell in it.
        OSError: it cannot be read, is no regular file or larger than any report.
    """
    report = read_report(_text(path))
    if not report.cells:
        raise ImportLogError(
            f"{path}: no section of measured figures (a heading '... 모델 상세 결과' or '... "
            "detailed results' with one 'N대 워커 구성' or 'N workers' a node count below it) and "
            "no table with node counts and speeds; logs of dllama are read by import-log"
        )
    configs = {cell.model: _config(cell.model) for cell in report.cells}
    computed = {id(cell): _complete(cell) for cell in report.cells}
    cells = [_cell(cell) for cell in report.cells]
    notes = {record.id: [*computed[id(cell)], *doubts(cell, report, configs[cell.model])]
             for record, cell in zip(cells, report.cells, strict=True)}  # fmt: skip
    return RunRecord(
        created_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        environment=probe_environment(),
        request=_request(report),
        models=tuple(_models(report, configs)),
        cells=tuple(cells),
        definitions=catalog.all_definitions(),
        notes=(
            f"Imported from the report {path.name}, its figures as printed there; the machine "
            "above is the one that read it.",
            *run_notes(notes),
        ),
    )


def _text(path: Path) -> str:
    try:
        return read_text(path, SETTINGS_BYTES).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise ImportLogError(f"{path}: no UTF-8 text; save the report as UTF-8") from None


def _config(model: str) -> ModelConfig | None:
    """The published shape of that name, if there is one."""
    try:
        return shape_config(model.lower())
    except EngineError:
        return None


# -- cells ----------------------------------------------------------------------------------------


def _cell(cell: ReportedCell) -> CellRecord:
    missing = [name for name in _NEEDED if name not in cell.figures]
    if missing:
        error = f"the report lacks {', '.join(missing)} of this cell"
        return CellRecord(
            model=cell.model,
            nodes=cell.nodes,
            status="failed",
            error=error,
            verdict=judge(error=error),
        )
    output = OutputRecord(text="", token_ids=(), status="unchecked", note=_UNCHECKED)
    return CellRecord(
        model=cell.model,
        nodes=cell.nodes,
        status="ok",
        samples=(_sample(cell),),
        metrics={name: _once(value) for name, value in _metrics(cell).items()},
        ranks=tuple(_ranks(cell)),
        network=_network(cell),
        output=output,
        verdict=judge(output=output),
    )


def _complete(cell: ReportedCell) -> list[str]:
    """Compute what a summary leaves out and the rest determines; notes that say so."""
    figures = cell.figures
    for name in _SPEED:
        if figures.get(name, 1.0) <= 0:  # no figure
            del figures[name]
    known = {name: figures.get(name, 0.0) for name in ("ttft_s", "tpot_ms", "rct_s")}
    if "n_output_tokens" not in figures and all(value > 0 for value in known.values()):
        gaps = (known["rct_s"] - known["ttft_s"]) * 1e3 / known["tpot_ms"]
        figures["n_output_tokens"] = float(round(gaps) + 1)
    elif "n_output_tokens" not in figures and known["rct_s"] > 0 and "tokens_per_s" in figures:
        figures["n_output_tokens"] = float(round(figures["tokens_per_s"] * known["rct_s"]))
    else:
        return []
    if figures["n_output_tokens"] < 1:
        del figures["n_output_tokens"]
        return []
    return [f"Its {figures['n_output_tokens']:.0f} output tokens are computed from its times."]


def _sample(cell: ReportedCell) -> Sample:
    figures = cell.figures
    prefill, decode = cell.evaluation or Phase(), cell.prediction or Phase()
    n_input = figures.get("n_input_tokens")
    return Sample(
        n_input_tokens=None if n_input is None else int(n_input),
        n_output_tokens=int(figures["n_output_tokens"]),
        ttft_s=figures.get("ttft_s"),
        tpot_ms=figures.get("tpot_ms"),
        rct_s=figures["rct_s"],
        tokens_per_s=figures.get("tokens_per_s"),
        prefill_tokens=prefill.n_tokens or 0,
        prefill_s=_seconds(prefill),
        decode_tokens=decode.n_tokens or 0,
        decode_s=_seconds(decode),
    )


def _seconds(phase: Phase) -> float | None:
    if not phase.n_tokens or not phase.ms_per_token:
        return None
    return phase.n_tokens * phase.ms_per_token / 1e3


def _metrics(cell: ReportedCell) -> dict[str, float]:
    rates = {
        "prefill_tokens_per_s": cell.evaluation and cell.evaluation.tokens_per_s,
        "decode_tokens_per_s": cell.prediction and cell.prediction.tokens_per_s,
        "root_peak_rss_bytes": cell.root_bytes,
        "worker_peak_rss_bytes": cell.worker_bytes,
    }
    named = {name: value for name, value in cell.figures.items() if name in catalog.METRICS}
    return named | {name: float(value) for name, value in rates.items() if value}


def _once(value: float) -> Estimate:
    return Estimate(value=value, minimum=value, maximum=value, n=1)


def _ranks(cell: ReportedCell) -> Iterator[RankRecord]:
    sizes = (("root", cell.root_bytes), ("worker", cell.worker_bytes))
    for rank, (role, size) in enumerate(sizes):
        if size is not None:
            yield RankRecord.model_validate(
                {
                    "rank": rank,
                    "role": role,
                    "address": "-",
                    "hostname": "-",
                    "peak_rss_bytes": size,
                    "peak_pss_bytes": None,
                    "weight_bytes": None,
                    "kv_cache_bytes": None,
                    "compute_s": None,
                    "sync_s": None,
                }
            )


def _network(cell: ReportedCell) -> NetworkRecord | None:
    figures = cell.figures
    if "operations" not in figures or "total_mb" not in figures:
        return None
    p50, p95, p99 = cell.percentiles_ms or (None, None, None)
    varies = p50 is not None and p95 is not None and p95 > _HIGH_VARIANCE * p50
    socket = figures.get("slowest_socket")
    slowest = None if socket is None else int(socket) + 1  # the root's socket 0 leads to rank 1
    return NetworkRecord(
        operations=int(figures["operations"]),
        total_bytes=round(figures["total_mb"] * _MIB),
        payload_bytes=None,
        framing_bytes=None,
        expected_payload_bytes=None,
        bytes_per_token=None,
        sync_share=None,
        avg_ms=figures.get("avg_ms"),
        max_ms=figures.get("max_ms"),
        min_ms=figures.get("min_ms"),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        bandwidth_mbps=figures.get("bandwidth_mbps"),
        slowest_peer=slowest,
        high_variance_peers=(slowest,) if varies and slowest is not None else (),
        ops=tuple(
            OpStats(
                op=item.name,
                operations=item.operations,
                bytes=round(item.mb * _MIB),
                avg_ms=item.avg_ms,
                p50_ms=None,
                p95_ms=None,
                p99_ms=None,
                max_ms=None,
            )
            for item in cell.operations
        ),
    )


# -- the run --------------------------------------------------------------------------------------


def _request(report: ReportText) -> Request:
    told = report.environment
    batches = {cell.n_batches for cell in report.cells if cell.n_batches}
    return Request(
        prompt=told.get("prompt", "-").strip("\"'“”"),
        steps=_whole(told.get("steps")),
        repeats=1,
        warmup=0,
        nthreads=_whole(told.get("nthreads")),
        buffer_float_type=told.get("buffer_float_type", "-").strip("`"),
        sync_mode="reduce",
        temperature=None,
        seed=None,
        node_counts=tuple(sorted({cell.nodes for cell in report.cells})),
        engine="dllama (reported)",
        host_kind="log",
        n_batches=batches.pop() if len(batches) == 1 else None,
    )


def _whole(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _models(report: ReportText, configs: dict[str, ModelConfig | None]) -> Iterator[ModelRecord]:
    """Models of published shapes; the report itself tells nothing but file names."""
    files = environment_names(report.environment, "models")
    tokenizers = environment_names(report.environment, "tokenizers")
    for index, (name, config) in enumerate(configs.items()):
        if config is None:
            continue
        file = next((file for file in files if name.lower() in file.lower()), "-")
        paired = len(tokenizers) == len(configs)
        tokenizer = tokenizers[index] if paired else "-"
        weight_type = "q40" if "q40" in file else "-"
        yield shape_record(name, config, file, tokenizer, weight_type=weight_type)
