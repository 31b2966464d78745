"""Command lines that were made for another dllama."""

from __future__ import annotations

import pytest

from dllama_engine.cli.flags import parsing
from dllama_engine.cli.flags.arguments import RootArgs, WorkerArgs
from dllama_engine.cli.flags.dialects import PASSED_OVER

ROOT = ["inference", "--model", "tiny", "--prompt", "One", "--steps", "8"]


@pytest.mark.parametrize("flag", sorted(PASSED_OVER))
@pytest.mark.parametrize("form", ["two words", "one word"])
def test_a_flag_of_another_version_is_passed_over_with_a_remark(flag, form, capsys) -> None:
    given = [flag, "q40"] if form == "two words" else [f"{flag}=q40"]
    args = parsing.parse([*ROOT, *given, "--nthreads", "2"])
    assert isinstance(args, RootArgs)
    assert args.n_threads == 2
    assert f"{flag} q40 is passed over: " in capsys.readouterr().err
    assert isinstance(parsing.parse(["worker", *given, "--port", "1"]), WorkerArgs)


def test_a_mistyped_flag_is_one_line_with_the_nearest(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parsing.parse([*ROOT, "--nthread", "2"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "dllama-py: error: unrecognized arguments: --nthread 2; did you mean --nthreads? "
        "(dllama-py --help lists all flags)\n"
    )


def test_a_flag_that_is_right_by_itself_is_not_proposed_again(capsys) -> None:
    with pytest.raises(SystemExit):
        parsing.parse([*ROOT, "--workers", "h:1", "--shrink"])
    said = capsys.readouterr().err
    assert "--shrink needs --sync-mode invariant" in said
    assert "did you mean" not in said


def test_the_help_names_every_chat_template(capsys) -> None:
    with pytest.raises(SystemExit):
        parsing.parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "llama2, llama3, deepSeek3 or chatml" in text
