"""The command line: dllama's flags, checked values, usage errors with exit code 2."""

from __future__ import annotations

import pytest

from dllama_engine.cli.flags import parsing
from dllama_engine.cli.flags.arguments import PlanArgs, RootArgs, WorkerArgs

REPORT_LINE = (
    "inference --model dllama_model_llama-30b_q40.m --tokenizer dllama_tokenizer_llama2.t "
    "--buffer-float-type q80 --prompt Hello --steps 128 --nthreads 4 --workers "
    "100.67.190.3:9999 100.84.48.55:9999 100.76.95.128:9999"
)


def test_a_command_line_of_the_scaling_report() -> None:
    args = parsing.parse(REPORT_LINE.split())
    assert isinstance(args, RootArgs)
    assert args.mode == "inference"
    assert args.workers == (("100.67.190.3", 9999), ("100.84.48.55", 9999), ("100.76.95.128", 9999))
    assert (args.steps, args.n_threads, args.buffer_float_type) == (128, 4, "q80")
    assert (args.batch_size, args.max_seq_len, args.kv_type) == (32, 0, "f32")


def test_flags_come_in_any_order_and_modes_pass_over_strange_ones() -> None:
    args = parsing.parse("worker --nthreads 4 --port 0 --net-turbo 0 --steps 3".split())
    assert isinstance(args, WorkerArgs)
    assert (args.port, args.host, args.n_threads) == (0, "127.0.0.1", 4)
    args = parsing.parse("inference --workers [::1]:9 h:1 --steps 1 --prompt x --model m".split())
    assert isinstance(args, RootArgs)
    assert args.workers == (("::1", 9), ("h", 1))
    args = parsing.parse("plan --shape llama-30b --nodes 4 --nbatches 8 --prompt x".split())
    assert isinstance(args, PlanArgs)
    assert (args.shape, args.model, args.nodes, args.batch_size) == ("llama-30b", None, 4, 8)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", "MODE"),
        ("fly", "invalid choice: 'fly'"),
        ("inference --model m --prompt x", "needs --steps"),
        ("inference --model m --steps 3", "needs --prompt or --file"),
        ("inference --model m --steps 3 --prompt x --file y", "not both"),
        ("chat", "chat needs --model"),
        ("plan", "either --model or --shape"),
        ("plan --model m --shape s", "either --model or --shape"),
        ("worker --port 65536", "'65536': expected a whole number, 0 to 65535"),
        ("worker --port x", "'x': expected a whole number"),
        ("worker --nthreads 0", "'0': expected a whole number, 1 to 1024"),
        ("worker --gpu-index 0", "CPUs only"),
        ("worker --collective tree", "collective 'tree': there are auto, mesh, two-shot, star"),
        ("worker --overlap maybe", "overlap 'maybe': there are off, on, auto, on@TOKENS"),
        ("worker --pp-size 2", "one pipeline stage"),
        ("worker --timeout 0", "seconds above 0"),
        ("worker --timeout nan", "seconds above 0"),
        ("worker --temperature -1", "0 or more"),
        ("worker --temperature inf", "0 or more"),
        ("worker --topp 1.5", "from 0 to 1"),
        ("worker --workers 10.0.0.1", "'10.0.0.1': expected HOST:PORT"),
        ("worker --workers :1", "expected HOST:PORT"),
        ("worker --workers h:0", "expected HOST:PORT"),
        ("worker --workers h:1 h:1", "names h:1 twice"),
        ("worker --step 3", "unrecognized arguments: --step"),
        ("worker --exit-with-parent x", "expected a whole number"),
    ],
)
def test_usage_errors_say_what_was_expected(
    line: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parsing.parse(line.split())
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


def test_every_flag_is_explained_with_its_default() -> None:
    for action in parsing.build_parser()._actions:
        assert action.help
        if action.default not in (None, (), False, "==SUPPRESS==", -1):
            assert "default" in action.help, action.option_strings


def test_exit_with_parent_takes_nothing_a_process_or_stdin() -> None:
    assert parsing.parse(["worker"]).exit_with_parent == -1
    assert parsing.parse(["worker", "--exit-with-parent"]).exit_with_parent == 0
    assert parsing.parse(["worker", "--exit-with-parent", "42"]).exit_with_parent == 42
    assert parsing.parse(["worker", "--exit-with-parent", "stdin"]).exit_with_parent is None
