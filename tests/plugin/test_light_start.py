"""What is loaded by need only: large libraries take seconds on a Pi."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from pytest_dllama.cli.main import COMMANDS, main

LARGE = ("scipy", "matplotlib", "jinja2", "numba", "fabric", "paramiko")
_LOADED = f"""
import json, sys
{{code}}
print(json.dumps([name for name in {LARGE!r} if name in sys.modules]), file=sys.stderr)
"""


def loaded_by(code: str) -> list[str]:
    """Which of the large libraries a fresh Python has after some code."""
    done = subprocess.run(
        [sys.executable, "-c", _LOADED.format(code=code)],
        capture_output=True,
        text=True,
        check=True,
    )
    found: list[str] = json.loads(done.stderr.splitlines()[-1])
    return found


def test_a_session_that_draws_no_page_and_judges_no_pair_loads_none() -> None:
    assert loaded_by("import pytest_dllama.plugin, pytest_dllama.lab.session.results") == []


def test_a_command_loads_what_it_needs_itself() -> None:
    call = "from pytest_dllama.cli.main import main\ntry: main({!r})\nexcept SystemExit: pass"
    assert loaded_by(call.format(["history", "--help"])) == []
    assert "scipy" in loaded_by(call.format(["noise", "--help"]))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_where_the_table_says(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: pytest-dllama {name} ")


def test_the_help_lists_all_commands_and_an_unknown_one_is_answered_with_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert [
        line.split()[0] for line in out.splitlines() if line.startswith("    ") and line[4] != " "
    ] == list(COMMANDS)
    with pytest.raises(SystemExit) as ended:
        main(["reprot"])
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert "invalid choice: 'reprot'" in error
    assert "did you mean 'report'?" in error
