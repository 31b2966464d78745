"""The real dllama's road over SSH, the program being the stand-in of `tests/plugin`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pytest_dllama.backends.base import EngineRequest
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.lab.cluster import Cluster
from pytest_dllama.lab.runner import run_request
from tests.hosts.sshd import Sshd
from tests.plugin.backends import dllama_stand_in


@pytest.fixture
def cluster(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> Iterator[Cluster]:
    """Two hosts with a dllama of their own, which the command line does not name."""
    program = tmp_path / "dllama-of-this-host"
    source = str(Path(dllama_stand_in.__file__).resolve())
    program.write_text(
        f"#!{sys.executable}\nimport runpy\nrunpy.run_path({source!r}, run_name='__main__')\n"
    )
    program.chmod(0o755)
    inventory = inventory_of(pis[:2], binary=str(program))
    hosts = [SshHost(entry, inventory, dllama_bin="dllama") for entry in inventory.hosts]
    for host in hosts:
        host.agent.open()
    cluster = Cluster(hosts, DllamaBackend("dllama"), tmp_path / "logs", 1)
    yield cluster
    cluster.stop()
    assert [host.close() for host in hosts] == [None, None]
    own = [p for p in psutil.process_iter(["cmdline"]) if str(program) in (p.info["cmdline"] or ())]
    assert own == []


def test_requests_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    for file in ("m.m", "t.t"):
        (tmp_path / file).write_bytes(b"sent to the root's host")
    request = EngineRequest(
        model_file=tmp_path / "m.m",
        tokenizer_file=tmp_path / "t.t",
        prompt="hello world",
        steps=48,
        nthreads=1,
        buffer_float_type="q80",
        sync_mode="reduce",
        temperature=0.0,
        seed=1,
        timeout_s=60.0,
    )
    cluster.ensure(2)
    for n in range(2):
        run = run_request(cluster, request, 2, f"run{n}", lambda event: None)
        assert len(run.trace.tokens) == 43
        assert run.command[1:3] == ("inference", "--model")
        for rank, seen in enumerate(run.trace.ranks):
            assert seen.rank == rank
            assert seen.peak_rss_bytes
            assert 5 << 20 < seen.peak_rss_bytes < 100 << 20  # a small Python program
        worker = run.trace.ranks[1]  # the stand-in's root ends before anybody can look at it
        assert worker.peak_pss_bytes
        assert worker.peak_pss_bytes <= (worker.peak_rss_bytes or 0)
    (worker,) = cluster.workers(2)
    cluster.stop()  # its last lines come with its end
    log = worker.process.log_files[0].read_text(encoding="utf-8")
    assert log.count("The root node has connected") == 2
