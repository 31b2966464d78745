"""The run file's data model: what one `pytest suites/` run measured, and all that a report needs.

The JSON is this model, versioned and validated on both writing and reading. Knows nothing of
pytest, hosts or templates. Units stand in the names; a missing value is `null`, never zero.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pytest_dllama.record.base import Record
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.emulation import EmulationRecord
from pytest_dllama.record.energy import PowerRecord
from pytest_dllama.record.hosts import HostRecord, MemoryRecord, PairRecord

# 2: verdicts carry typed faults; 3: workloads, parts of time, the revision that was measured
SCHEMA_VERSION = 3


class Environment(Record):
    """The controller's machine and versions."""

    hostname: str
    os: str
    machine: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    python: str
    numpy: str
    numba: str
    pytest_dllama: str
    board: str | None = None  # e.g. "Raspberry Pi 5 Model B Rev 1.0"


class Revision(Record):
    """The commit of the engine under test, where it comes from a checkout."""

    commit: str
    committed_utc: str  # ISO 8601, with the committer's offset
    subject: str  # first line of its message
    is_dirty: bool | None = None  # measured with changes that no commit has; None: not told


class Request(Record):
    """What every cell was asked to do."""

    prompt: str  # empty: made of an exact length, as the cells' workloads say
    steps: int | None  # None: the cells' workloads say how many tokens are generated
    repeats: int
    warmup: int
    nthreads: int | None  # None, here and below: an imported log does not tell
    buffer_float_type: str
    sync_mode: str
    temperature: float | None
    seed: int | None
    node_counts: tuple[int, ...]
    engine: str
    host_kind: Literal["local", "ssh", "log"]
    n_batches: int | None = None  # tokens of one prefill batch
    max_seq_len: int | None = None  # of the KV cache; None: what each cell's request needs
    kv_type: str | None = None  # of the KV cache; None: a log or an older file does not tell
    collective: str | None = None  # of the embedded engine, as asked for; None: another engine
    overlap: str | None = None  # the same, as asked for
    inject: str = ""  # how the engine was slowed down on purpose


class ModelRecord(Record):
    """One model of the run, in the order of `--models`."""

    name: str
    model_file: str  # base names only: the report travels
    tokenizer_file: str
    size_bytes: int | None  # None: imported from a log
    arch: str
    dim: int
    hidden_dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    vocab_size: int
    seq_len: int
    weight_type: str
    digest: str | None = None  # BLAKE2b, 128 bits, of the model's file; None: an older run's


class RunRecord(Record):
    """One whole run."""

    schema_version: Annotated[int, Field(ge=1, le=SCHEMA_VERSION)] = SCHEMA_VERSION
    created_utc: str  # ISO 8601
    wall_s: float | None = None
    environment: Environment
    revision: Revision | None = None  # None: a wheel, a bare binary, an imported log
    request: Request
    models: tuple[ModelRecord, ...]
    cells: tuple[CellRecord, ...]
    fingerprint: str | None = None  # of the machines: figures of another one are not comparable
    hosts: tuple[HostRecord, ...] = ()  # in rank order; none where all nodes are processes here
    pairs: tuple[PairRecord, ...] = ()
    memory: tuple[MemoryRecord, ...] = ()
    emulation: EmulationRecord | None = None  # None: links are what they are
    power: tuple[PowerRecord, ...] = ()  # none: nobody asked for energy
    definitions: dict[str, str]  # metric -> its definition, in English
    notes: tuple[str, ...] = ()
