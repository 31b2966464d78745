"""A machine behind SSH behaves as a host does: lines, logs, secrets, ends."""

from __future__ import annotations

import getpass
import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from dllama_engine.kernels.image import store
from dllama_engine.kernels.image.file import decode
from pytest_dllama.backends.base import EngineRequest
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet import provision as provision_module
from pytest_dllama.hosts.fleet.clock import clock_offset
from pytest_dllama.hosts.fleet.provision import Wanted, provision
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.hosts.packages.kernel_image import image_for
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.lab.requests.cluster import Cluster
from pytest_dllama.lab.requests.runner import run_request
from pytest_dllama.lab.requests.tracing import joined
from pytest_dllama.models.engine_facts import shipped_model
from tests.engine.processes import GENEROUS_S
from tests.engine.tracing.trace_format import problems
from tests.hosts import sshd
from tests.made_once import board_kernels

pytestmark = pytest.mark.long


@pytest.fixture
def host(pis, inventory_of):
    inventory = inventory_of(pis[:1])
    host = SshHost(inventory.hosts[0], inventory)
    yield host
    host.close()


@pytest.fixture
def lone_host(make_sshd, inventory_of) -> Iterator[tuple[SshHost, Path]]:
    """A host with its working folder, in which nothing lies of other tests."""
    server = make_sshd()
    inventory = inventory_of([server])
    host = SshHost(inventory.hosts[0], inventory)
    yield host, server.folder / "work"
    host.close()


def _start(host: SshHost, tmp_path: Path, code: str, name: str = "p", **secrets: str):
    return host.start([sys.executable, "-c", code], name, tmp_path / "logs", secrets)


def test_lines_logs_and_end(host, tmp_path) -> None:
    process = _start(host, tmp_path, "import sys; print('a\\né'); print('oops', file=sys.stderr)")
    assert [process.read_line(GENEROUS_S) for _ in range(2)] == ["a\n", "é\n"]
    assert process.read_line(GENEROUS_S) is None
    assert process.read_line(GENEROUS_S) is None  # the end stays the end
    assert process.wait(GENEROUS_S) == 0
    process.stop()
    assert process.error_tail() == "oops"
    assert [file.read_text() for file in process.log_files] == ["a\né\n", "oops\n"]


def test_a_last_line_without_end_is_kept(host, tmp_path) -> None:
    process = _start(host, tmp_path, "import sys; sys.stdout.write('half')")
    assert process.read_line(GENEROUS_S) == "half\n"
    assert process.wait(GENEROUS_S) == 0
    assert process.log_files[0].read_text() == "half"


def test_exit_codes_come_back(host, tmp_path) -> None:
    process = _start(host, tmp_path, "import sys; sys.exit(7)")
    assert process.wait(GENEROUS_S) == 7


def test_secrets_are_on_no_command_line_and_in_no_file(lone_host, tmp_path) -> None:
    host, work = lone_host
    secret, mark = uuid.uuid4().hex, uuid.uuid4().hex
    code = f"import os, time; print(os.environ['KEY'], flush=True); time.sleep(60)  # {mark}"
    process = _start(host, tmp_path, code, KEY=secret)
    assert process.read_line(GENEROUS_S) == f"{secret}\n"
    lines = _command_lines()
    assert any(mark.encode() in line for line in lines)
    assert not any(secret.encode() in line for line in lines)
    with_secret, modes = [], set()
    for file in work.rglob("*"):
        with suppress(FileNotFoundError):  # written beside and renamed meanwhile
            if file.is_file():
                modes.add(oct(file.stat().st_mode & 0o077))
                with_secret += [file.name] if secret.encode() in file.read_bytes() else []
    assert with_secret == ["stdout.log"]  # it printed the secret itself
    assert modes == {"0o0"}
    process.stop()
    assert process.wait(0) == -15


def _command_lines() -> list[bytes]:
    """Of all processes of this machine; others come and go meanwhile."""
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            lines.append((process / "cmdline").read_bytes())
    return lines


def test_a_program_that_is_not_there(host, tmp_path) -> None:
    with pytest.raises(HostError, match=r"no-such-program cannot be started: pi1 .*No such file"):
        host.start(["no-such-program"], "p", tmp_path / "logs", {})


def test_the_session_leaves_nothing(host, pis, tmp_path) -> None:
    stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); print('on', flush=True); "
    process = _start(host, tmp_path, stubborn + "time.sleep(60)", "stubborn")
    assert process.read_line(GENEROUS_S) == "on\n"
    _start(host, tmp_path, "import time; time.sleep(60)", "forgotten")
    process.stop(grace_s=0.3)
    assert process.wait(0) == -9
    assert host.close() is None
    assert sshd.left_behind(pis[0].folder) == []
    assert not (pis[0].folder / "work" / "run").exists()


def test_lines_go_on_after_a_lost_connection(host, pis, tmp_path) -> None:
    code = f"import pathlib, time\nprint('one', flush=True)\nd = pathlib.Path({str(tmp_path)!r})\n"
    code += "while not (d / 'go').exists(): time.sleep(0.05)\nprint('two')"
    process = _start(host, tmp_path, code)
    assert process.read_line(GENEROUS_S) == "one\n"
    pis[0].cut_connections()
    (tmp_path / "go").touch()
    assert process.read_line(GENEROUS_S) == "two\n"
    assert process.read_line(GENEROUS_S) is None
    assert process.wait(GENEROUS_S) == 0
    assert process.log_files[0].read_text() == "one\ntwo\n"


def test_by_way_of_a_jump_host(make_sshd, inventory_of, tmp_path) -> None:
    jump, board = make_sshd(), make_sshd()
    way = f"{getpass.getuser()}@{jump.address}:{jump.port}"
    inventory = inventory_of([board], jump=way)
    host = SshHost(inventory.hosts[0], inventory)
    process = _start(host, tmp_path, "print('far')")
    assert process.read_line(GENEROUS_S) == "far\n"
    assert len(jump.sessions()) > 0
    host.close()


def test_a_root_on_this_machine_and_a_worker_on_a_board(
    boards, pis, inventory_of, tmp_path
) -> None:
    shared = {"folder": str(boards.folder), "python": boards.python, "provision": True}
    inventory = inventory_of(pis[1:2], **shared)
    host = SshHost(inventory.hosts[0], inventory)
    provision([host], Wanted(), lambda *step: None)  # its kernels are compiled
    cluster = Cluster([LocalHost(), host], EmbeddedBackend(), tmp_path / "logs", 1)
    try:
        cluster.ensure(2)
        files = shipped_model("tiny")
        assert files
        request = EngineRequest(*files, "One", 12, 1, "q80", "reduce", 0.0, 1, 60.0, trace=True)
        run = run_request(cluster, request, 2, "root", lambda event: None)
    finally:
        cluster.stop()
        host.close()
    assert [rank.rank for rank in run.trace.ranks] == [0, 1]
    traced = json.loads(joined(run.trace.trace_parts))  # the board's spans came with it
    assert problems(traced)[:5] == []
    assert {event["pid"] for event in traced["traceEvents"]} == {0, 1}
    assert cluster.hosts[1].address == pis[1].address


def _keep_for_hosts(image: bytes) -> None:
    """Where `image_for` looks, before it would compile."""
    header, _ = decode(image)
    name = f"{header.sources[:12]}-{header.variant}-{header.target}.image"
    store.keep(image, store.folder() / name)


def test_a_host_that_refuses_the_image_compiles_for_itself(
    boards, pis, inventory_of, tmp_path, monkeypatch
) -> None:
    """Kernels of a Raspberry Pi 3, sent to this machine; a wheelhouse has the compiler."""
    _keep_for_hosts(board_kernels()[0].read_bytes())
    board = image_for({"machine": "aarch64", "cpu_features": ["asimd"], "cpu_part": "0xd03"})
    assert board is not None
    assert board.target == "cortex-a53"
    monkeypatch.setattr(provision_module, "image_for", lambda facts, *engine: board)
    shared = {"folder": str(tmp_path / "work"), "python": boards.python, "provision": True}
    inventory = inventory_of(pis[:1], **shared)
    host = SshHost(inventory.hosts[0], inventory)
    steps = []
    wanted = Wanted(wheelhouse=boards.file.parent / "wheelhouse")
    try:
        (ready,) = provision([host], wanted, lambda *step: steps.append(step[1:])).values()
    finally:
        host.close()
    assert ready.versions["numba"]
    assert steps[-1] == ("kernels", "ok")
    images = list((tmp_path / "work/cache").rglob("*.image"))
    assert [image.name.partition("-native")[1] for image in images] == ["-native"]


def test_the_clock_of_the_same_machine(host) -> None:
    """The true offset is 0: the bound holds, and it is none of starting a program."""
    host.agent.ensure_open()
    found = clock_offset(host.agent)
    assert abs(found.offset_s) <= found.error_s + 1e-6  # the microsecond that it is told in
