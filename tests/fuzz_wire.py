"""Mutation fuzzing of handshakes and frames: `python -m tests.fuzz_wire --cases 100000`.

Each case is a conversation that was right before something in it was changed: bytes on the way, or
a value of a JSON text whose sender holds the token. Whoever reads it must get what was meant or
raise an error of the engine's, in words. Another exception, a case that takes longer than the
alarm, or memory beyond the limit of this process ends the run with the number of the case, which
`--first N --cases 1` repeats.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import cache
from typing import Any

from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.cluster.session import Greeting, SessionConfig
from dllama_engine.cluster.setup.rendezvous import Rendezvous
from dllama_engine.cluster.summary import RankSummary
from dllama_engine.errors import EngineError, WireError
from dllama_engine.formats.quants import FloatType
from dllama_engine.loading.supply import Said, Supply
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.telemetry.observer import Observer
from dllama_engine.wire import error_frame
from dllama_engine.wire.connecting import handshake
from dllama_engine.wire.connecting.handshake import (
    DialerRole,
    WorkerInfo,
    answer,
    dial,
    receive_text,
)
from dllama_engine.wire.connecting.listener import Listener
from dllama_engine.wire.frames import (
    ERROR,
    HEADER,
    HEARTBEAT_FRAME,
    KINDS,
    LOAD,
    SESSION,
    SYNC_WITH_ROOT,
)
from dllama_engine.wire.links import Links
from dllama_engine.wire.trace import LinkCount
from tests import fuzz
from tests.fuzz import append, cut_out, flip_bits, repeat, set_word, truncate

ALARM_S = 10
TOKEN = b"a token of the fuzzer"
_OPEN_S = 0.01  # timeout where the other side says nothing more and stays
_INFO = WorkerInfo("pi", 42, "boot", 1 << 30, 4, "1.0")
_BYTES = (flip_bits, flip_bits, set_word, set_word, truncate, append, cut_out, repeat)
_TELLING = (
    *(None, True, "", "x", 0, -1, 1, 2, 255, 65536, 2**31, 2**63, 2**64, -(2**70), 0.5, 1e300),
    *(float("inf"), float("-inf"), float("nan"), [], {}, [[]], {"": 0}, "9" * 400, "127.0.0.1"),
)  # fmt: skip
_DEEP = b"[" * 200_000

Case = Callable[[random.Random], str]


def main() -> int:
    """Run the cases in this process, limited in memory; 0 when all ended as they should."""
    options = _options()
    signal.signal(signal.SIGALRM, _alarm)
    cases = WireFuzzer()
    fuzz.limit_memory()
    try:
        for number in range(options.first, options.first + options.cases):
            try:
                cases.run(number)
            except BaseException:
                print(f"case {number}: {cases.subject}", file=sys.stderr)
                raise
    finally:
        cases.close()
    outcomes = ", ".join(f"{name} {n}" for name, n in sorted(cases.outcomes.items()))
    print(f"{options.cases} conversations: {outcomes}")
    return 0


class WireFuzzer:
    """Runs cases by number: the same number is the same conversation."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.subject = ""
        self._log: list[str] = []
        self._door = Listener("127.0.0.1", 0, TOKEN, 1, self._log.append)
        self._door.open()
        with suppress(EngineError):
            _frames(random.Random(0))  # what is compiled or loaded is so before memory is limited

    def run(self, number: int) -> None:
        """One conversation."""
        rng = random.Random(number)
        case = rng.choices(_CASES, weights=_WEIGHTS)[0] if number % 100 else self._knock
        self.subject = getattr(case, "__name__", "")
        signal.alarm(ALARM_S)
        try:
            outcome = case(rng)
        except EngineError as error:
            if not str(error):
                raise AssertionError("refused without a word") from error
            outcome = "refused"
        finally:
            signal.alarm(0)
        self.outcomes[f"{self.subject.strip('_')} {outcome}"] += 1

    def _knock(self, rng: random.Random) -> str:
        """At a real door, which must open for the next one."""
        address = ("127.0.0.1", self._door.port)
        with suppress(OSError), socket.create_connection(address, 5) as sock:
            sock.sendall(_changed(rng, _hello(DialerRole.ROOT) + bytes(32)))
        with socket.create_connection(address, 5) as sock:
            dial(sock, DialerRole.PROBE, TOKEN, "the door", 5.0)
        return "read"

    def close(self) -> None:
        self._door.close()


# -- handshakes -----------------------------------------------------------------------------------


class Scripted:
    """A socket of which the other end is a function of what was sent, and is over at some time."""

    def __init__(self, reply: Callable[[bytes], bytes], first: bytes, *, ends: bool) -> None:
        self._reply, self._unread, self._ends = reply, first, ends

    def sendall(self, data: bytes) -> None:
        self._unread += self._reply(data)

    def recv(self, size: int) -> bytes:
        if not self._unread and not self._ends:
            raise TimeoutError("timed out")
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    def settimeout(self, value: float | None) -> None:
        assert value is None or value > 0

    def gettimeout(self) -> float:
        return 1.0

    def shutdown(self, how: int) -> None:
        pass


def _hello(role: DialerRole) -> bytes:
    return handshake._OURS + bytes([role]) + bytes(range(32))


def answer_handshake(rng: random.Random) -> str:
    """A listener's end."""
    hello = _hello(rng.choice(list(DialerRole)))

    def reply(sent: bytes) -> bytes:
        if len(sent) != 74:  # its welcome, or its version alone
            return b""
        proof = handshake._mac(TOKEN, b"dialer", hello + sent[:42])
        return _changed(rng, proof) if rng.random() < 0.5 else proof

    first = _changed(rng, hello) if rng.random() < 0.5 else hello
    sock: Any = Scripted(reply, first, ends=rng.random() < 0.8)
    answer(sock, TOKEN, lambda role: _INFO, 0.05)
    return "read"


def dial_handshake(rng: random.Random) -> str:
    """A dialer's end."""
    hellos: list[bytes] = []

    def reply(sent: bytes) -> bytes:
        if hellos:
            text = _json(rng, _INFO.to_json())
            return _maybe(rng, len(text).to_bytes(4, "little") + text)
        hellos.append(sent)
        head = handshake._OURS + bytes(32)
        return _maybe(rng, head + handshake._mac(TOKEN, b"listener", sent + head))

    sock: Any = Scripted(reply, b"", ends=rng.random() < 0.8)
    info = dial(sock, DialerRole.ROOT, TOKEN, "there", 0.05)
    assert isinstance(info.hostname, str)
    assert info.busy is None or isinstance(info.busy, str)
    assert {type(info.pid), type(info.available_bytes), type(info.n_threads)} == {int}
    return "read"


def greeting(rng: random.Random) -> str:
    """What a root says first."""
    text = _json(rng, Greeting(1, 2, 60.0).to_json())
    first = _maybe(rng, len(text).to_bytes(4, "little") + text)
    sock: Any = Scripted(lambda sent: b"", first, ends=rng.random() < 0.8)
    found = Greeting.from_json(receive_text(sock, 0.05))
    assert 1 <= found.rank < found.world_size
    return "read"


# -- texts of those who hold the token ------------------------------------------------------------


@cache
def _config() -> SessionConfig:
    shape = parse_shape("dim=64,hidden_dim=64,n_layers=2,n_heads=4,vocab_size=64,seq_len=32")
    return SessionConfig(
        "s", 1, make_plan(shape, 2), 32, 32, FloatType.F32, 60.0, (("h", 1),), CoreSlots(0, 1, 1)
    )


def session(rng: random.Random) -> str:
    """A session as a root describes it."""
    config = SessionConfig.from_json(_value(rng, _config().to_json()))
    assert config.rank == 1
    return "read"


def summary(rng: random.Random) -> str:
    """A worker's account."""
    count = LinkCount(0, 1, 2, 3, 4, 5, 6, 7.5)
    spans = [{"phase": "decode", "steps": 1, "us": {"qkv": 1.0}, "waited_us": [[0, 1.0]]}]
    told = asdict(RankSummary(1, "pi", 2, 3, None, 4, 5, 6.0, 7.0, (count,), ()))
    told["spans"] = spans
    RankSummary.from_json(_value(rng, told), "worker 1")
    return "read"


@cache
def _supply() -> Supply:
    nobody: Any = None  # no file is looked at
    return Supply(nobody, _config().plan, {}, 1)


def offers(rng: random.Random) -> str:
    """What a worker keeps of its weights, and then still wants."""
    told = {"keeps": True, "maps": False, "offers": [{"pieces": 3, "digest": "ab"}]}
    said = _value(rng, told)
    if isinstance(said, dict):
        assert all(isinstance(n, int) for n, _ in Said.from_json(said, 1).offers)
    wants = _value(rng, {"missing": [[0, 1], [2, 4]]})
    if isinstance(wants, dict):
        assert _supply().hear(1, wants) >= 0
    return "read"


def farewell(rng: random.Random) -> str:
    """An error frame is always understood somehow."""
    words = error_frame.encode(WireError("gone", 2))
    text = _maybe(rng, _json(rng, json.loads(words)))
    assert isinstance(error_frame.decode(text, "worker 1", 1), EngineError)
    return "read"


# -- frames ---------------------------------------------------------------------------------------


def _frame(op: str, number: int, payload: bytes) -> bytes:
    return HEADER.pack(len(payload), KINDS[op], number) + payload


def _with_other_end(rng: random.Random, stream: bytes) -> tuple[socket.socket, socket.socket]:
    """A socket that holds the stream, and its other end, which may have closed."""
    near, far = socket.socketpair()
    far.setblocking(False)
    with suppress(BlockingIOError):
        far.sendall(stream)
    if rng.random() < 0.8:
        far.close()
    return near, far


def _frames(rng: random.Random) -> str:
    text, load, packet = _json(rng, {"state": "connected"}), bytes(300), bytes(range(64))
    parts = [
        *(HEARTBEAT_FRAME, _frame(SESSION, 0, text), HEARTBEAT_FRAME, _frame(LOAD, 1, load)),
        *(HEARTBEAT_FRAME, _frame(SYNC_WITH_ROOT, 2, packet)),
    ]
    if rng.random() < 0.3:
        words = _frame(ERROR, 9, _maybe(rng, error_frame.encode(WireError("gone", 2))))
        parts.insert(rng.randrange(len(parts)), words)
    at = rng.randrange(len(parts))
    parts[at] = _changed(rng, parts[at])
    near, far = _with_other_end(rng, b"".join(parts))
    links = Links(1, 3, {0: near}, _OPEN_S)
    links.is_setting_up = rng.random() < 0.5
    try:
        links.receive_json(SESSION, 0, timeout_s=_OPEN_S)
        loaded, packed = bytearray(300), bytearray(64)
        links.exchange(LOAD, {}, {0: loaded})
        assert links.receive(SYNC_WITH_ROOT, 0, packed, _OPEN_S) <= 64
    finally:
        links.close()
        far.close()
    return "read"


def set_up(rng: random.Random) -> str:
    """What a root hears from a worker between two heartbeats."""
    text = _json(rng, {"state": "connected", "maps": False})
    stream = _maybe(rng, HEARTBEAT_FRAME + _frame(SESSION, 0, text) + HEARTBEAT_FRAME)
    near, far = _with_other_end(rng, stream)
    met = Rendezvous(2, TOKEN, Observer(), timeout_s=_OPEN_S, connect_timeout_s=1.0)
    met.links.add(1, near, "there")
    try:
        met.await_all("connected")
    finally:
        met.links.close()
        far.close()
    return "read"


def frames(rng: random.Random) -> str:
    """What a worker receives of a root: a text, a piece of weights, a packet."""
    return _frames(rng)


_CASES: tuple[Case, ...] = (
    *(answer_handshake, dial_handshake, greeting, session, summary, farewell, frames, set_up),
    offers,
)
_WEIGHTS = (3, 3, 2, 2, 1, 1, 6, 4, 1)


# -- changes --------------------------------------------------------------------------------------


def _changed(rng: random.Random, data: bytes) -> bytes:
    """Some of its bytes are others, too few or too many."""
    changed = bytearray(data)
    for mutate in rng.choices(_BYTES, k=rng.randint(1, 3)):
        mutate(rng, changed)
    return bytes(changed)


def _maybe(rng: random.Random, data: bytes) -> bytes:
    return _changed(rng, data) if rng.random() < 0.5 else data


def _json(rng: random.Random, value: Any) -> bytes:
    """The value as text, with changes; rarely one that nests without end."""
    return _DEEP if rng.random() < 0.005 else json.dumps(_value(rng, value)).encode()


def _value(rng: random.Random, value: Any) -> Any:
    """The value as a peer reads it, half of the time with another value somewhere in it."""
    read = json.loads(json.dumps(value))
    return _with_another(rng, read) if rng.random() < 0.5 else read


def _with_another(rng: random.Random, value: Any) -> Any:
    """A telling value in the place of any part."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return rng.choice(_TELLING)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if rng.random() < 0.1:
        del value[key]
    else:
        value[key] = _with_another(rng, value[key])
    return value


def _alarm(*_: object) -> None:
    raise TimeoutError(f"one case took more than {ALARM_S} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=100_000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
