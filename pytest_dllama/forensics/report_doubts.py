"""What is wrong with the figures of a hand-written report: a sentence each, with the figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dllama.backends.dllama.printed.traffic import (
    Build,
    Collective,
    Shape,
    find_threads,
    pass_traffic,
)
from pytest_dllama.forensics.report_text import ReportedCell, ReportText
from pytest_dllama.models.engine_facts import ModelConfig, token_bytes

_MIB = 2**20
_SPEED = ("tokens_per_s", "tpot_ms", "ttft_s", "rct_s")
_ROUNDING = 0.02  # more than two printed digits lose


def doubts(cell: ReportedCell, report: ReportText, config: ModelConfig | None) -> Iterator[str]:
    """What is wrong with the figures of a cell, or with what they are said to be.

    Args:
        cell: as written.
        report: the whole, for what it says of commands and buffers.
        config: the published shape of its model, if there is one.
    """
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
    for name, value in cell.summary.items():
        own = figures.get(name, value)
        if name in _SPEED and abs(own - value) > _ROUNDING * max(abs(own), abs(value)):
            yield f"{name} is {own:g} in its section and {value:g} in the summary table."
    if {"tpot_ms", "ttft_s", "rct_s", "n_output_tokens"} <= figures.keys():
        gaps = figures["n_output_tokens"] - 1
        if gaps > 0 and figures["tpot_ms"] > 0:
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
