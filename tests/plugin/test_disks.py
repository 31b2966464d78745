"""Results that cannot be written, folders that two sessions want, files that are none."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.files.report_folder import (
    LOCK_FILE,
    ReportFolder,
    ReportFolderError,
    check_file,
    keep_elsewhere,
)
from pytest_dllama.files.user_files import cache_folder, data_folder
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.run_files import RunFileError, read_run, run_text
from pytest_dllama.hosts.inventory import InventoryError, load_inventory
from pytest_dllama.verdict.limits.limit import ThresholdError
from pytest_dllama.verdict.limits.thresholds_file import load_thresholds
from tests.data import ROOT, RUNS
from tests.plugin.real_runs import SMALL_MODEL, RealRun

SUITES = str(ROOT / "suites")
ONE_CELL = (SUITES, "--models", SMALL_MODEL, "--nodes", "1", "--steps", "16", "--repeats", "1",
            "--warmup", "0", "-k", "tpot", "--history", "off")  # fmt: skip
FULL = Path("/dev/full")
RUN = sorted(RUNS.glob("*.json"))[-1]


# -- the report folder ----------------------------------------------------------------------------


def test_a_folder_is_held_by_one_session(tmp_path: Path) -> None:
    first, second = ReportFolder(tmp_path / "report"), ReportFolder(tmp_path / "report")
    first.hold()
    words = rf"--report .*report: another pytest measures into this folder \(process {os.getpid()} "
    with pytest.raises(ReportFolderError, match=words):
        second.hold()
    (refused,) = first.refused()
    assert refused.startswith(f"process {os.getpid()} at ")
    first.release()
    assert not (tmp_path / "report").exists()
    second.hold()
    assert second.refused() == []
    (tmp_path / "report" / "run.json").touch()
    second.release()
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["run.json"]


@pytest.mark.parametrize(
    ("file", "reason"),
    [("/proc/samples.csv", ""), ("/dev/null/samples.csv", ""), ("/proc", "Is a directory")],
)
def test_a_file_that_cannot_be_written_is_found_at_once(file: str, reason: str) -> None:
    words = rf"--dllama-csv {file}: cannot be written \({reason}.*\); name another file"
    with pytest.raises(ReportFolderError, match=words):
        check_file("--dllama-csv", Path(file))


def test_a_file_that_can_be_written_is_not_made_by_looking(tmp_path: Path) -> None:
    check_file("--dllama-csv", tmp_path / "new" / "samples.csv")
    assert list((tmp_path / "new").iterdir()) == []
    check_file("--dllama-csv", Path("/dev/null"))


def test_a_folder_that_was_made_for_nothing_goes(tmp_path: Path) -> None:
    folder = ReportFolder(tmp_path / "report")
    folder.hold()
    folder.release()
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("folder", ["/proc/report", "/dev/null", "/dev/null/report"])
def test_a_folder_that_cannot_be_written_is_found_at_once(folder: str) -> None:
    words = rf"--report {folder}: results cannot be written there \(.*\); name a folder that can"
    with pytest.raises(ReportFolderError, match=words):
        ReportFolder(Path(folder)).hold()


def test_a_folder_on_a_full_disk_is_found_at_once(tmp_path: Path) -> None:
    """No file may grow: the same calls fail as on a full disk."""
    code = "import sys; from pytest_dllama.files.report_folder import *\n"
    code += "try: ReportFolder(Path(sys.argv[1])).hold()\nexcept ReportFolderError as e: print(e)"
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", sys.executable, "-c", code, tmp_path / "r"],
        capture_output=True,
        text=True,
        check=True,
    )
    words = "results cannot be written there (File too large: `ulimit -f` allows "
    assert words in done.stdout
    assert not (tmp_path / "r").exists()


def test_a_session_says_so_in_one_line_and_measures_nothing(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    run.start([*ONE_CELL, "--report", "/proc/report"])
    assert run.finish() == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: --report /proc/report: results cannot be written there" in run.output
    assert "Traceback" not in run.output
    assert "INTERNALERROR" not in run.output


def test_a_session_is_refused_a_folder_in_which_another_one_measures(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    folder = ReportFolder(run.report)
    folder.hold()
    run.start(ONE_CELL)
    assert run.finish() == pytest.ExitCode.USAGE_ERROR
    words = f"another pytest measures into this folder (process {os.getpid()} since "
    assert words in run.output
    assert "Traceback" not in run.output
    (refused,) = folder.refused()
    assert refused.startswith(f"process {run.process.pid} at ")
    folder.release()


_WANTS_THE_FOLDER = """
from pathlib import Path
from pytest_dllama.files.report_folder import ReportFolder, ReportFolderError
def pytest_runtest_teardown(item):
    try:
        ReportFolder(Path("report")).hold()
    except ReportFolderError:
        pass
"""


def test_the_session_that_measures_says_who_was_refused(tmp_path: Path) -> None:
    (tmp_path / "wants_the_folder.py").write_text(_WANTS_THE_FOLDER)
    run = RealRun(tmp_path)
    run.start([*ONE_CELL, "-p", "wants_the_folder"])
    assert run.finish() == pytest.ExitCode.OK, run.output
    assert f"was refused {run.report}, where this session measures" in run.output
    assert len(read_run(run.report / "run.json").cells) == 1
    assert not (run.report / LOCK_FILE).exists()


_LOSES_ITS_FOLDER = """
import shutil
from pathlib import Path
def pytest_runtest_teardown(item):
    shutil.rmtree("report")
    Path("report").write_text("no folder any more")
"""


def test_a_run_file_that_cannot_be_written_costs_neither_table_nor_content(tmp_path: Path) -> None:
    (tmp_path / "loses_its_folder.py").write_text(_LOSES_ITS_FOLDER)
    run = RealRun(tmp_path)
    run.start([*ONE_CELL, "-p", "loses_its_folder"])
    assert run.finish() == pytest.ExitCode.INTERNAL_ERROR
    assert "INTERNALERROR" not in run.output
    assert "llama_q40" in run.output.partition("distributed LLM inference")[2]  # the table
    line = next(line for line in run.output.splitlines() if line.startswith("run file:"))
    assert f"{tmp_path}/report/run.json cannot be written (" in line
    kept = Path(line.partition("its content is in ")[2])
    assert len(read_run(kept).cells) == 1
    kept.unlink()


_IS_TOLD_TO_STOP = """
import os, signal
from pytest_dllama.exports import samples_csv
from pytest_dllama.history import keeping
keeping.keep_run = lambda run, config: os.kill(os.getpid(), signal.SIGINT)
samples_csv.write_samples = lambda run, file: os.kill(os.getpid(), signal.SIGTERM)
"""


def test_a_signal_breaks_off_one_file_of_results_and_costs_no_other(tmp_path: Path) -> None:
    (tmp_path / "is_told_to_stop.py").write_text(_IS_TOLD_TO_STOP)
    run = RealRun(tmp_path)
    cell = [*ONE_CELL[:-1], str(tmp_path / "history")]
    run.start([*cell, "-p", "is_told_to_stop", "--dllama-csv", "samples.csv"])
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    assert "Traceback" not in run.output
    assert "llama_q40" in run.output.partition("distributed LLM inference")[2]  # the table
    assert "history:  not written whole: stopped by SIGINT\n" in run.output
    assert "samples:  not written whole: stopped by SIGTERM\n" in run.output
    assert len(read_run(run.report / "run.json").cells) == 1


def test_a_home_that_cannot_be_written_costs_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HOME below /proc, where not even the superuser can make a folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    monkeypatch.setenv("XDG_CACHE_HOME", cache)  # that of the tests: nothing is compiled anew
    monkeypatch.setenv("HOME", "/proc/nobody")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    run = RealRun(tmp_path)
    run.start([word for word in ONE_CELL if word not in ("--history", "off")])
    assert run.finish() == pytest.ExitCode.OK, run.output
    assert "history:  not kept (" in run.output
    assert "name a folder with --history DIR, or --history off" in run.output


def test_a_user_without_a_home_has_folders_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # as without HOME and an entry
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    own = Path(tempfile.gettempdir()) / f"pytest-dllama-{os.getuid()}"
    assert (data_folder(), cache_folder()) == (own, own)


def test_what_has_no_place_anywhere_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/proc/nowhere")
    assert keep_elsewhere("run.json", "{}") is None


# -- files ----------------------------------------------------------------------------------------


@pytest.fixture(params=["pipe", "folder", "/dev/zero"])
def odd_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    return tmp_path / str(request.param)


def test_only_regular_files_are_read(odd_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ThresholdError, match=r"cannot be read \((is a |Is a directory)"):
        load_thresholds(odd_file)
    with pytest.raises(InventoryError, match=r"--hosts .*: (is a |Is a directory)"):
        load_inventory(odd_file)
    with pytest.raises(RunFileError, match=r": not a regular file; give a run\.json$"):
        read_run(odd_file)
    assert main(["import-log", str(odd_file)]) == 2
    assert "regular file" in capsys.readouterr().err


def test_a_file_of_records_is_bounded(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(RunFileError, match=rf"has {1 << 40} bytes, at most 256 MiB are read"):
        read_run(tmp_path / "run.json")


def test_a_device_is_written_to_and_never_replaced(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write_whole(FULL, "text")
    assert FULL.is_char_device()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, "text")
    write_whole(Path("/dev/null"), "text")
    assert Path("/dev/null").is_char_device()


def test_names_that_are_no_utf8_cost_no_run_file() -> None:
    run = read_run(RUN)
    odd = run.model_copy(update={"notes": ("a path \udced\udc95\udc9c and \udcff",)})
    assert "a path 한 and \ufffd" in run_text(odd)
