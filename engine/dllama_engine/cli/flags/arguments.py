"""What a command line asks for, as values: of roots, workers and plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dllama_engine.injection import Injection
from dllama_engine.loading.settings import CacheSettings

Address = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessArgs:
    """What every mode takes."""

    events: str | None  # a path, "-" for standard output
    exit_with_parent: int | None  # -1: no; 0: the parent; None: the end of standard input


@dataclass(frozen=True, slots=True, kw_only=True)
class RootArgs(ProcessArgs):
    """A root: inference, chat or perplexity."""

    mode: Literal["inference", "chat", "perplexity"]
    model: str
    tokenizer: str | None
    prompt: str | None
    file: str | None
    steps: int | None  # inference has them
    temperature: float
    topp: float
    seed: int | None
    chat_template: str | None
    max_seq_len: int  # 0: the model's
    context_depth: int  # positions filled before the request
    decode_from: int | None  # a token id in place of the prompt's last one
    requests: int  # how often the request is run, each time in a session of its own
    workers: tuple[Address, ...]
    buffer_float_type: str
    sync_mode: str
    collective: str
    overlap: str
    kv_type: str
    batch_size: int
    n_threads: int
    timeout_s: float
    connect_timeout_s: float
    retry_lost: int
    shrink: bool
    token_file: str | None
    spans: str
    trace: str | None  # a path, "-" for the event stream
    inject: Injection
    memory_rate: float  # bytes a second, infinite: as it is
    local_weights: str
    cores: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerArgs(ProcessArgs):
    """A worker."""

    host: str
    port: int
    n_threads: int
    token_file: str | None
    idle_timeout_s: float | None
    weight_cache: CacheSettings
    inject: Injection
    memory_rate: float  # bytes a second, infinite: as it is


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanArgs(ProcessArgs):
    """A plan of a model file or of a named shape: one of the two is None."""

    model: str | None
    shape: str | None
    nodes: int
    max_seq_len: int  # 0: the model's
    buffer_float_type: str
    sync_mode: str
    collective: str
    overlap: str
    kv_type: str
    batch_size: int
    json: bool
