"""A hand-written report -> a run file: its figures as they stand there, notes on what is wrong.

Figures are taken as printed, so that tables made from them are those of the report; nothing of its
prose is taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.backends.dllama.traffic import (
    Build,
    Collective,
    Shape,
    find_threads,
    pass_traffic,
)
from pytest_dllama.files.user_files import SETTINGS_BYTES, read_text
from pytest_dllama.forensics.imported_run import ImportLogError
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
    token_bytes,
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


def import_report(path: Path) -> RunRecord:
    """Read a report of the form of `report_text`.

    Raises:
        ImportLogError: no text, or no cell in it.
        OSError: it cannot be read, is no regular file or larger than any report.
    """
    report = read_report(_text(path))
    if not report.cells:
        raise ImportLogError(
            f"{path}: no section of measured figures (a heading '... 모델 상세 결과' with one "
            "'N대 워커 구성' a node count below it); logs of dllama are read by import-log"
        )
    configs = {cell.model: _config(cell.model) for cell in report.cells}
    cells = [_cell(cell) for cell in report.cells]
    notes = {record.id: list(_notes(cell, report, configs[cell.model]))
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


# -- what is wrong with the figures ---------------------------------------------------------------


def _notes(cell: ReportedCell, report: ReportText, config: ModelConfig | None) -> Iterator[str]:
    if cell.percentiles_ms is not None:
        yield (
            "The percentiles are of the first 50 operations only (cold start and prefill): too few "
            "for P95 and P99. The operation analysis covers the first 500."
        )
    if "bandwidth_mbps" in cell.figures:
        yield "The bandwidth is that of the last operation alone, in MiB/s times 8."
    if "total_mb" in cell.figures:
        yield (
            "The network monitor's operations and MB (of 2^20) are not what crossed a wire: it "
            "counts each sync once a thread, each prefill row as its whole batch and the whole "
            "buffer whatever moved, all on socket 0, which names no slow worker."
        )
        yield from _wire_note(cell, report, config)
    if config is not None:
        yield from _plan_notes(cell, config)
    listed = report.workers.get((cell.model, cell.nodes))
    if listed is not None and listed != cell.nodes - 1:
        yield (
            f"Its command line names {_workers(listed)}, {cell.nodes} nodes with the root have "
            f"{cell.nodes - 1}: the node count or the command is not that of the run."
        )
    yield from _contradictions(cell)


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"


def _plan_notes(cell: ReportedCell, config: ModelConfig) -> Iterator[str]:
    """Heads that cannot be shared out, and less memory than the weights take."""
    if config.n_heads % cell.nodes or config.n_kv_heads % cell.nodes:
        yield (
            f"{config.n_heads} heads do not divide by {cell.nodes} nodes, which dllama wants: "
            "these figures cannot come from an unmodified build; taken as reported, not as proven."
        )
    weights = token_bytes(config, cell.nodes, "q80", "reduce", 0)
    for role, size, least in (
        ("root", cell.root_bytes, weights[0]),
        ("worker", cell.worker_bytes, min(weights[1:], default=0)),
    ):
        if size is not None and size < least:
            yield (
                f"{size / 1e9:.1f} GB are told of the {role}, whose share of the weights alone is "
                f"{least / 1e9:.1f} GB: it was read before they were loaded, or they were swapped."
            )


def _wire_note(cell: ReportedCell, report: ReportText, config: ModelConfig | None) -> Iterator[str]:
    """The monitor's figures against its closed form, and what crossed the root's links."""
    rows = _rows(cell)
    if config is None or not rows or "operations" not in cell.figures:
        return
    shape = Shape(config.dim, config.n_layers, config.vocab_size)
    buffers = report.environment.get("buffer_float_type", "q80").strip("`")
    build = Build(Collective.STAR_SLICES, buffers)
    operations, total_mb = int(cell.figures["operations"]), cell.figures["total_mb"]
    threads = find_threads(shape, cell.nodes, build, rows, operations, total_mb)
    if threads is None:
        yield f"No closed form of a known build gives {operations} operations and {total_mb} MB."
        return
    moved = sum(pass_traffic(shape, cell.nodes, build, n).bytes for n in rows)
    yield (
        f"{moved / _MIB:,.1f} MiB crossed the root's links, not {total_mb:,.2f} MB: the monitor's "
        f"closed form with {threads} threads gives its figures to the last digit, and this build "
        "gathers slices and sends the whole buffer back, (n-1)(n+1) = "
        f"{(cell.nodes - 1) * (cell.nodes + 1)} vectors a sync."
    )


def _rows(cell: ReportedCell) -> Sequence[int]:
    """Rows of each forward pass: the prompt is one batch if it fits."""
    prefill = cell.evaluation.n_tokens if cell.evaluation else None
    decode = cell.prediction.n_tokens if cell.prediction else None
    if not prefill or not decode or prefill > (cell.n_batches or prefill):
        return ()
    return [prefill, *[1] * decode]


def _contradictions(cell: ReportedCell) -> Iterator[str]:
    """Figures of one cell that cannot all be true."""
    figures = cell.figures
    if {"tpot_ms", "ttft_s", "rct_s", "n_output_tokens"} <= figures.keys():
        gaps = figures["n_output_tokens"] - 1
        if gaps > 0:
            computed = (figures["rct_s"] - figures["ttft_s"]) / gaps * 1e3
            if abs(computed / figures["tpot_ms"] - 1) > 0.005:
                yield (
                    f"TPOT is printed as {figures['tpot_ms']:g} ms, (RCT - TTFT) / (tokens - 1) is "
                    f"{computed:.2f} ms: one of them is wrong."
                )
    if {"tokens_per_s", "rct_s", "n_output_tokens"} <= figures.keys() and figures["rct_s"] > 0:
        rate = figures["n_output_tokens"] / figures["rct_s"]
        if abs(rate - figures["tokens_per_s"]) > 0.0051:
            yield (
                f"Tokens/s are printed as {figures['tokens_per_s']:g}, output tokens / RCT are "
                f"{rate:.3f}: one of them is wrong."
            )
