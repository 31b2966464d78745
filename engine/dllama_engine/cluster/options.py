"""How a root runs its session, as the command line has it."""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.formats.quants import FloatType
from dllama_engine.injection import NOTHING, Injection
from dllama_engine.memory_rate import UNLIMITED
from dllama_engine.wire.connecting.dialing import Address


@dataclass(frozen=True, slots=True)
class RootOptions:
    """How a session is run, apart from the model and its split."""

    workers: tuple[Address, ...] = ()
    token: bytes = b""
    n_threads: int = 1
    batch_size: int = 32
    max_seq_len: int = 0  # 0: the model's
    kv_type: FloatType = FloatType.F32
    context_depth: int = 0  # positions filled before the request, which its figures leave out
    timeout_s: float = 60.0
    connect_timeout_s: float = 5.0
    spans: bool = True  # whether ranks count where their time goes
    trace: bool = False  # whether they keep their last raw spans
    inject: Injection = NOTHING
    memory_rate: float = UNLIMITED  # emulated, bytes a second
    keeps_cores: bool = True  # ranks that just fill a host's cores stay on their own
    maps_local_weights: bool = True  # workers of this machine read the model's file themselves
