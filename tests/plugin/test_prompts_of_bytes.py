"""Prompts reach the engine byte by byte, whatever the locale, and are shown in UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dllama.config.values import ConfigError, prompt_text
from pytest_dllama.history.run_files import read_run
from pytest_dllama.models import engine_facts
from pytest_dllama.record.base import printable
from tests.data import ROOT

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UTF8 = {"LC_ALL": "C.UTF-8"}
TINY = ROOT / "engine/dllama_engine/models/tiny.t"


@pytest.mark.long
@pytest.mark.parametrize(
    ("data", "shown", "locale"),
    [
        ("안녕 Mina".encode(), "안녕 Mina", ASCII),
        (b"caf\xe9 Mina", "caf\\xe9 Mina", ASCII),
        (b"caf\xe9 Mina", "caf\\xe9 Mina", UTF8),
    ],
    ids=["korean-ascii", "bytes-ascii", "bytes-utf8"],
)
def test_every_byte_reaches_the_engine(
    data: bytes, shown: str, locale: dict[str, str], tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "pytest", str(ROOT / "suites"), "-p", "no:cacheprovider"),
        *("--rootdir", str(tmp_path), "--nodes", "1", "--repeats", "1", "--warmup", "0"),
        *("--dllama-history", "off", "-k", "rct", "--csv", "samples.csv", "--prompt"),
    ]
    done = subprocess.run(
        [*map(os.fsencode, command), data],
        cwd=tmp_path,
        env={**os.environ, **locale},
        capture_output=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout.decode(errors="replace")
    run = read_run(tmp_path / "report" / "run.json")
    assert run.request.prompt == shown
    (cell,) = run.cells
    assert cell.commands is not None
    assert shown in cell.commands.root
    (log,) = tmp_path.glob("report/logs/*/*.repeat1.root.stdout.log")
    events = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    (request,) = (event for event in events if event["event"] == "request")
    assert request["input_ids"] == engine_facts.file_tokenizer(TINY).encode(data)
    for report in ("report.en.md", "report.ko.md"):
        assert shown.replace("\\", "") in (
            (tmp_path / "report" / report).read_text("utf-8").replace("\\", "")
        )


def test_a_prompt_is_read_as_its_bytes_say() -> None:
    as_ascii_has_it = "안녕".encode().decode("ascii", "surrogateescape")
    assert prompt_text(as_ascii_has_it) == prompt_text("안녕") == "안녕"
    assert prompt_text("caf\udce9") == "caf\udce9"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\ud83d", r"holds half a character \(a lone surrogate\), which has no bytes; leave it"),
        ("a\0b", r"--prompt 'a\\x00b' holds a NUL, which no command line can; leave it out"),
        (" ", "--prompt is empty; give at least one word"),
        ("é" * 65536, r"--prompt has 131072 bytes, and an argument of a command line holds 131071"),
    ],
)
def test_prompts_that_no_process_can_be_given(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        prompt_text(text)


def test_records_hold_what_json_can() -> None:
    assert printable(("a", "caf\udce9", "é", 3, None)) == ("a", "caf\\xe9", "é", 3, None)
    assert printable("half \ud83d") == "half \\ud83d"
