"""Puts together the records of a run file from what a session measured; starts nothing."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.emulation.topology import Topology
from pytest_dllama.hosts.links.accuracy import cell_links
from pytest_dllama.lab.builds.commits import revision_at
from pytest_dllama.lab.builds.revisions import own_checkout
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.machines.roofline_probe import read_bytes
from pytest_dllama.lab.requests.asked import engine_request
from pytest_dllama.lab.requests.cluster import Cluster, Worker
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.metrics.boards import computing
from pytest_dllama.models.model_files import ModelUnderTest
from pytest_dllama.record.cell import CellRecord, Commands, Sample
from pytest_dllama.record.emulation import CellLinks, EmulationRecord, RankCompute
from pytest_dllama.record.run import Request, Revision


def commands_of(runs: Sequence[RequestRun], workers: Sequence[Worker]) -> Commands:
    """What runs the cell by hand."""
    return Commands(root=runs[-1].command, workers=tuple(worker.command for worker in workers))


def logs_of(runs: Sequence[RequestRun], workers: Sequence[Worker], folder: Path) -> tuple[str, ...]:
    """The files that roots and workers wrote, as the run file in `folder` names them."""
    logs = [file for run in runs for file in run.log_files]
    logs += [file for worker in workers for file in worker.process.log_files]
    return relative(logs, folder)


def relative(files: Sequence[Path], folder: Path) -> tuple[str, ...]:
    """Names of files seen from the run file's folder."""
    return tuple(file.relative_to(folder).as_posix() for file in files)


def request_record(
    config: LabConfig, engine: str, host_kind: Literal["local", "ssh"], n_batches: int | None
) -> Request:
    """What every cell was asked to do; `n_batches` is the engine's own choice."""
    return Request(
        prompt="" if config.prompt_tokens else config.prompt,
        steps=None if config.output_tokens else config.steps,
        repeats=config.repeats,
        warmup=config.warmup,
        nthreads=config.nthreads,
        buffer_float_type=config.buffer_float_type,
        sync_mode=config.sync_mode,
        temperature=config.temperature,
        seed=config.seed,
        node_counts=config.node_counts,
        engine=engine,
        host_kind=host_kind,
        n_batches=n_batches,
        max_seq_len=config.max_seq_len or None,
        kv_type=config.kv_type,
        collective=config.collective if config.engine == "embedded" else None,
        overlap=config.overlap if config.engine == "embedded" else None,
        inject=config.inject,
    )


def computing_of(
    config: LabConfig, model: ModelUnderTest, key: CellKey, samples: Sequence[Sample]
) -> tuple[RankCompute, ...]:
    """How well the boards of a cell were emulated; nothing where none were."""
    if not config.memory_bps or not samples:
        return ()
    request = engine_request(config, model, key.workload)
    return computing(read_bytes(model, key.nodes, request, samples), config.memory_bps, samples)


def links_of(topology: Topology | None, nodes: int, runs: Sequence[RequestRun]) -> CellLinks | None:
    """How well the emulated links of a cell were kept; None where they are real."""
    samples = [run.links for run in runs if run.links is not None]
    return cell_links(topology, nodes, samples) if topology and samples else None


def emulation_record(topology: Topology | None, cluster: Cluster | None) -> EmulationRecord | None:
    """The network that this machine's processes were put on; None where there is none."""
    if topology is None:
        return None
    network, board = cluster.network if cluster else None, topology.board
    return EmulationRecord(
        text=topology.text,
        network=topology.in_words,
        seed=topology.seed,
        lead_us=network.lead_us if network else None,
        priority=network.priority if network else None,
        nodes_per_core=topology.link.nodes_per_core,
        board=board.name if board else None,
        memory_bps=board.memory_bps if board else None,
        board_source=board.source if board else None,
    )


def revision_under_test(config: LabConfig) -> Revision | None:
    """The commit of the engine: of our own checkout, or of the one that a built dllama lies in."""
    if config.engine == "embedded":
        checkout = own_checkout()
        return revision_at(checkout) if checkout is not None else None
    program = shutil.which(config.dllama_bin) if config.dllama_bin else None
    return revision_at(Path(program).resolve().parent) if program else None


def engine_label(config: LabConfig) -> str:
    """The engine under test, for people: a binary, or this one at its commit."""
    if config.dllama_bin:
        return config.dllama_bin
    revision = revision_under_test(config)
    if revision is None:
        return f"this {config.engine} engine"
    changes = ", with uncommitted changes" if revision.is_dirty else ""
    return f"this {config.engine} engine ({revision.commit[:10]}{changes})"


def in_one_line(record: CellRecord) -> str:
    """A finished cell, for the progress lines."""
    key = CellKey(record.model, record.nodes, record.workload)
    if record.status == "skipped":
        return f"{key}: skipped: {record.error}"
    if record.error is not None:
        return f"{key}: failed: {record.error}"
    figures = record.metrics
    speed = f"{figures['tokens_per_s'].value:.2f}" if "tokens_per_s" in figures else "-"
    ttft = f"{figures['ttft_s'].value:.3f} s" if "ttft_s" in figures else "-"
    return f"{key}: {speed} tokens/s, TTFT {ttft}"
