"""What the engine reads and writes when the disk is full, the pipe closed or the file no file."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from dllama_engine.kernels.image import store
from tests.data import MODELS
from tests.engine.processes import (
    GENEROUS_S,
    command,
    environment,
    inference_arguments,
    model_arguments,
    read_events,
    run,
)

NO_SPACE = "No space left on device"
TOO_LARGE = "File too large"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
TEXT = ("--prompt", "x", "--steps", 4)


def in_shell(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A shell's script with `dllama-py ARGUMENTS` as "$@"."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", *command(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        env=environment(),
        timeout=GENEROUS_S,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The only line of standard error."""
    (line,) = done.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    "arguments",
    [inference_arguments(steps=8), ["perplexity", *model_arguments(), "--prompt", "hello world"],
     ["plan", "--model", "tiny", "--nodes", 2]],
    ids=["inference", "perplexity", "plan"],
)  # fmt: skip
def test_a_full_disk_under_standard_output_is_one_line(arguments: Sequence[object]) -> None:
    done = in_shell('"$@" > /dev/full', *arguments)
    assert done.returncode == 1
    assert one_line(done) == f"🚨 Critical error: standard output cannot be written ({NO_SPACE})"


def test_events_that_cannot_be_written_are_one_line(tmp_path: Path) -> None:
    words = "the events cannot be written"
    done = in_shell('"$@"', *inference_arguments(steps=8), "--events", "/dev/full")
    assert done.returncode == 1
    assert one_line(done) == f"🚨 Critical error: --events /dev/full: {words} ({NO_SPACE})"
    done = in_shell('"$@" > /dev/full', *inference_arguments(steps=8), "--events", "-")
    assert done.returncode == 1
    assert done.stderr.endswith(f"🚨 Critical error: --events -: {words} ({NO_SPACE})\n")
    assert "Traceback" not in done.stderr
    file = tmp_path / "events.jsonl"
    done = in_shell('ulimit -f 1; "$@"', *inference_arguments(steps=8), "--events", file)
    assert done.returncode == 1
    assert one_line(done) == f"🚨 Critical error: --events {file}: {words} ({TOO_LARGE})"


def test_a_file_that_may_not_grow_under_standard_output(tmp_path: Path) -> None:
    script = f'ulimit -f 1; "$@" > {tmp_path}/log'
    done = in_shell(script, *inference_arguments(steps=24))
    assert done.returncode == 1
    assert one_line(done) == f"🚨 Critical error: standard output cannot be written ({TOO_LARGE})"


@pytest.mark.parametrize(
    "arguments",
    [inference_arguments(steps=24), [*inference_arguments(steps=24), "--events", "-"],
     ["plan", "--model", "tiny", "--nodes", 8]],
    ids=["inference", "events", "plan"],
)  # fmt: skip
def test_nobody_who_reads_is_no_error(arguments: Sequence[object]) -> None:
    """As `yes | head`: the exit code of SIGPIPE, without a word."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command(*arguments),
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=GENEROUS_S,
        check=False,
    )
    os.close(write)
    assert done.returncode == 141
    assert b"Traceback" not in done.stderr
    assert b"error" not in done.stderr


def test_full_disks_everywhere_still_have_an_exit_code() -> None:
    for arguments in (inference_arguments(steps=8), ["plan", "--model", "/nowhere.m"]):
        done = in_shell('"$@" > /dev/full 2> /dev/full', *arguments)
        assert done.returncode == 1


def test_closed_streams_are_no_reason_to_stop(tmp_path: Path) -> None:
    events = tmp_path / "events.jsonl"
    done = in_shell('"$@" >&- 2>&- <&-', *inference_arguments(steps=8), "--events", events)
    assert done.returncode == 0
    assert read_events(events)[-1]["exit_code"] == 0


def test_an_ascii_locale_hides_no_name_and_no_prompt(tmp_path: Path) -> None:
    folder = tmp_path / "한글"
    folder.mkdir()
    model, tokenizer = (Path(str(value)) for value in model_arguments()[1::2])
    for file, name in ((model, "작은.m"), (tokenizer, "작은.t")):
        (folder / name).write_bytes(file.read_bytes())
    events = folder / "사건.jsonl"
    arguments = [
        "--model",
        folder / "작은.m",
        "--prompt",
        "안녕",
        "--steps",
        12,
        "--events",
        events,
    ]
    done = run("inference", *arguments, **ASCII)
    assert done.returncode == 0, done.stderr
    assert "안녕\n" in done.stdout
    by_name = {event["event"]: event for event in read_events(events)}
    assert by_name["request"]["prompt"] == "안녕"
    assert by_name["start"]["model"]["path"] == str(folder / "작은.m")
    done = run("inference", "--model", folder / "없는.m", *TEXT, **ASCII)
    assert one_line(done).startswith(f"🚨 Critical error: {folder}/없는.m: no such model file")


_HOMELESS = """
import os, pwd, sys
from dllama_engine.cli.main import main
def unknown(uid): raise KeyError(uid)
pwd.getpwuid = unknown
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [(inference_arguments(steps=8), 0), (["worker", "--port", 0], 1)]
)
def test_a_user_without_a_home(arguments: Sequence[object], code: int, tmp_path: Path) -> None:
    """A container's: no HOME and no entry among the users; kernels are kept in the makeshift."""
    assert run(*inference_arguments(steps=8)).returncode == 0  # nothing is left to compile
    images = tmp_path / f"dllama-py-numba-{os.getuid()}" / "images"
    images.parent.mkdir(mode=0o700)
    shutil.copytree(store.folder(), images)
    unset = ("HOME", "DLLAMA_PY_TOKEN", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "NUMBA_CACHE_DIR")
    done = subprocess.run(
        [sys.executable, "-c", _HOMELESS, *map(str, arguments)],
        capture_output=True,
        encoding="utf-8",
        env={k: v for k, v in os.environ.items() if k not in unset} | {"TMPDIR": str(tmp_path)},
        timeout=GENEROUS_S,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if code:
        words = "this user has no home folder in which the cluster's token could be kept"
        assert words in one_line(done)
        assert "--token-file or DLLAMA_PY_TOKEN" in one_line(done)


@pytest.fixture
def odd_files(tmp_path: Path) -> dict[str, Path]:
    """No regular files, and a file larger than any prompt."""
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)
    return {
        "is a pipe (FIFO); give a regular file": tmp_path / "pipe",
        "is a socket; give a regular file": tmp_path / "socket",
        "is a device; give a regular file": Path("/dev/zero"),
        "Is a directory": tmp_path,
    }


def test_only_regular_files_are_read(odd_files: dict[str, Path], tmp_path: Path) -> None:
    for words, path in odd_files.items():
        for arguments in (
            ["inference", "--model", path, "--tokenizer", path, *TEXT],
            ["inference", "--model", "tiny", "--tokenizer", path, *TEXT],
            ["inference", "--model", "tiny", "--file", path, "--steps", 4],
            ["plan", "--model", path],
            ["worker", "--port", 0, "--token-file", path],
        ):
            done = run(*arguments)
            assert done.returncode == 1
            assert words in one_line(done)
            assert str(path) in one_line(done)
    large = tmp_path / "large"
    done = run("inference", "--model", "tiny", "--file", large, "--steps", 4)
    assert f"{large}: has {1 << 40} bytes, at most 64 MiB are read" in one_line(done)


def test_a_pipe_of_events_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    done = run(*inference_arguments(steps=8), "--events", tmp_path / "pipe")
    assert done.returncode == 1
    assert f"--events {tmp_path}/pipe: nobody reads this pipe" in one_line(done)
    done = in_shell(f'cat {tmp_path}/pipe & "$@" > /dev/null; wait',
                    *inference_arguments(steps=8), "--events", tmp_path / "pipe")  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith('{"event": "end"')


def test_a_tokenizer_of_another_size_runs_with_a_remark() -> None:
    """As Qwen3, whose models know more ids than it has tokens (distributed-llama#239)."""
    model = model_arguments()[:2]
    short = ["--tokenizer", MODELS / "short_vocab.t"]
    done = run("inference", *model, *short, "--prompt", "hello", "--steps", 40, "--temperature", 0)
    assert done.returncode == 0, done.stderr
    assert "⚠️  The tokenizer has " in done.stdout
    assert "ids from " in done.stdout
