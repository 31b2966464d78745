"""What an imported run says beside its cells: request, models and notes, as far as logs tell."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.backends.dllama.notes import wire_of
from pytest_dllama.backends.dllama.printed.run import LoggedRun
from pytest_dllama.errors import ToldError
from pytest_dllama.record.notes import run_notes
from pytest_dllama.record.run import ModelRecord, Request
from pytest_dllama.verdict.limits.thresholds import Thresholds

DEFAULT_MODEL_NAME = "model"
HEADER_KEYS = {  # of a model's record -> as the log has them
    "dim": "Dim",
    "hidden_dim": "HiddenDim",
    "n_layers": "nLayers",
    "n_heads": "nHeads",
    "n_kv_heads": "nKvHeads",
    "vocab_size": "VocabSize",
    "seq_len": "SeqLen",
}


class ImportLogError(ToldError, ValueError):
    """Logs that give no run; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the logs do not tell and the user may add."""

    nodes: int | None = None
    model_name: str = ""
    nthreads: int | None = None
    thresholds: Thresholds = field(default_factory=Thresholds)  # to judge the cells by
    model_file: Path | None = None  # for the memory roofline: what a token must read
    memory_bytes_per_s: float | None = None  # of each machine, as measured there


@dataclass(frozen=True, slots=True)
class Session:
    """A root's run with the workers' sessions that belong to it."""

    run: LoggedRun
    log: Path
    nodes: int
    model: str
    workers: tuple[LoggedRun, ...] = ()


def model_name(run: LoggedRun, options: ImportOptions) -> str:
    """The given name, else one made of the model's figures: a log has no file name."""
    if options.model_name:
        return options.model_name
    header = _header(run)
    figures = [header.get("dim", ""), header.get("nlayers", "")]
    if not all(re.fullmatch(r"[0-9]{1,9}", figure) for figure in figures):
        return DEFAULT_MODEL_NAME
    arch = header.get("arch", DEFAULT_MODEL_NAME).lower().replace(" ", "-")
    return f"{arch}-dim{figures[0]}-layers{figures[1]}"


def _header(run: LoggedRun) -> dict[str, str]:
    """By keys in small letters: before v0.12 they were written otherwise."""
    return {key.casefold(): value for key, value in run.header.items()}


def cell_groups(sessions: Sequence[Session]) -> list[list[Session]]:
    """Sessions by model and node count, in the order of their first run."""
    groups: dict[tuple[str, int], list[Session]] = {}
    for session in sessions:
        groups.setdefault((session.model, session.nodes), []).append(session)
    return list(groups.values())


def request_of(sessions: Sequence[Session], options: ImportOptions) -> Request:
    """What the runs were asked for, as far as their text tells."""
    wires = [wire_of(session.run, session.nodes) for session in sessions]
    types = {wire.build.buffer_float_type for wire in wires if wire}
    threads = {wire.n_threads for wire in wires if wire and wire.n_threads}
    repeats = max(len(group) for group in cell_groups(sessions))
    prompts = dict.fromkeys(session.run.prompt for session in sessions if session.run.prompt)
    steps = {sum(session.run.rows) for session in sessions if session.run.decode}
    n_batches = {session.run.n_batches for session in sessions if session.run.n_batches}
    return Request(
        prompt=" | ".join(prompts) or "-",
        steps=max(steps, default=None),
        repeats=repeats,
        warmup=0,
        nthreads=options.nthreads or (threads.pop() if len(threads) == 1 else None),
        buffer_float_type="/".join(sorted(types)) or "-",
        sync_mode="reduce",
        temperature=None,
        seed=None,
        node_counts=tuple(sorted({session.nodes for session in sessions})),
        engine="/".join(sorted({f"dllama ({session.run.variant})" for session in sessions})),
        host_kind="local" if is_on_one_machine(sessions) else "log",
        n_batches=n_batches.pop() if len(n_batches) == 1 else None,
    )


def is_on_one_machine(sessions: Sequence[Session]) -> bool:
    """Whether the root dialled nobody but its own machine; unknown counts as no."""
    addresses = [a for session in sessions for a in session.run.peer_addresses.values()]
    return bool(addresses) and all(a.startswith(("127.", "localhost")) for a in addresses)


def models_of(sessions: Sequence[Session]) -> tuple[ModelRecord, ...]:
    """Models whose header the log has; file, size and weight type are in no log."""
    records: dict[str, ModelRecord] = {}
    for session in sessions:
        record = model_of(session.run, session.model)
        if record is not None:
            records.setdefault(session.model, record)
    return tuple(records.values())


def model_of(run: LoggedRun, name: str) -> ModelRecord | None:
    """What the header says of the model; None for a header that is not whole."""
    header = _header(run)
    figures = {field: header.get(key.casefold(), "") for field, key in HEADER_KEYS.items()}
    if not all(re.fullmatch(r"[0-9]{1,18}", figure) for figure in figures.values()):
        return None
    unknown = dict.fromkeys(("model_file", "tokenizer_file", "weight_type"), "-")
    arch = header.get("arch", "-").lower()
    whole = {field: int(figure) for field, figure in figures.items()}
    return ModelRecord.model_validate(
        {"name": name, "arch": arch, "size_bytes": None, **unknown, **whole}
    )


def notes_of_run(
    sessions: Sequence[Session], cell_notes: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """General remarks first, then what the cells' figures fall under."""
    said = [
        "Imported from logs of the real dllama; the machine above is the one that read the logs. "
        "Prompt, steps and thread count are as far as the logs tell; temperature, seed, file names "
        "and weight type are not in them.",
    ]
    groups = cell_groups(sessions)
    cells = [f"{group[0].model}, {counted(group[0].nodes, 'node')}" for group in groups]
    numbered = sorted({session.model for session in sessions if " #" in session.model})
    if numbered:
        said.append(
            f"Runs of another prompt, length or build are no repeats: {', '.join(numbered)} are "
            "cells of their own."
        )
    return (*said, *run_notes(dict(zip(cells, cell_notes, strict=True))))
