"""dllama of a revision, built on the hosts that take part: once each, with the compiler's words."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.fleet import RemoteHosts
from pytest_dllama.hosts.fleet.provision import Wanted
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.packages.other_engine import OtherEngine
from pytest_dllama.lab.builds.dllama import dllama_source
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models.engine_facts import shipped_model
from tests.hosts.sshd import Sshd

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")
GOOD = (
    "dllama:\n\tprintf '#!/bin/sh\\necho dllama-of-the-base $$*\\n' > dllama\n\tchmod +x dllama\n"
)
BAD = "dllama:\n\techo 'fatal error: no vulkan.h' >&2 && exit 2\n"


def _engine(tmp_path: Path, makefile: str) -> OtherEngine:
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "Makefile").write_text(makefile)
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", "-C", str(checkout), *WHO, *words], check=True)
    source = dllama_source(str(checkout), "HEAD")
    return OtherEngine(commit=source.revision.commit, source=source.tar)


def _hosts(inventory: Inventory, other: OtherEngine) -> RemoteHosts:
    return RemoteHosts(inventory, Wanted(other=other, sides=2), "dllama-base", measures_links=False)


def _model() -> Path:
    files = shipped_model("tiny")
    assert files is not None
    return files[0]


def test_each_host_builds_it_once_and_runs_it(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    other = _engine(tmp_path, GOOD)
    built = []
    for _ in range(2):
        hosts = _hosts(inventory_of(pis[:2]), other)
        found = hosts.prepare(2, 2, [_model()], Silent())
        for n, host in enumerate(found):
            process = host.start(["dllama-base", "worker"], f"p{n}", tmp_path / "logs", {})
            assert process.read_line(60.0) == "dllama-of-the-base worker\n"
            assert process.wait(60.0) == 0
        place = f"work/dllama/{other.commit[:16]}/dllama"
        programs = [server.folder / place for server in pis[:2]]
        built.append({path: path.stat().st_mtime_ns for path in programs})
        assert hosts.close() == []
    assert built[0] == built[1]
    assert len(built[0]) == 2


def test_what_does_not_build_there_is_told_with_the_compilers_words(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    hosts = _hosts(inventory_of(pis[:1]), _engine(tmp_path, BAD))
    with pytest.raises(
        HostError, match=r"does not build there \(make dllama\): fatal error: no vu"
    ):
        hosts.prepare(1, 1, [_model()], Silent())
    assert hosts.close() == []
