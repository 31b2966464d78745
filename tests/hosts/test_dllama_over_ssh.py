"""The real dllama's road over SSH, the program being the stand-in of `tests/plugin`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from pytest_dllama.backends.base import EngineOptions
from pytest_dllama.backends.dllama import asking
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.lab.requests.cluster import Cluster
from pytest_dllama.lab.requests.runner import run_request
from pytest_dllama.models import engine_facts
from tests.hosts.sshd import Sshd
from tests.plugin.backends.requests import REQUEST
from tests.plugin.backends.stand_in_program import write_program


@contextmanager
def over_ssh(
    inventory: Inventory, backend: DllamaBackend, logs: Path, program: str
) -> Iterator[Cluster]:
    """A cluster of these hosts, of which nothing is left behind."""
    hosts = [SshHost(entry, inventory, dllama_bin="dllama") for entry in inventory.hosts]
    for host in hosts:
        host.agent.open()
    cluster = Cluster(hosts, backend, logs, 1)
    try:
        yield cluster
    finally:
        cluster.stop()
        assert [host.close() for host in hosts] == [None] * len(hosts)
    all_of_them = psutil.process_iter(["cmdline"])
    assert [p for p in all_of_them if program in (p.info["cmdline"] or ())] == []


@pytest.fixture
def cluster(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> Iterator[Cluster]:
    """Two hosts with a dllama of their own, which the command line does not name."""
    program = write_program(tmp_path / "dllama-of-this-host")
    inventory = inventory_of(pis[:2], binary=str(program))
    with over_ssh(inventory, DllamaBackend("dllama"), tmp_path / "logs", str(program)) as made:
        yield made


def test_requests_one_after_the_other(cluster: Cluster, tmp_path: Path) -> None:
    for file in ("m.m", "t.t"):
        (tmp_path / file).write_bytes(b"sent to the root's host")
    request = replace(REQUEST, model_file=tmp_path / "m.m", tokenizer_file=tmp_path / "t.t")
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


@pytest.mark.skipif(not os.environ.get("DLLAMA_BIN"), reason="DLLAMA_BIN names no real dllama")
def test_a_real_dllama_over_ssh(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    """As in `test_requests_one_after_the_other`, with the program itself and the shipped model."""
    binary = shutil.which(os.environ["DLLAMA_BIN"])
    files = engine_facts.shipped_model("tiny")
    assert binary is not None
    assert files is not None
    inventory = inventory_of(pis[:2], binary=binary)
    backend = make_backend("dllama", EngineOptions(binary=binary))
    assert isinstance(backend, DllamaBackend)
    request = replace(
        REQUEST, model_file=files[0], tokenizer_file=files[1], prompt="One morning, Mina", steps=16
    )
    with over_ssh(inventory, backend, tmp_path / "logs", binary) as cluster:
        cluster.ensure(2)
        for n in range(2):
            run = run_request(cluster, request, 2, f"run{n}", lambda event: None)
            assert run.trace.text.startswith(" walked to the park with her red ball")
            assert len(run.trace.pieces) == 12
            assert sum(link.sent_payload_bytes for s in run.trace.steps for link in s.links) > 0
            assert any("The program answers as dllama v" in note for note in run.trace.notes)
        version = asking.engine_here(binary)
        fault = backend.output_fault(replace(request, prompt="One"))
        assert ("a stale token" in (fault or "")) == version.has_fault("stale_first_token")
