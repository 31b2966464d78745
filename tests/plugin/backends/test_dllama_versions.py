"""Which dllama a program is; by a stand-in that answers as each version, and by a real one."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dllama_engine.formats.config import ModelConfig
from pytest_dllama.backends.base import EngineOptions
from pytest_dllama.backends.dllama import asking
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.backends.dllama.identify import identify
from pytest_dllama.backends.dllama.rules import refused_nodes
from pytest_dllama.backends.dllama.versions import UNKNOWN
from pytest_dllama.backends.program_file import why_no_program
from pytest_dllama.backends.registry import make_backend
from pytest_dllama.cli.main import main
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError
from pytest_dllama.lab.requests.runner import run_request
from pytest_dllama.models import engine_facts
from tests.plugin.backends import dllama_stand_in
from tests.plugin.backends.requests import REQUEST
from tests.plugin.backends.stand_in_program import write_program

NEW = {"stale_first_token", "add_bos_unset"}
# version -> the words that tell it, and the faults that it is said to have
TOLD = {
    "v0.5.2": ("v0.5.0 or later, before v0.9.2", {"binds_all", "one_run_a_worker", "rms_unset"}),
    "v0.10.6": ("v0.10.0 or later, before v0.11.0", {"binds_all", "one_run_a_worker"}),
    "v0.11.2": ("v0.11.0 or later, before v0.12.0", {"binds_all", "one_run_a_worker"}),
    "v0.12.1": ("v0.12.0 or later, before v0.13.0", {"binds_all", "stale_first_token"}),
    "v0.13.0": (
        "v0.13.0 or later, before v0.13.6",
        {"binds_all", "stale_first_token", "last_place_aborts"},
    ),
    "v0.14.2": ("v0.13.6 or later, before v0.15.0", {"binds_all", "stale_first_token"}),
    "v0.15.4": ("v0.15.0 or later, before v0.16.1", NEW | {"binds_all"}),
    "v0.16.3": ("v0.16.1 or later, before v0.16.4", NEW | {"binds_all"}),
    "v0.16.4": ("v0.16.4 or later", NEW),
    "fork": ("the fork, based on v0.16.1 or later", {"binds_all", "ring_wrong", "add_bos_unset"}),
}
OLD = ("v0.5.2", "v0.10.6", "v0.11.2")


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    """Makes the stand-in of a version."""

    def make(version: str) -> str:
        return str(write_program(tmp_path / f"dllama-{version}", version))

    return make


@pytest.mark.parametrize("version", TOLD)
def test_each_version_is_told_by_its_answers(
    program: Callable[[str], str], version: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words, faults = TOLD[version]
    engine = asking.engine_here(program(version))
    assert engine.version == words
    assert {fault.name for fault in engine.faults} == faults
    flags = dllama_stand_in.VERSIONS[version] - dllama_stand_in.COMMON
    assert engine.flags == flags
    assert main(["engine-info", program(version)]) == 0
    shown = capsys.readouterr().out
    assert f"dllama {words}" in shown
    assert ("suites:  refused:" in shown) == (version in OLD)


def test_a_program_is_asked_once(
    program: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = program("v0.16.3")
    first = asking.engine_here(binary)
    monkeypatch.setattr(asking, "identify", lambda *_: UNKNOWN)
    assert asking.engine_here(binary) is first
    Path(binary).write_text("#!/bin/sh\necho something else\n")
    assert asking.engine_here(binary) == UNKNOWN


@pytest.mark.parametrize(
    ("version", "places"), [("v0.12.1", "48"), ("v0.13.0", "49"), ("v0.14.2", "49"), ("fork", "48")]
)
def test_a_version_that_may_abort_at_the_last_place_gets_one_more(
    program: Callable[[str], str], version: str, places: str
) -> None:
    """v0.13.6, which aborts, answers as v0.14.2 does; a place more harms nobody."""
    backend = DllamaBackend("dllama", engine=asking.engine_here(program(version)))
    asked = replace(REQUEST, max_seq_len=48)
    command = backend.root_command(asked, (), str(os.getpid()))
    assert command[command.index("--max-seq-len") + 1] == places


def test_a_program_that_is_no_dllama(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "other"
    path.write_text("#!/bin/sh\necho 'usage: other FILE'\n")
    path.chmod(0o755)
    assert main(["engine-info", str(path)]) == 0
    assert "does not answer as any known dllama" in capsys.readouterr().out
    assert main(["engine-info", str(tmp_path / "none")]) == 2
    assert "no such program" in capsys.readouterr().err


def _elf(machine: int) -> bytes:
    return b"\x7fELF\x02\x01\x01" + b"\0" * 11 + machine.to_bytes(2, "little") + b"\0" * 200


OWN, OTHER = (183, 62) if platform.machine() == "aarch64" else (62, 183)
NO_PROGRAMS = {  # what stands in the file, its mode -> words
    "of a Pi": (_elf(OTHER), 0o755, "build it here"),
    "without the right": (_elf(OWN), 0o644, "chmod +x"),
    "cut off": (_elf(OWN), 0o755, "may be cut off"),
    "empty": (b"", 0o755, "an empty file"),
    "text": (b"hello", 0o755, "neither an ELF file nor a script"),
    "of Windows": (b"MZ\x90", 0o755, "a Windows program"),
    "script": (b"#!/no/such/shell\n", 0o755, "a script for /no/such/shell, which is not there"),
}


@pytest.mark.parametrize("kind", NO_PROGRAMS)
def test_why_a_file_is_no_program_is_told(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, mode, words = NO_PROGRAMS[kind]
    path = tmp_path / "폴더 with blanks"
    path.write_bytes(data)
    path.chmod(mode)
    assert main(["engine-info", str(path)]) == 2
    assert words in capsys.readouterr().err
    with pytest.raises(ConfigError, match=re.escape(words)):
        make_backend("dllama", EngineOptions(binary=str(path)))


def test_a_folder_and_a_link_to_nothing_are_no_programs(tmp_path: Path) -> None:
    (tmp_path / "dllama").write_bytes(b"#!/bin/sh\n")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    assert f"a folder; give the program in it ({tmp_path}/dllama)" in why_no_program(str(tmp_path))
    assert f"a link to {tmp_path}/gone, which is not there" in why_no_program(str(link))


def test_another_compiled_program_is_refused_before_a_cell_starts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = str(Path(shutil.which("ls") or "").resolve())
    with pytest.raises(ConfigError, match="is no dllama: it does not hold --buffer-float-type, a"):
        make_backend("dllama", EngineOptions(binary=found))
    assert main(["engine-info", found]) == 0
    assert f"refused: {found} is no dllama" in capsys.readouterr().out
    held = b"\x7fELF with --buffer-float-type"  # packed, or one that answers otherwise
    assert identify(lambda _: "What?", program=held) == UNKNOWN


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hangs"
    path.write_text("#!/bin/sh\nsleep 600 & wait\n")
    path.chmod(0o755)
    monkeypatch.setattr(asking, "ANSWER_S", 0.2)
    assert asking.engine_here(str(path)) == UNKNOWN


def test_an_answer_that_never_changes_ends_the_questions() -> None:
    asked: list[object] = []

    def ask(arguments: object) -> str:
        asked.append(arguments)
        return "🚨 Critical error: Unknown option: --other"

    assert identify(ask) == UNKNOWN
    assert len(asked) == 1


@pytest.mark.parametrize("version", OLD)
def test_too_old_versions_are_refused_before_anything_starts(
    program: Callable[[str], str], version: str, tmp_path: Path
) -> None:
    binary = program(version)
    with pytest.raises(ConfigError, match=r"not supported.*use v0\.12\.0 or later.*import-log"):
        make_backend("dllama", EngineOptions(binary=binary))
    cluster = Cluster([LocalHost()] * 2, DllamaBackend(binary), tmp_path / "logs", 1)
    with pytest.raises(ClusterError, match=r"on localhost is dllama .* not supported"):
        cluster.ensure(2)


def test_an_older_one_is_driven_without_what_it_lacks(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    more = ("--weights-float-type", "q40", "--net-turbo", "0", "--host", "0.0.0.0")
    binary = program("v0.14.2")
    cluster = Cluster([LocalHost()] * 2, DllamaBackend(binary, more), tmp_path / "logs", 1)
    try:
        cluster.ensure(2)
        (worker,) = cluster.workers(2)
        run = run_request(cluster, REQUEST, 2, "run", lambda event: None)
    finally:
        cluster.stop()
    assert "--host" not in worker.command
    assert worker.command[-2:] == ("--net-turbo", "0")
    assert "--weights-float-type" not in run.command
    said = "\n".join(run.trace.notes)
    assert "answers as dllama v0.13.6 or later, before v0.15.0" in said
    assert "Passed over, for this dllama does not know it: --weights-float-type, --host." in said
    assert "listen on all addresses of their machines (0.0.0.0)" in said


def test_the_newest_listens_only_where_it_is_told(
    program: Callable[[str], str], tmp_path: Path
) -> None:
    backend = DllamaBackend(program("v0.16.4"))
    cluster = Cluster([LocalHost()] * 2, backend, tmp_path / "logs", 1)
    try:
        cluster.ensure(2)
        (worker,) = cluster.workers(2)
        assert worker.command[2:4] == ("--host", "127.0.0.1")
        run = run_request(cluster, REQUEST, 2, "run", lambda event: None)
    finally:
        cluster.stop()
    assert "all addresses" not in "\n".join(run.trace.notes)
    assert "--host" not in backend.worker_command("pi4.local", 9999, 1, "")  # takes numbers only


def tiny() -> ModelConfig:
    files = engine_facts.shipped_model("tiny")
    assert files is not None
    return engine_facts.file_config(files[0])


@pytest.mark.parametrize("nodes", [1, 2, 4, 8])
def test_node_counts_that_dllama_can_split(nodes: int) -> None:
    assert refused_nodes(tiny(), nodes) is None


@pytest.mark.parametrize(
    ("nodes", "why"),
    [(3, "key/value heads (8) cannot be cut into 3 equal parts"), (16, "heads (8)")],
)
def test_node_counts_that_it_cannot_are_refused_in_words(nodes: int, why: str) -> None:
    with pytest.raises(ConfigError) as caught:
        DllamaBackend("dllama").check_model(tiny(), nodes)
    assert why in str(caught.value)
    assert "use 1, 2, 4, 8" in str(caught.value)


def test_a_pipe_is_no_program_and_is_not_waited_for(tmp_path: Path) -> None:
    pipe = tmp_path / "dllama"
    os.mkfifo(pipe, 0o755)
    with pytest.raises(OSError, match="no regular file, so no program"):
        asking.engine_here(str(pipe))


@pytest.mark.skipif(not os.environ.get("DLLAMA_BIN"), reason="DLLAMA_BIN names no real dllama")
def test_a_real_dllama_runs_the_shipped_model(tmp_path: Path) -> None:
    binary = shutil.which(os.environ["DLLAMA_BIN"])
    assert binary is not None
    engine = asking.engine_here(binary)
    assert engine.family == "current", engine
    backend = make_backend("dllama", EngineOptions(binary=binary))
    files = engine_facts.shipped_model("tiny")
    assert files is not None
    backend.check_model(engine_facts.file_config(files[0]), 2)  # type: ignore[attr-defined]
    cluster = Cluster([LocalHost()] * 2, backend, tmp_path / "logs", 1)
    wanted = replace(
        REQUEST,
        model_file=files[0],
        tokenizer_file=files[1],
        prompt="One morning, Mina",
        steps=16,
    )
    try:
        cluster.ensure(2)
        for n in range(2):
            trace = run_request(cluster, wanted, 2, f"run{n}", lambda event: None).trace
            assert trace.text.startswith(" walked to the park with her red ball")
            assert len(trace.pieces) == 12
    finally:
        cluster.stop()
    assert any(isinstance(note, str) and engine.version in note for note in trace.notes)
