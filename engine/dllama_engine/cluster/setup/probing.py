"""What the links cost: the frames of exchanges to come, in compiled code, with work between them.

All ranks at once, on the cores that they will stay on, so that a shared switch or shared cores show
in the figures. Between two exchanges each rank multiplies, as it will between those of a forward
pass: ranks that share cores then come to an exchange one after the other and sleep until the others
are there, which costs each collective another share of its time than exchanging without a pause.
Python has no part in it: a call for each round would cost those of many rounds more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dllama_engine.arrays import Bytes, Table
from dllama_engine.collectives.base import Move, Round
from dllama_engine.collectives.choice import FanCosts, LinkCosts
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.program.program import Program
from dllama_engine.program.rate import SampleProduct
from dllama_engine.program.threads import ThreadTeam
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.work import layer_values
from dllama_engine.tables.links import NOTHING, RECV_AT, RECV_BYTES, SEND_AT, SEND_BYTES
from dllama_engine.wire.frames import KINDS, PROBE
from dllama_engine.wire.links import Links

PAYLOAD_BYTES = 32 << 10  # of a frame that shows the rate
_MOST_VALUES = 1 << 20  # of a rank's work between two exchanges: some ten microseconds
_RUNS, _BUDGET_S = 30, 0.3  # of each stretch, in turns; as many as fit into that, but some at least
_LEAST_RUNS = 3  # one of which has met no stalled link
_EMPTY, _FULL, _WORK = 8, 4, 8  # exchanges, or pieces of work, in a stretch
_UNTIMED = 2  # one exchange in so many more before the clock starts
_QUIET = 8  # one run in so many is not disturbed by anything else
_MOST_WORK = 0.75  # of the quickest exchange with its work: a wrong share leaves no exchange free


def probe(links: Links, plan: ShardPlan, n_threads: int = 1) -> LinkCosts:
    """Some kinds of exchanges, the same on all ranks at the same time; what this rank saw.

    None of them can end on a rank before every rank has begun it: nobody runs ahead.

    Args:
        links: of the rank.
        plan: whose products are multiplied in between.
        n_threads: of the rank.

    Raises:
        WorkerLost: a peer that does not take part before the links' deadline.
    """
    return _LinkProbe(links, plan, n_threads).costs()


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows of the program: some before the clock starts, and then so many exchanges."""

    first: int
    timed: int
    last: int
    times: int


class _LinkProbe:
    """Stretches of one program: each some exchanges of a kind, with work before each."""

    def __init__(self, links: Links, plan: ShardPlan, n_threads: int) -> None:
        self._links = links
        n_values = min(_MOST_VALUES, layer_values(plan, links.rank) // 2)  # two exchanges a layer
        types = plan.config.weight_type, plan.buffer_type
        self._product = SampleProduct(plan.config.dim, n_values, *types, batch_size=1)
        self._program, self._team = Program(1e-5, 1, n_threads), ThreadTeam(n_threads)
        self._out = np.zeros(PAYLOAD_BYTES, np.uint8)
        self._into = np.empty((links.world_size, PAYLOAD_BYTES), np.uint8)
        self._stretches: dict[str, _Stretch] = {}
        self._routes: list[Table] = []  # which the program's rows point to

    def costs(self) -> LinkCosts:
        """Of a round, of a message more, of a byte."""
        n = self._links.world_size
        everyone: Round = tuple(Move(a, b, a) for a in range(n) for b in range(n) if a != b)
        doubling = COLLECTIVES[Collective.DOUBLING].gather_rounds(n)
        fan = COLLECTIVES[Collective.GATHER_BCAST].gather_rounds(n)
        kinds: Mapping[str, Sequence[Round]] = {
            "doubling": doubling,
            "mesh": [everyone],
            "fan": fan,
        }
        for name, rounds in kinds.items():
            self._add(name, rounds, _EMPTY)
            if name != "doubling":
                self._add(f"full {name}", rounds, _FULL, is_full=True)
        self._add("work", [everyone], 1, n_products=_WORK)
        took_s = self._typical_s()
        # Pieces of work and one mesh, where the stretch of a mesh has one of each in turns.
        work_s = max(0.0, took_s["work"] - took_s["mesh"]) / (_WORK - 1)
        work_s = min(work_s, *(_MOST_WORK * took_s[name] for name in kinds))
        round_s = (took_s["doubling"] - work_s) / len(doubling)
        others_bytes = (n - 1) * PAYLOAD_BYTES
        byte_s = (took_s["full mesh"] - took_s["mesh"]) / others_bytes
        fan_byte_s = (took_s["full fan"] - took_s["fan"]) / len(fan) / others_bytes
        return LinkCosts(
            round_s=round_s,
            message_s=max(0.0, took_s["mesh"] - work_s - round_s) / max(1, n - 2),
            byte_s=max(0.0, byte_s),
            fan=FanCosts((took_s["fan"] - work_s) / len(fan), max(0.0, fan_byte_s)),
        )

    def _add(
        self,
        name: str,
        rounds: Sequence[Round],
        times: int,
        n_products: int = 1,
        *,
        is_full: bool = False,
    ) -> None:
        """A stretch of so many exchanges, each after so much work."""
        first, tables = len(self._program), self._tables(rounds, is_full)
        self._routes += tables
        timed = first
        for n in range(-(times // _UNTIMED), times):
            if n == 0:
                timed = len(self._program)
            for _ in range(n_products):
                self._product.multiply(self._program)
            for routes in tables:
                links = self._links.table, self._links.mesh
                self._program.exchange(KINDS[PROBE], *links, routes)
        self._stretches[name] = _Stretch(first, timed, len(self._program), times)

    def _tables(self, rounds: Sequence[Round], is_full: bool) -> list[Table]:
        """Routes of the rounds that this rank takes part in: of empty frames, or of full ones."""
        found = []
        for moves in rounds:
            routes = self._links.routes()
            for move in moves:
                if move.src == self._links.rank:
                    routes[move.dst, [SEND_AT, SEND_BYTES]] = _place(self._out, is_full)
                elif move.dst == self._links.rank:
                    into = self._into[move.src]
                    routes[move.src, [RECV_AT, RECV_BYTES]] = _place(into, is_full)
            if (routes[:, [SEND_BYTES, RECV_BYTES]] != NOTHING).any():
                found.append(routes)
        return found

    def _typical_s(self) -> dict[str, float]:
        """Of each stretch, the time of one exchange and its work; in turns, as machines drift.

        Who is kept from its core, or whose peer is ahead by one, waits long for the one and finds
        the next there: a stretch counts from end to end, or a slow link looked like a free one.
        Runs that nothing disturbed count: what else a machine does can only add to an exchange,
        and on a busy one adds more than what tells one collective from another.
        """
        self._team.install(self._program.table())
        try:
            start_s = time.perf_counter()
            self._run_s(0)  # frames and code get warm
            n_runs = self._agreed(int(_BUDGET_S / (time.perf_counter() - start_s)))
            runs_s = [self._run_s(n) for n in range(n_runs)]
        except BaseException:
            self._links.forget_exchange()
            raise
        finally:
            self._team.close()
        return {
            name: sorted(run[name] for run in runs_s)[n_runs // _QUIET] for name in self._stretches
        }

    def _agreed(self, n_runs: int) -> int:
        """How often all ranks run: as often as the root says."""
        peers, told = self._links.peers, bytearray([max(_LEAST_RUNS, min(_RUNS, n_runs))])
        if self._links.rank == 0:
            self._links.exchange(PROBE, dict.fromkeys(peers, told), {})
        else:
            self._links.exchange(PROBE, {}, {0: told})
        return told[0]

    def _run_s(self, n: int) -> dict[str, float]:
        """Every stretch once, in odd runs from the last to the first; of each, seconds an exchange.

        Its first exchanges do not count: another kind has gone before, which shows for some time.
        """
        found = {}
        for name in [*self._stretches][:: -1 if n % 2 else 1]:
            stretch = self._stretches[name]
            self._team.run(stretch.first, stretch.timed, 1, attend=self._settle)
            start_s = time.perf_counter()
            self._team.run(stretch.timed, stretch.last, 1, attend=self._settle)
            found[name] = (time.perf_counter() - start_s) / stretch.times
        return found

    def _settle(self, op: int, status: int) -> None:
        self._links.settle(status)


def _place(payload: Bytes, is_full: bool) -> tuple[int, int]:
    """Address and bytes of a frame's payload."""
    return (payload.ctypes.data, payload.nbytes) if is_full else (0, 0)
