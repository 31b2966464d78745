"""Token, handshake, memory admission and procmem: the small parts of a session's set-up."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.cluster.placement import CoreSlots
from dllama_engine.cluster.session import SessionConfig
from dllama_engine.cluster.setup.admission import check_memory
from dllama_engine.errors import HandshakeError, InsufficientMemoryError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import RankMemory
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.system import process_memory
from dllama_engine.system.mapped_pages import drop_pages
from dllama_engine.version import package_version
from dllama_engine.wire.connecting import token as token_file
from dllama_engine.wire.connecting.handshake import DialerRole, WorkerInfo, answer, dial, own_info
from tests.data import MODELS as GOLDEN


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    yield near, far
    near.close()
    far.close()


def shake(
    ends: tuple[socket.socket, socket.socket], near_token: bytes, far_token: bytes
) -> tuple[WorkerInfo | Exception, DialerRole | Exception]:
    """Both sides at once: what each got or raised."""
    answers: list[DialerRole | Exception] = []

    def listen() -> None:
        try:
            answers.append(answer(ends[1], far_token, lambda role: own_info(3), 2.0))
        except HandshakeError as error:
            answers.append(error)
            ends[1].close()

    thread = threading.Thread(target=listen)
    thread.start()
    dialed: WorkerInfo | Exception
    try:
        dialed = dial(ends[0], DialerRole.PEER, near_token, "there:1", 2.0)
    except HandshakeError as error:
        dialed = error
        ends[0].close()
    thread.join()
    return dialed, answers[0]


def test_both_hold_the_token(ends: tuple[socket.socket, socket.socket]) -> None:
    info, role = shake(ends, b"secret", b"secret")
    assert role is DialerRole.PEER
    assert isinstance(info, WorkerInfo)
    assert (info.n_threads, info.version) == (3, package_version())
    assert WorkerInfo.from_json(info.to_json()) == info


def test_each_side_refuses_another_token(ends: tuple[socket.socket, socket.socket]) -> None:
    dialed, answered = shake(ends, b"secret", b"other")
    assert "there:1 holds another cluster's token" in str(dialed)
    assert "it left during the handshake" in str(answered)


def test_a_recorded_handshake_cannot_be_replayed(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    """The same bytes a second time prove nothing: the listener's nonce is another."""
    near, far = ends
    sent = bytearray()

    class Recording:
        def __getattr__(self, name: str) -> object:
            return getattr(near, name)

        def sendall(self, data: bytes) -> None:
            sent.extend(data)
            near.sendall(data)

    shaken = shake((Recording(), far), b"secret", b"secret")  # type: ignore[arg-type]
    assert shaken[1] is DialerRole.PEER
    again, there = socket.socketpair()
    again.sendall(bytes(sent))
    with pytest.raises(HandshakeError, match="another cluster's token"):
        answer(there, b"secret", lambda role: own_info(1), 2.0)
    again.close()
    there.close()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data: bytes) -> None:
    near, far = socket.socketpair()
    near.sendall(data)
    near.shutdown(socket.SHUT_WR)
    with pytest.raises(HandshakeError):
        answer(far, b"secret", lambda role: own_info(1), 2.0)
    near.close()
    far.close()


def test_silence_ends_at_the_deadline(ends: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(HandshakeError, match=r"nothing more for 0\.05 s"):
        answer(ends[1], b"secret", lambda role: own_info(1), 0.05)
    with pytest.raises(HandshakeError, match=r"there:1 .* did not answer within 0\.05 s"):
        dial(ends[0], DialerRole.ROOT, b"secret", "there:1", 0.05)


# -- token ----------------------------------------------------------------------------------------


@pytest.fixture
def config_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv(token_file.ENVIRONMENT_NAME, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_the_users_token_is_made_once_and_private(config_home: Path) -> None:
    token = token_file.cluster_token()
    path = config_home / "dllama-py" / "token"
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_file.cluster_token() == token
    assert [file.name for file in path.parent.iterdir()] == ["token"]


def test_processes_that_start_together_agree(config_home: Path) -> None:
    first = token_file.cluster_token()
    token_file._create(token_file.user_token_path())  # as one that lost the race does
    assert token_file.cluster_token() == first


def test_a_token_that_others_may_read_is_refused(config_home: Path) -> None:
    token_file.cluster_token()
    token_file.user_token_path().chmod(0o644)
    with pytest.raises(HandshakeError, match="chmod 600"):
        token_file.cluster_token()


def test_file_before_environment_before_user(
    config_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config_home / "secret"
    file.write_text("  from the file\n")
    monkeypatch.setenv(token_file.ENVIRONMENT_NAME, "from the environment")
    assert token_file.cluster_token(file) == b"from the file"
    assert token_file.cluster_token() == b"from the environment"
    monkeypatch.setenv(token_file.ENVIRONMENT_NAME, "short")
    with pytest.raises(HandshakeError, match="DLLAMA_PY_TOKEN has 5 bytes, expected 8 to 4096"):
        token_file.cluster_token()


def test_no_place_for_a_token_names_the_remedy(
    config_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", "/proc/nowhere")
    with pytest.raises(HandshakeError, match="--token-file or DLLAMA_PY_TOKEN"):
        token_file.cluster_token()


# -- memory ---------------------------------------------------------------------------------------

GIB = 1 << 30


def info(boot_id: str, available_bytes: int, hostname: str) -> WorkerInfo:
    return WorkerInfo(hostname, 1, boot_id, available_bytes, 1, "0")


def test_ranks_of_one_host_add_up() -> None:
    needed = {rank: RankMemory(3 * GIB, GIB, GIB, GIB // 2) for rank in range(3)}
    infos = {
        0: info("a", 12 * GIB, "pi-1"),
        1: info("a", 11 * GIB, "pi-1"),
        2: info("b", 6 * GIB, "pi-2"),
    }
    check_memory(needed, infos)
    with pytest.raises(InsufficientMemoryError) as caught:
        check_memory(needed, infos | {1: info("a", 9 * GIB, "pi-1")})
    words = str(caught.value)
    assert "host pi-1 has 9.00 GiB available and needs 11.00 GiB (root: weights 3.00 GiB" in words
    assert "rank 1: weights 3.00 GiB + KV cache 1.00 GiB + buffers 1.00 GiB + program" in words
    assert "pi-2" not in words
    assert "--max-seq-len" in words


def test_peak_memory_starts_anew() -> None:
    peak = process_memory.PeakMemory()
    peak.start()
    before_bytes = peak.rss_bytes
    block = np.ones(64 << 20, np.uint8)
    peak.sample()
    assert peak.rss_bytes - before_bytes > 60 << 20
    assert (peak.pss_bytes or GIB) > 60 << 20
    del block
    peak.start()
    assert peak.rss_bytes - before_bytes < 30 << 20


def test_peak_memory_is_sampled_where_the_mark_cannot_be_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_memory, "_CLEAR_REFS", Path("/proc/nowhere"))
    monkeypatch.setattr(process_memory, "_ROLLUP", Path("/proc/nowhere"))
    peak = process_memory.PeakMemory()
    peak.start()
    assert peak.rss_bytes > 1 << 20
    assert peak.pss_bytes is None


def test_available_memory_is_the_smaller_of_host_and_container(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(process_memory, "left_bytes", lambda: None)
    assert process_memory.available_bytes() > 7 << 20
    monkeypatch.setattr(process_memory, "left_bytes", lambda: 7 << 20)
    assert process_memory.available_bytes() == 7 << 20


def test_dropped_pages_no_longer_count(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(64 << 20)
    mapped = np.memmap(path, np.uint8, "r")
    view = np.asarray(mapped[4097:]).reshape(-1, 1)
    resident = process_memory._field_bytes
    before_bytes = resident(process_memory._STATUS, "RssFile") or 0
    view.sum()
    read_bytes = (resident(process_memory._STATUS, "RssFile") or 0) - before_bytes
    drop_pages(view)
    dropped_bytes = (resident(process_memory._STATUS, "RssFile") or 0) - before_bytes
    assert read_bytes > 60 << 20
    assert dropped_bytes < 8 << 20


def test_dropped_pages_are_read_again() -> None:
    with ModelFile.open(GOLDEN / "llama_f32.m") as model:
        for spec in model.specs:
            raw = model.raw(spec)
            before = raw.copy()
            drop_pages(raw)
            assert (model.raw(spec) == before).all()
    drop_pages(np.zeros(4))  # not mapped: nothing to do


# -- session config -------------------------------------------------------------------------------


def test_session_config_survives_the_wire() -> None:
    config = SessionConfig(
        session_id="s",
        rank=2,
        plan=make_plan(parse_shape("tiny-gqa"), 3),
        batch_size=4,
        max_seq_len=64,
        kv_type=FloatType.F16,
        timeout_s=1.5,
        workers=(("a", 1), ("b", 2)),
        slots=CoreSlots(1, 2, 4),
    )
    data = config.to_json()
    assert SessionConfig.from_json(data) == config
    wrong = ({"rank": 0}, {"rank": 3}, {"workers": []}, {"plan": None}, {"batch_size": "x"})
    for change in (*wrong, {"slots": None}, {"slots": {"first": 0}}, {"slots": {"first": "x"}}):
        with pytest.raises(HandshakeError, match="session config"):
            SessionConfig.from_json(data | change)
    with pytest.raises(HandshakeError, match="does not fit"):
        SessionConfig.from_json({key: data[key] for key in data if key != "plan"})
