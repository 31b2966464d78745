"""Engines by name, and one that an installed package adds: the text of docs/real-dllama.md."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.backends.base import EngineOptions, EngineRequest
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.backends.dllama.printed.log import parse_log
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.backends.registry import engine_makers, make_backend
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.run_files import read_run
from tests.data import ROOT
from tests.plugin.backends.stand_in_program import write_program

GUIDE = (ROOT / "docs" / "real-dllama.md").read_text(encoding="utf-8")
PROMPT = "hello world"  # six tokens, as in the samples
HOME = os.environ.get("HOME", "")
SUITES = str(ROOT / "suites")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's engine, installed: its module and the metadata that an installer writes."""
    folder = tmp_path / "site"
    info = folder / "toy_engine-1.0.dist-info"
    info.mkdir(parents=True)
    (module,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (folder / "toy_engine.py").write_text(module, encoding="utf-8")
    (name, target) = re.findall(r'^(\w+) = "(\w+:\w+)"$', GUIDE, re.MULTILINE)[0]
    (info / "entry_points.txt").write_text(f"[pytest_dllama.engines]\n{name} = {target}\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-engine\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture
def stand_in(tmp_path: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stand-in as a program; pytester hides HOME, where our compiled kernels are."""
    monkeypatch.setenv("HOME", HOME)
    return write_program(tmp_path / "dllama")


def test_built_in_engines(stand_in: Path) -> None:
    assert isinstance(make_backend("embedded", EngineOptions()), EmbeddedBackend)
    options = EngineOptions(binary=str(stand_in), arguments=("--collective", "star"))
    assert isinstance(make_backend("dllama", options), DllamaBackend)
    elsewhere = EngineOptions(binary="/opt/pi/dllama", runs_here=False)
    assert isinstance(make_backend("dllama", elsewhere), DllamaBackend)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("other", EngineOptions(), "choose dllama, embedded, or install a package"),
        ("dllama", EngineOptions(), "needs --dllama-bin PATH"),
        ("dllama", EngineOptions(binary="/nowhere/dllama"), "no such program"),
        ("dllama", EngineOptions(binary="sh", sync_mode="invariant"), "leave it out"),
        ("dllama", EngineOptions(binary="sh", collective="ring"), "as --dllama-args"),
        ("dllama", EngineOptions(binary="sh", overlap="on"), "--overlap on is our own engine's"),
        ("embedded", EngineOptions(binary="sh"), "add --engine dllama"),
        ("embedded", EngineOptions(inject="tpt=1%"), "--inject 'tpt=1%': .* did you mean 'tpot'?"),
        ("dllama", EngineOptions(inject="tpot=1%"), "only our own engine can be slowed down"),
    ],
)
def test_what_cannot_be(name: str, options: EngineOptions, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_backend(name, options)


def test_every_process_of_ours_is_slowed_down(tmp_path: Path) -> None:
    backend = make_backend("embedded", EngineOptions(inject="tpot=10%"))
    files = tmp_path / "m", tmp_path / "t"
    request = EngineRequest(*files, "x", 8, 1, "q80", "reduce", 0.0, 1, 60.0)
    commands = backend.worker_command("h", 1, 1, "stdin"), backend.root_command(request, (), "1")
    for command in commands:
        assert command[command.index("--inject") + 1] == "tpot=10%"
        assert "--inject" in backend.shown(command)
    plain = make_backend("embedded", EngineOptions())
    assert "--inject" not in plain.worker_command("h", 1, 1, "stdin")


def test_an_installed_engine_is_found(site: Path) -> None:
    assert sorted(engine_makers()) == ["dllama", "embedded", "toy"]
    assert make_backend("toy", EngineOptions()).name == "toy"


def test_an_installed_engine_that_does_not_load(site: Path) -> None:
    (site / "toy_engine.py").unlink()
    sys.modules.pop("toy_engine", None)
    with pytest.raises(ConfigError, match="toy_engine:make cannot be loaded"):
        make_backend("toy", EngineOptions())


def test_nobody_takes_the_place_of_a_built_in_engine(site: Path) -> None:
    entry_points = site / "toy_engine-1.0.dist-info" / "entry_points.txt"
    entry_points.write_text("[pytest_dllama.engines]\nembedded = toy_engine:make\n")
    assert isinstance(make_backend("embedded", EngineOptions()), EmbeddedBackend)


def test_the_guides_engine_runs_the_suites(
    site: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(site) + os.pathsep + os.environ.get("PYTHONPATH", ""))
    arguments = ("--engine", "toy", "--nodes", "1", "--models", "tiny", "--repeats", "2")
    result = pytester.runpytest_subprocess(SUITES, *arguments, "-rs", "-p", "no:cacheprovider")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*note: toy prints whole*", "*toy does not measure memory*"])
    run = read_run(pytester.path / "report" / "run.json")
    (cell,) = run.cells
    assert (run.request.engine, cell.status) == ("toy", "ok")
    assert cell.output is not None
    assert (cell.output.text, cell.output.status) == ("lalalalala", "oracle")
    assert cell.metrics["rct_s"].value == pytest.approx(0.060)
    assert cell.metrics["tpot_ms"].value == pytest.approx(12.5)
    assert (pytester.path / "report" / "report.ko.md").exists()


def suites_on(stand_in: Path, pytester: pytest.Pytester, *more: str) -> pytest.RunResult:
    """The whole road of the real dllama, the program itself being a stand-in."""
    (pytester.path / "dllama").symlink_to(stand_in)
    return pytester.runpytest_subprocess(
        *(SUITES, "--engine", "dllama", "--dllama-bin", "./dllama", "--nodes", "1,2"),
        *("--models", "tiny", "--prompt", PROMPT, "--steps", "48", "--repeats", "2"),
        *("-rs", "-p", "no:cacheprovider", *more),
    )


def own_pieces() -> list[str]:
    """What our own engine generates for the prompt."""
    engine = (sys.executable, "-P", "-m", "dllama_engine.cli", "inference", "--model", "tiny")
    command = [*engine, "--prompt", PROMPT, "--steps", "48", "--temperature", "0"]
    shown = subprocess.run(command, capture_output=True, check=True)
    (own,) = parse_log(shown.stdout.decode())
    return [step.piece for step in own.decode]


def test_the_suites_on_the_stand_in(stand_in: Path, pytester: pytest.Pytester) -> None:
    """It prints what our own engine generates: the text is right, on one node and on two."""
    pieces = pytester.path / "pieces.json"
    pieces.write_text(json.dumps(own_pieces()))
    result = suites_on(stand_in, pytester, "--dllama-args", f"--pieces {pieces}")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*note: *closed form of all-to-all with q80*", "*how long its links were busy*"]
    )
    run = read_run(pytester.path / "report" / "run.json")
    assert run.request.engine == "dllama"
    assert [(cell.nodes, cell.status) for cell in run.cells] == [(1, "ok"), (2, "ok")]
    for cell in run.cells:
        assert cell.output is not None
        assert cell.output.status == "identical"
        assert "our own engine" in str(cell.output.note)
    peaks = [run.cells[1].metrics[f"{role}_peak_rss_bytes"].value for role in ("root", "worker")]
    assert min(peaks) > 2**20  # the stand-in's own: read from outside
    commands = run.cells[1].commands
    assert commands is not None
    assert commands.root[1:3] == ("inference", "--model")
    assert commands.workers[0][1:3] == ("worker", "--host")


def test_an_engine_that_computes_nothing_is_invalid(
    stand_in: Path, pytester: pytest.Pytester
) -> None:
    """The stand-in prints another model's text at a fine speed: that must not count."""
    result = suites_on(stand_in, pytester)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    for cell in read_run(pytester.path / "report" / "run.json").cells:
        assert cell.verdict is not None
        assert cell.verdict.status == "INVALID"
        assert "in our own engine's one-node run" in cell.verdict.reasons[0]


def test_a_depth_that_an_engine_cannot_fill_is_skipped_with_the_reason(
    stand_in: Path, pytester: pytest.Pytester
) -> None:
    result = suites_on(stand_in, pytester, "--context-depth", "20", "-k", "latency")
    assert result.ret == pytest.ExitCode.OK
    assert "6 skipped" in result.stdout.lines[-1]
    why = "dllama cannot fill a part of the context before a request's clock starts"
    result.stdout.fnmatch_lines([f"*tiny-2-d20: {why}"])
    cells = read_run(pytester.path / "report" / "run.json").cells
    assert [(cell.id, cell.status, cell.error) for cell in cells] == [
        (f"tiny-{nodes}-d20", "skipped", why) for nodes in (1, 2)
    ]
    assert (pytester.path / "report" / "report.en.md").exists()


def test_swept_options_are_the_programs_own(stand_in: Path, pytester: pytest.Pytester) -> None:
    result = suites_on(stand_in, pytester, "--sweep", "nonsense=1,2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --sweep nonsense=1: this dllama (v0.16.4 or later) has no option --nonsense"]
    )
    pytester.path.joinpath("dllama").unlink()
    result = suites_on(stand_in, pytester, "--sweep", "net-turbo=0,1", "-k", "latency and 2-net")
    run = read_run(pytester.path / "report" / "run.json")
    assert [cell.id for cell in run.cells] == ["tiny-2-net-turbo0", "tiny-2-net-turbo1"]
    for value, cell in enumerate(run.cells):
        assert cell.commands is not None
        for command in (cell.commands.root, *cell.commands.workers):
            assert f"--net-turbo {value}" in " ".join(command)
        assert "--max-seq-len 48" in " ".join(cell.commands.root)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "dllama"), "*--dllama-bin PATH*"),
        (("--engine", "nonsense"), "*'nonsense' is unknown*"),
        (
            ("--engine", "dllama", "--dllama-bin", "no/such", "--sweep", "kv-type=f16,f32"),
            "*--kv-type f16 is our own engine's; the real dllama's cache is f32: leave it out*",
        ),
        (("--engine", "dllama", "--dllama-args", "'star"), "*cannot be split into words*"),
    ],
)
def test_usage_errors(pytester: pytest.Pytester, arguments: tuple[str, ...], words: str) -> None:
    result = pytester.runpytest_inprocess(SUITES, *arguments, "-p", "no:cacheprovider")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([words])
