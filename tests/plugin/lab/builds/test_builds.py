"""Builds of other revisions: made once, never half, and each failure with its words."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dllama_engine.cli.flags.parsing import root_flags
from pytest_dllama.cli.main import main
from pytest_dllama.config.baseline import parse_baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.lab.builds import revisions
from pytest_dllama.lab.builds.checkout import Revision, builds_folder, clear_builds, list_builds
from pytest_dllama.lab.builds.commits import revision_at
from pytest_dllama.lab.builds.dllama import build_dllama, dllama_source
from pytest_dllama.lab.builds.revisions import Build
from pytest_dllama.lab.pairs.making import make_sides
from tests.plugin.backends import dllama_stand_in, stand_in_program

WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")
MAKEFILE = "dllama:\n\tcp dllama.in dllama && chmod +x dllama && echo built >> {log}\n"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of a program that answers as dllama does."""
    folder = tmp_path / "distributed-llama"
    folder.mkdir()
    (folder / "dllama.in").write_text(stand_in_program.text())
    (folder / "Makefile").write_text(MAKEFILE.format(log=tmp_path / "built.log"))
    _commit(folder)
    return folder


def _commit(folder: Path) -> None:
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(folder), *WHO, *words], check=True)


def test_a_revision_of_dllama_is_built_once(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    program = tmp_path / "dllama"
    program.write_bytes((checkout / "dllama.in").read_bytes())
    program.chmod(0o755)
    given = {"engine": "dllama", "dllama-bin": str(program), "nodes": "1", "baseline": "self"}
    config = LabConfig.of_texts(given, tmp_path)
    for _ in range(2):
        spec = parse_baseline(f"dllama:{checkout}@HEAD")
        base, new = make_sides(spec, config, 1, told.append)
        assert base.label.startswith("dllama HEAD (")
        assert Path(base.config.dllama_bin).parent.parent == builds_folder()
        assert new.config.dllama_bin == str(program)
    assert (tmp_path / "built.log").read_text() == "built\n"
    assert [line.partition(" (")[0] for line in told] == ["building dllama HEAD"]
    ((what, where, size),) = list_builds()
    assert what.split()[1] == "dllama"
    assert (where, size > 0) == (str(checkout), True)
    main(["builds", "list"])
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1] == f"1 of them, {size / 1e6:.0f} MB in {builds_folder()}"
    assert clear_builds() == 1
    assert list_builds() == []
    main(["builds", "list"])
    assert capsys.readouterr().out == f"no builds in {builds_folder()}\n"


def test_what_does_not_build_says_why_and_leaves_nothing(checkout: Path) -> None:
    (checkout / "Makefile").write_text("dllama:\n\techo no such compiler >&2 && exit 3\n")
    _commit(checkout)
    with pytest.raises(ConfigError, match=r"cannot be built \(make dllama\): no such compiler"):
        build_dllama(dllama_source(str(checkout), "HEAD"), print)
    assert list_builds() == []
    assert [path.name for path in builds_folder().iterdir() if path.is_dir()] == []


BUILDING = """
import sys
from pytest_dllama.lab.builds.dllama import build_dllama, dllama_source
build_dllama(dllama_source(sys.argv[1], "HEAD"), print)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_what_builds_ends_with_whoever_asked_for_it(
    checkout: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """Compilers are grandchildren, of make."""
    pid = tmp_path / "compiler.pid"
    (checkout / "Makefile").write_text(
        f"dllama:\n\techo $$$$ > {pid}.new; mv {pid}.new {pid}; exec sleep 600\n"
    )
    _commit(checkout)
    command = [sys.executable, "-c", BUILDING, str(checkout)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as asking:
        _until(pid.exists)
        compiler = psutil.Process(int(pid.read_text()))
        asking.send_signal(number)
    _until(lambda: not compiler.is_running() or compiler.status() == psutil.STATUS_ZOMBIE)
    assert list_builds() == []


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_of_a_compilers_output_the_first_error_is_told_and_all_is_kept(checkout: Path) -> None:
    (checkout / "Makefile").write_text(
        "dllama:\n\t@echo c++ -c src/app.cpp\n"
        "\t@echo \"src/app.cpp:7:1: error: 'this' does not name a type\" >&2\n"
        "\t@echo \"    7 | this is no C++\" >&2\n\t@echo '      | ^~~~' >&2 && exit 1\n"
    )
    _commit(checkout)
    with pytest.raises(ConfigError, match=r"make dllama\): src/app.cpp:7:1: error: ") as caught:
        build_dllama(dllama_source(str(checkout), "HEAD"), print)
    kept = Path(str(caught.value).rpartition("all that it printed is in ")[2])
    assert "c++ -c src/app.cpp" in kept.read_text()
    assert "| ^~~~" in kept.read_text()
    clear_builds()
    assert not kept.exists()


def test_a_checkout_of_something_else_is_refused(checkout: Path, tmp_path: Path) -> None:
    (checkout / "Makefile").unlink()
    _commit(checkout)
    with pytest.raises(ConfigError, match="has no Makefile; it must be a checkout of dllama's"):
        build_dllama(dllama_source(str(checkout), "HEAD"), print)
    with pytest.raises(ConfigError, match="is no git checkout; write dllama:CHECKOUT@REV"):
        dllama_source(str(tmp_path / "nowhere"), "HEAD")
    subprocess.run(["git", "-C", str(checkout), "branch", "-M", "master"], check=True)
    with pytest.raises(ConfigError, match="has no revision 'mastr'; did you mean 'master'"):
        dllama_source(str(checkout), "mastr")


def test_a_checkout_without_an_engine_is_refused(checkout: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no pyproject\.toml; it must be a checkout of"):
        revisions.build_revision(str(checkout), "HEAD", print)
    assert list_builds() == []


def test_what_a_shallow_clone_lacks_is_to_be_fetched(checkout: Path, tmp_path: Path) -> None:
    """As in CI, whose checkouts have one commit."""
    first = dllama_source(str(checkout), "HEAD").revision.commit
    _commit(checkout)
    clone = tmp_path / "clone"
    command = ["git", "clone", "-q", "--depth", "1", checkout.resolve().as_uri(), str(clone)]
    subprocess.run(command, check=True)
    with pytest.raises(ConfigError, match="is a shallow clone: git fetch --unshallow brings its"):
        dllama_source(str(clone), first)


def test_a_checkout_of_another_user_is_told_as_git_does(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that builds a mounted folder."""
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    with pytest.raises(
        ConfigError, match=r"another user; .* --add safe\.directory .*/distributed-llama$"
    ):
        dllama_source(str(checkout), "HEAD")


def test_a_hook_of_git_does_not_name_the_checkout(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "of-the-hook" / ".git"))
    assert dllama_source(str(checkout), "HEAD").revision.checkout == checkout
    assert revision_at(checkout) is not None


def test_an_engine_that_does_not_fit_is_a_usage_error(checkout: Path, tmp_path: Path) -> None:
    config = LabConfig.of_texts({"nodes": "1"}, tmp_path)
    with pytest.raises(ConfigError, match="compared with --engine dllama --dllama-bin PATH"):
        make_sides(parse_baseline(f"dllama:{checkout}@HEAD"), config, 1, print)


def test_a_path_without_a_program_is_told_by_the_words_that_named_it(
    checkout: Path, tmp_path: Path
) -> None:
    program = tmp_path / "dllama"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} {dllama_stand_in.__file__} "$@"\n')
    program.chmod(0o755)
    given = {"nodes": "1", "engine": "dllama", "dllama-bin": str(program)}
    config = LabConfig.of_texts(given, tmp_path)
    with pytest.raises(ConfigError, match=r"--baseline dllama:/no/such: no such program"):
        make_sides(parse_baseline("dllama:/no/such"), config, 1, print)
    with pytest.raises(ConfigError, match=f"is a folder; .* built then: dllama:{checkout}@REV"):
        make_sides(parse_baseline(f"dllama:{checkout}"), config, 1, print)


def test_from_a_wheel_a_revision_needs_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revisions, "own_checkout", lambda: None)
    with pytest.raises(ConfigError, match=r"installed from a wheel, .* write git:PATH@REV"):
        revisions.build_revision("", "main", print)


def test_an_option_that_a_revision_does_not_have_is_a_usage_error(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "env" / "bin" / "dllama-py"
    program.parent.mkdir(parents=True)
    known = {*root_flags(), "workers", "exit-with-parent"} - {"memory-rate"}
    listed = " ".join(f"[--{flag} X]" for flag in sorted(known))
    program.write_text(f"#!/bin/sh\necho 'usage: dllama-py {listed}'\n")
    program.chmod(0o755)
    built = Build(Revision(checkout, "0" * 40, "old"), tmp_path / "env", None)
    monkeypatch.setattr("pytest_dllama.lab.pairs.making.build_revision", lambda *given: built)
    base, config = parse_baseline("git:old"), LabConfig.of_texts({}, tmp_path)
    make_sides(base, config, 2, lambda text: None)
    on_boards = LabConfig.of_texts({"emulate": "pi5x2-1gbe"}, tmp_path)
    with pytest.raises(ConfigError) as raised:
        make_sides(base, on_boards, 2, lambda text: None)
    assert str(raised.value) == (
        "--baseline old (0000000000): that revision has no --memory-rate, which these options "
        "need (--emulate); compare with a later one, or leave the option out"
    )
    by_size = LabConfig.of_texts({"collective": "mesh,star@13", "overlap": "on@4"}, tmp_path)
    with pytest.raises(ConfigError) as raised:
        make_sides(base, by_size, 2, lambda text: None)
    assert str(raised.value) == (
        "--baseline old (0000000000): that revision cannot be asked for mesh,star@13 and "
        "on@4; name one collective, and overlap on or off"
    )
