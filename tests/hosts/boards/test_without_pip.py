"""A Python without ensurepip, as Debian's without python3-venv: by the wheelhouse, or refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.provision import Wanted, gather_facts, make_each
from pytest_dllama.hosts.packages.agent_archive import agent_archive
from pytest_dllama.hosts.packages.wheel import engine_wheel
from pytest_dllama.hosts.ssh.host import SshHost

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory) -> Path:
    """This interpreter over a standard library without ensurepip and without pip."""
    prefix = tmp_path_factory.mktemp("bare")
    library = Path(json.__file__).parent.parent  # lib/python3.X
    (prefix / "bin").mkdir()
    mine = prefix / "lib" / library.name
    mine.mkdir(parents=True)
    for item in library.iterdir():
        if item.name not in ("ensurepip", "site-packages", "dist-packages"):
            (mine / item.name).symlink_to(item)
    for shared in library.parent.glob("libpython*"):
        (prefix / "lib" / shared.name).symlink_to(shared)
    program = prefix / "bin" / "python3"
    shutil.copy(Path(sys.executable).resolve(), program)
    done = subprocess.run(
        [program, "-c", "import json, ssl; import ensurepip"], capture_output=True, text=True
    )
    assert "No module named 'ensurepip'" in done.stderr
    return program


@pytest.fixture
def request_of(tmp_path, bare_python):
    """What the controller asks of the agent."""

    def make(wheelhouse: Path | None) -> dict[str, Any]:
        wheel = engine_wheel()
        (tmp_path / "work").mkdir(exist_ok=True)
        (tmp_path / "work" / wheel.name).write_bytes(wheel.data)
        return {
            "folder": str(tmp_path / "work"),
            "environment": str(tmp_path / "work" / "env"),
            "python": str(bare_python),
            "wheelhouse": str(wheelhouse) if wheelhouse else None,
            "wheel": str(tmp_path / "work" / wheel.name),
        }

    return make


def _ask(tmp_path: Path, what: str, request: dict[str, Any]) -> dict[str, Any]:
    name, data = agent_archive()
    (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-I", tmp_path / name, what],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_a_wheelhouse_with_pip_is_enough(boards, request_of, tmp_path) -> None:
    request = request_of(boards.file.parent / "wheelhouse")
    assert _ask(tmp_path, "make-venv", request) == {"made": True}
    made = _ask(tmp_path, "install", request)
    assert made["made"]
    assert made["numpy"]
    program = tmp_path / "work" / "env" / "bin" / "python"
    code = "import dllama_engine.cli, numpy; print(dllama_engine.cli.__name__)"
    done = subprocess.run([program, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "dllama_engine.cli\n"
    assert not list((tmp_path / "work" / "env").glob("lib/*/site-packages/pip"))


def test_without_one_the_host_is_refused_with_what_to_do(
    make_sshd, inventory_of, bare_python
) -> None:
    inventory = inventory_of([make_sshd()], python=str(bare_python), provision=True)
    host = SshHost(inventory.hosts[0], inventory)
    told: list[tuple[str, str, str]] = []
    seen, faults = gather_facts([host], lambda *step: told.append(step))
    assert faults == {}
    fault = make_each([host], seen, Wanted(), lambda *step: told.append(step))["pi1"]
    assert isinstance(fault, HostError)
    assert "its python has neither pip nor ensurepip; run there: sudo apt install python3-venv" in (
        str(fault)
    )
    assert "or give a wheelhouse that holds pip" in str(fault)
    assert told[-1] == ("pi1", "venv", "failed")
    host.close()
