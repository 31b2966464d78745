"""The session config: all that a root tells its workers before they load and serve."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.errors import HandshakeError
from dllama_engine.formats.model_file import FileIdentity
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import RankMemory, rank_memory
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.wire.connecting.dialing import Address

MESH_TIMEOUT_S = 30.0  # at most, for workers to find each other


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a worker must know of a root before the root knows all of its workers.

    Between this and its session a worker waits `timeout_s` for each sign of the root's life.
    """

    rank: int
    world_size: int
    timeout_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Greeting:
        """The inverse of `to_json`.

        Raises:
            HandshakeError: a field is missing, of another kind, or cannot be.
        """
        try:
            greeting = cls(int(data["rank"]), int(data["world_size"]), float(data["timeout_s"]))
        except (KeyError, OverflowError, TypeError, ValueError) as error:
            raise HandshakeError(f"the root's greeting does not fit: {error!r}") from None
        if not (1 <= greeting.rank < greeting.world_size < 1 << 16 and greeting.timeout_s > 0):
            raise HandshakeError(f"the root's greeting cannot be: {greeting}")
        return greeting


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """All that a rank must know to serve: told to a worker, and the same of the root itself."""

    session_id: str
    rank: int
    plan: ShardPlan
    batch_size: int
    max_seq_len: int
    kv_type: FloatType
    timeout_s: float
    workers: tuple[Address, ...]  # of ranks 1, 2, ...; as the root reaches them
    slots: CoreSlots  # its threads among those of its host
    spans: bool = True  # whether it counts where its time goes
    trace: bool = False  # whether it keeps its last raw spans
    context_depth: int = 0  # positions filled before the request: their times are nobody's
    rehearsals: int = 0  # so many forward passes come before all others and are nobody's
    model_file: FileIdentity | None = None  # the root's, told to ranks of the same machine

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the wire."""
        return {
            "session_id": self.session_id,
            "rank": self.rank,
            "plan": self.plan.to_json(),
            "batch_size": self.batch_size,
            "max_seq_len": self.max_seq_len,
            "kv_type": int(self.kv_type),
            "context_depth": self.context_depth,
            "rehearsals": self.rehearsals,
            "timeout_s": self.timeout_s,
            "workers": [list(address) for address in self.workers],
            "model_file": asdict(self.model_file) if self.model_file else None,
            "slots": asdict(self.slots),
            "spans": self.spans,
            "trace": self.trace,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> SessionConfig:
        """The inverse of `to_json`.

        Raises:
            HandshakeError: a field is missing or of another kind.
        """
        try:
            config = cls(
                session_id=str(data["session_id"]),
                rank=int(data["rank"]),
                plan=ShardPlan.from_json(data["plan"]),
                batch_size=int(data["batch_size"]),
                max_seq_len=int(data["max_seq_len"]),
                kv_type=FloatType(data["kv_type"]),
                context_depth=int(data.get("context_depth", 0)),
                rehearsals=int(data.get("rehearsals", 0)),
                timeout_s=float(data["timeout_s"]),
                workers=tuple((str(host), int(port)) for host, port in data["workers"]),
                slots=_slots(data["slots"]),
                spans=bool(data["spans"]),
                trace=bool(data.get("trace", False)),
                model_file=FileIdentity(**file) if (file := data.get("model_file")) else None,
            )
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise HandshakeError(f"the root's session config does not fit: {error!r}") from None
        if not 1 <= config.rank < config.plan.world_size == len(config.workers) + 1:
            raise HandshakeError(
                f"the root's session config gives rank {config.rank} of "
                f"{config.plan.world_size} nodes and {len(config.workers)} workers"
            )
        return config

    @property
    def memory_needed(self) -> RankMemory:
        """What this rank must hold, by the plan."""
        return rank_memory(
            self.plan,
            self.rank,
            batch_size=self.batch_size,
            max_seq_len=self.max_seq_len,
            kv_type=self.kv_type,
        )


def _slots(data: dict[str, Any]) -> CoreSlots:
    keeps = bool(data.get("keeps", True))
    counts = {name: int(n) for name, n in data.items() if name != "keeps"}
    return CoreSlots(**counts, keeps=keeps)
