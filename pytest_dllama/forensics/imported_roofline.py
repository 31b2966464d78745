"""The memory roofline of a logged run: the log has the times, the user gives model and memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.backends.dllama.notes import is_pipeline, wire_of
from pytest_dllama.forensics.imported_run import (
    ImportLogError,
    ImportOptions,
    Session,
    is_on_one_machine,
)
from pytest_dllama.models import engine_facts
from pytest_dllama.record.cell import RooflineRecord, Sample
from pytest_dllama.record.hosts import MemoryRecord
from pytest_dllama.validity.roofline import Machine, mean_positions, roofline

_NOT_TOLD = "a log does not tell its memory bandwidth; give --memory-gb-per-s"


def imported_roofline(
    session: Session, samples: Sequence[Sample], options: ImportOptions
) -> RooflineRecord | None:
    """By the closed form of the model's file; None without it, or for a split unlike ours.

    No figure is disbelieved by it: the caches of those machines are not known.

    Raises:
        ImportLogError: a model file that cannot be read, or is of another model than the log's.
    """
    if options.model_file is None or is_pipeline(session.run):
        return None
    read = _read_bytes(session, samples, options.model_file)
    return roofline(read, _machines(session, options)).model_copy(update={"floor_ms": None})


def _read_bytes(session: Session, samples: Sequence[Sample], model_file: Path) -> tuple[int, ...]:
    wire = wire_of(session.run, session.nodes)
    buffers = wire.build.buffer_float_type if wire else "q80"
    try:
        config = engine_facts.file_config(model_file)
        _check_same_model(session, config, model_file)
        positions = mean_positions(samples)
        return engine_facts.token_bytes(config, session.nodes, buffers, "reduce", positions)
    except (engine_facts.EngineError, OSError) as error:
        raise ImportLogError(f"--model-file {model_file}: {error}") from error


def _check_same_model(session: Session, config: engine_facts.ModelConfig, model_file: Path) -> None:
    """The log's header and the file's must agree, as far as the log has one."""
    figures = {
        "Dim": config.dim,
        "HiddenDim": config.hidden_dim,
        "nLayers": config.n_layers,
        "VocabSize": config.vocab_size,
    }
    for key, in_file in figures.items():
        in_log = session.run.header.get(key)
        if in_log is not None and in_log != str(in_file):
            raise ImportLogError(
                f"--model-file {model_file}: {key} is {in_file}, in {session.log.name} it is "
                f"{in_log}; give the file that the logged run used"
            )


def _machines(session: Session, options: ImportOptions) -> list[Machine]:
    """One machine for all ranks where the log names no other, else one a rank."""
    rate = options.memory_bytes_per_s
    ranks = range(session.nodes)
    groups = [tuple(ranks)] if is_on_one_machine([session]) else [(rank,) for rank in ranks]
    return [
        Machine(
            group,
            threads=1,  # the given rate is the whole machine's, whatever reads it
            memory=MemoryRecord(
                hosts=tuple(f"rank {rank}" for rank in group),
                cores=1,
                cache_bytes=None,
                bytes_per_s={} if rate is None else {1: rate},
                why_not=_NOT_TOLD if rate is None else None,
            ),
        )
        for group in groups
    ]
