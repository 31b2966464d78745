"""A worker's service: what it goes on with alone is what it would do step by step."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from dllama_engine.cluster.packet import HEAD, StepPacket
from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.cluster.service import StepService
from dllama_engine.cluster.session import SessionConfig
from dllama_engine.collectives.logits import LogitsGather
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.plan import ShardPlan, make_plan
from dllama_engine.tables.links import RECV_SEQUENCE, SEND_SEQUENCE
from dllama_engine.tables.team import BEGUN, LEFT, OTHER
from dllama_engine.telemetry.observation import Observation
from dllama_engine.transformer.decode import DecodeEnds, DecodeLoop
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.wire.frames import HEADER, HEARTBEAT_FRAME, KINDS, SYNC_WITH_ROOT
from dllama_engine.wire.links import Links
from tests.engine.ranks import rank_weights, run_ranks

BATCH, IDS = 8, [1, 5, 9, 300, 7, 11, 44, 45, 46, 3, 2, 77, 78, 79, 80, 81]
LONGER_THAN_A_LOOK_S = 0.25  # compiled code comes back to Python after 0.1 s in which nothing comes


@dataclass
class Root:
    """Rank 0, step by step, with the packets of `cluster.packet`."""

    model: ModelFile
    plan: ShardPlan
    links: Links

    def __post_init__(self) -> None:
        vocab = [rank.vocab for rank in self.plan.ranks]
        self.packet = StepPacket(BATCH, self.plan.config.dim)
        self.packet.connect(self.links)
        self.gather = LogitsGather(self.links, 0, vocab)
        ends = DecodeEnds(self.gather, self.packet.routes_of_one)
        weights = rank_weights(self.model, self.plan, 0)
        self.transformer = Transformer(
            self.plan, 0, weights, self.links, ends=ends, batch_size=BATCH
        )
        self.embedding = self.model.raw(self.model.specs[0]).view(np.float32)
        self.logits: list[npt.NDArray[np.float32]] = []
        self.pos = 0

    def batch(self, n: int, n_logits: int) -> None:
        """A packet of n tokens, as a prompt's."""
        x = self._x(n)
        self.packet.send(self.pos, n, n_logits)
        logits = self.gather.gather(self.transformer.forward(x, self.pos, n_logits))
        self._keep(logits if n_logits else np.empty((0, 0), np.float32), n)

    def decode(self, n: int) -> None:
        """One token after another, as they are generated."""
        for _ in range(n):
            x = self._x(1)
            self.packet.fill(self.pos, 1, 1)
            self._keep(self.gather.whole_of_one(self.transformer.decode(x, self.pos)), 1)

    def decode_in_pieces(self) -> None:
        """One token whose packet comes in two pieces, with a while in between."""
        x, sequence = self._x(1), int(self.links.table[1, SEND_SEQUENCE])
        payload = HEAD.pack(self.pos, 1, 1) + x.tobytes()
        frame = HEADER.pack(len(payload), KINDS[SYNC_WITH_ROOT], sequence) + payload
        self.links.table[1, SEND_SEQUENCE] = (sequence + 1) & 0xFFFF
        sock = self.links.sockets[1]
        sock.sendall(frame[:21])
        time.sleep(LONGER_THAN_A_LOOK_S)
        sock.sendall(frame[21:])
        self._keep(self.gather.gather(self.transformer.forward(x, self.pos, 1)), 1)

    def say_that_it_lives(self) -> None:
        self.links.sockets[1].sendall(HEARTBEAT_FRAME)

    def pause(self) -> None:
        time.sleep(LONGER_THAN_A_LOOK_S)

    def goodbye(self) -> None:
        self.links.exchange(SYNC_WITH_ROOT, {1: HEAD.pack(0, 0, 0)}, {})
        self.transformer.close()

    def _x(self, n: int) -> npt.NDArray[np.float32]:
        x = self.packet.x(n)
        x[:] = self.embedding[IDS[self.pos : self.pos + n]]
        return x

    def _keep(self, logits: npt.NDArray[np.float32] | None, n: int) -> None:
        assert logits is not None
        self.logits.append(logits.copy())
        self.pos += n


@dataclass
class Found:
    """What both ends of a session have to tell."""

    logits: npt.NDArray[np.float32]
    counted: list[tuple[int, int, int, int]]  # by link: messages and bytes, sent and received
    steps: list[tuple[str, int]]
    kinds: set[str]
    times_ns: tuple[int, int]
    loops: list[DecodeLoop]


def session(script: Callable[[Root], None], *, alone: bool, first_number: int = 0) -> Found:
    """Rank 0 runs the script, rank 1 serves; it goes on `alone` or step by step.

    Frames have numbers from `first_number` on.
    """
    loops: list[DecodeLoop] = []
    with ModelFile.open(model_path("tiny")) as model:
        plan = make_plan(model.config, 2)

        def serve(links: Links) -> Found:
            config = SessionConfig(
                "s",
                1,
                plan,
                BATCH,
                model.config.seq_len,
                FloatType.F32,
                60.0,
                (),
                CoreSlots(0, 1, 1),
            )
            links.stop_tracing()
            service = StepService(config, links)
            weights = rank_weights(model, plan, 1)
            worker = Transformer(plan, 1, weights, links, ends=service.ends, batch_size=BATCH)
            decode_on = worker.decode_on

            def kept(*arguments: object) -> DecodeLoop:
                loops.append(decode_on(*arguments))  # type: ignore[arg-type]
                return loops[-1]

            worker.decode_on = kept  # type: ignore[method-assign, assignment]
            seen = Observation(
                links, worker.record_spans, worker.keep_spans, spans=True, raw=not alone
            )
            totals = service.run(worker, seen)
            seen.end()
            worker.close()
            counts = [
                (c.sent_messages, c.sent_payload_bytes, c.recv_messages, c.recv_payload_bytes)
                for c in totals.counts(1)
            ]
            told = seen.told_spans()
            return Found(
                np.empty(0), counts, [(phase.phase, phase.steps) for phase in told],
                {kind for phase in told for kind in phase.us},
                (service.compute_ns, service.sync_ns), loops,
            )  # fmt: skip

        def main(rank: int, links: Links | None) -> Found | npt.NDArray[np.float32]:
            assert links is not None
            links.table[1 - rank, [SEND_SEQUENCE, RECV_SEQUENCE]] = first_number
            if rank:
                return serve(links)
            root = Root(model, plan, links)
            script(root)
            root.goodbye()
            return np.concatenate([part for part in root.logits if len(part)])

        logits, found = run_ranks(2, main)
    assert isinstance(found, Found)
    assert isinstance(logits, np.ndarray)
    found.logits = logits
    return found


def everything(root: Root) -> None:
    """All that may come behind a token."""
    root.batch(3, 1)
    root.decode(3)
    root.say_that_it_lives()
    root.decode(1)
    root.pause()
    root.decode(1)
    root.decode_in_pieces()
    root.batch(1, 0)
    root.decode(2)
    root.batch(2, 1)
    root.decode(2)


@pytest.fixture(scope="module")
def step_by_step() -> Found:
    found = session(everything, alone=False)
    assert not found.loops
    return found


@pytest.fixture(scope="module")
def by_itself() -> Found:
    return session(everything, alone=True)


def test_the_tokens_are_the_same_to_the_bit(by_itself: Found, step_by_step: Found) -> None:
    assert len(by_itself.logits) == 12
    assert np.array_equal(by_itself.logits, step_by_step.logits)


def test_it_ends_for_what_is_no_further_token_and_only_then(by_itself: Found) -> None:
    # A pause; a token without logits; a prompt's batch; goodbye.
    assert [loop.ended for loop in by_itself.loops] == [LEFT, OTHER, BEGUN, BEGUN]
    assert [loop.followed for loop in by_itself.loops] == [3, 1, 0, 1]


@pytest.mark.parametrize("turn", [1 << 15, 1 << 16], ids=["the sign's", "the last"])
def test_frames_have_numbers_of_16_bits(turn: int) -> None:
    """A prompt's batch comes behind the turn, as in a conversation of some thousand tokens."""

    def chat(root: Root) -> None:
        root.batch(3, 1)
        root.decode(3)
        root.batch(4, 1)
        root.decode(2)
        root.batch(2, 1)

    found = [session(chat, alone=True, first_number=first) for first in (0, turn - 30)]
    assert np.array_equal(found[0].logits, found[1].logits)
    assert [loop.ended for loop in found[1].loops] == [BEGUN, BEGUN]


def test_what_crossed_the_links_is_counted_alike(by_itself: Found, step_by_step: Found) -> None:
    assert by_itself.counted == step_by_step.counted
    (link,) = by_itself.counted
    assert min(link) > 0


def test_steps_and_kinds_of_time_are_counted_alike(by_itself: Found, step_by_step: Found) -> None:
    assert by_itself.steps == step_by_step.steps
    assert sum(n for _, n in by_itself.steps) == 13
    assert by_itself.kinds == step_by_step.kinds
    assert min(by_itself.times_ns) > 0
