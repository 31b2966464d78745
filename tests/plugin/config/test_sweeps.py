"""What sweeps may say on the command line and in ini files."""

from __future__ import annotations

import pytest

from pytest_dllama.config.options import SETTINGS
from pytest_dllama.config.values import ConfigError
from tests.data import MODELS as GOLDEN

MODEL = f"{GOLDEN / 'llama_q40.m'}:{GOLDEN / 'golden.t'}"
A_CELL = "def test_it(cell):\n    pass\n\ndef test_all(scaling):\n    pass\n"


def _parse(name: str, text: str):
    (setting,) = [s for s in SETTINGS if s.name == name]
    return setting.parse(text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("prompt-tokens", "16,512", (16, 512)),
        ("prompt-tokens", "", ()),
        ("context-depth", "0, 2048", (0, 2048)),
        ("sweep", "", ()),
        ("sweep", "nthreads=1,2", (("nthreads", ("1", "2")),)),
        ("sweep", "--dllama-nthreads=1", (("nthreads", ("1",)),)),
        (
            "sweep",
            "nthreads=1,2\nkv-type=f32,f16;nbatches=8",
            (("nthreads", ("1", "2")), ("kv-type", ("f32", "f16")), ("nbatches", ("8",))),
        ),
        (
            "sweep",  # as a list of a TOML table comes
            "nthreads=1,2,kv-type=f16",
            (("nthreads", ("1", "2")), ("kv-type", ("f16",))),
        ),
    ],
)
def test_values(name: str, text: str, value: object) -> None:
    assert _parse(name, text) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("prompt-tokens", "0", "--prompt-tokens 0: 0 is out of range; give numbers from 1 to"),
        ("output-tokens", "8,x", "--output-tokens 8,x: 'x' is no whole number"),
        ("prompt-tokens", "8,1_0", "--prompt-tokens 8,1_0: '1_0' is no whole number"),
        ("output-tokens", "8,8", "--output-tokens 8,8: 8 stands twice; name each size once"),
        ("context-depth", "-1", "--context-depth -1: -1 is out of range; give numbers from 0"),
        ("sweep", "nthreads", "'nthreads' names no option with values; write NAME=V,V"),
        ("sweep", "nthreads=", "'' cannot stand in a cell's name; values are of letters"),
        ("sweep", "nthreads=1,1", "1 stands twice"),
        ("sweep", "nthreads=1;nthreads=2", "nthreads is swept twice; give all values in one"),
        ("sweep", "nodes=1,2", "--sweep nodes=1,2: write --nodes 1,2"),
    ],
)
def test_messages(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parse(name, text)


def _collected(result: pytest.RunResult) -> list[str]:
    return [line.partition("::")[2] for line in result.outlines if "::" in line]


def test_ids_grow_by_what_is_swept(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(A_CELL)
    result = pytester.runpytest(
        *("--collect-only", "-q", "--models", MODEL, "--nodes", "2,4", "--prompt-tokens", "4,16"),
        *("--output-tokens", "8", "--context-depth", "0,20", "--sweep", "nthreads=1"),
        *("--sweep", "kv-type=f16"),
    )
    ends = [f"pp{p}-tg8-d{d}-nthreads1-kv-typef16" for p in (4, 16) for d in (0, 20)]
    assert set(_collected(result)) == {
        *(f"test_it[llama_q40-{n}-{end}]" for n in (2, 4) for end in ends),
        *(f"test_all[llama_q40-{end}]" for end in ends),
    }


def test_the_line_tells_what_is_swept(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(A_CELL)
    pytester.makeini(
        f"[pytest]\ndllama_models = {MODEL}\ndllama_nodes = 2\ndllama_prompt_tokens = 4,16\n"
        "dllama_output_tokens = 8\ndllama_sweep =\n    nthreads=1,2\n    seed=7\n"
    )
    result = pytester.runpytest("--collect-only", "-k", "nthreads2")
    result.stdout.fnmatch_lines(
        [
            "dllama: 2 cells (llama_q40-2-pp4-tg8-nthreads2-seed7, "
            "llama_q40-2-pp16-tg8-nthreads2-seed7), 3 repeats of 8 output tokens after prompts of "
            "4 and 16 tokens, q80 buffers, sync mode reduce"
        ]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--output-tokens", "8", "--steps", "20"],
            "ERROR: --output-tokens 8 and --steps 20 exclude each other: both say where a request "
            "ends; leave one out",
        ),
        (
            ["--prompt-tokens", "8", "--prompt", "One"],
            "ERROR: --prompt-tokens 8 and --prompt One exclude each other: both say what the "
            "prompt is; leave one out",
        ),
        (
            ["--prompt-tokens", "1"],
            "ERROR: --prompt-tokens 1: this tokenizer begins each prompt with a token of its own, "
            "so that the smallest prompt has 2 (--models *)",
        ),
        (
            ["--prompt-tokens", "60,257"],
            "ERROR: the prompt of --prompt-tokens has 257 tokens, and the model's context holds "
            "256; use a shorter prompt (--models *)",
        ),
        (
            ["--prompt-tokens", "60", "--output-tokens", "197,198"],
            "ERROR: --output-tokens 198: after a prompt of 60 tokens they end at position 257, and "
            "the model's context holds 256; use at most 197 (--models *)",
        ),
        (
            ["--context-depth", "250"],
            "ERROR: --context-depth fills 250 positions, --prompt has * tokens, and the model's "
            "context holds 256; use a smaller depth or a shorter prompt (--models *)",
        ),
        (
            ["--max-seq-len", "8"],
            "ERROR: --prompt has * tokens, and --max-seq-len 8 sets the context (the model's has "
            "256); use a larger --max-seq-len or a shorter prompt (--models *)",
        ),
        (
            ["--sweep", "nthread=1,2"],
            "ERROR: --sweep nthread=1: the embedded engine has no option --nthread that can be "
            "swept; did you mean nthreads*",
        ),
        (
            ["--sweep", "nbatches=0"],
            "ERROR: --sweep nbatches=0: '0': expected a whole number, 1 to 65535",
        ),
        (["--sweep", "nthreads=0"], "ERROR: --nthreads 0 is too small; the smallest is 1"),
        (
            ["--sweep", "repeats=3"],
            "ERROR: --sweep repeats=3: --repeats is not of a single request; of ours nthreads,*",
        ),
        (
            ["--sweep", "steps=16", "--output-tokens", "8"],
            "ERROR: --sweep steps=.. and --output-tokens exclude each other: both say where*",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    pytester: pytest.Pytester, options: list[str], message: str
) -> None:
    pytester.makepyfile(A_CELL)
    result = pytester.runpytest("--models", MODEL, "--nodes", "2", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert not (pytester.path / "report").exists()


def test_a_flag_overrules_the_ini_key_that_says_the_same(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(A_CELL)
    pytester.makeini(f"[pytest]\ndllama_models = {MODEL}\ndllama_steps = 30\n")
    result = pytester.runpytest("--collect-only", "--nodes", "2", "--output-tokens", "8")
    result.stdout.fnmatch_lines(
        ["dllama: 1 cell (llama_q40-2-tg8), 3 repeats of 8 output tokens,*"]
    )
    pytester.makeini(f"[pytest]\ndllama_models = {MODEL}\ndllama_output_tokens = 8\n")
    result = pytester.runpytest("--collect-only", "--nodes", "2", "--steps", "30")
    result.stdout.fnmatch_lines(["dllama: 1 cell (llama_q40-2), 3 repeats of 30 steps,*"])


@pytest.mark.parametrize("asked", ["--sweep nthreads=1,2", "--baseline option:nthreads=2"])
def test_threads_of_the_hosts_file_cannot_be_compared(
    asked: str, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(A_CELL)
    pytester.makefile(
        ".toml",
        hosts='[defaults]\nuser = "pi"\n[[host]]\nname = "a"\naddress = "10.0.0.1"\n'
        '[[host]]\nname = "b"\naddress = "10.0.0.2"\nnthreads = 4\n',
    )
    result = pytester.runpytest(
        *("--models", MODEL, "--nodes", "2", "--hosts", "hosts.toml", *asked.split())
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    said = asked.removesuffix("=1,2")
    result.stderr.fnmatch_lines(
        [f"ERROR: {said}: b of *hosts.toml set nthreads themselves, which wins over the*"]
    )
