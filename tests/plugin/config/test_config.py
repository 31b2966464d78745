from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.config.options import SETTINGS, Setting
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError, parse_models, parse_node_counts


def _parse(name: str, text: str):
    (setting,) = [s for s in SETTINGS if s.name == name]
    return setting.parse(text)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("nodes", "0", "--nodes 0: 0 is no cluster; a count includes the root, so 1 is the"),
        ("nodes", "2,x", "--nodes 2,x: 'x' is no whole number"),
        ("nodes", "2,", "--nodes 2,: '' is no whole number"),
        ("nodes", "2,4,2", "--nodes 2,4,2: 2 stands twice"),
        ("nodes", "-1", "smallest"),
        ("steps", "0", "--steps 0 is too small; the smallest is 1"),
        ("steps", "1_000", "--steps 1_000 is no whole number"),
        ("repeats", "9" * 20, f"--repeats {'9' * 20} is too large; the largest is 2147483647"),
        ("seed", "9" * 5000, f"--seed {'9' * 24}.. has too many digits"),
        ("nodes", "\u0662", "--nodes \u0662 is no whole number"),
        ("nodes", "2,3000000000", "--nodes 2,3000000000: 3000000000 is too large; the largest is"),
        ("steps", "many", "--steps many is no whole number"),
        ("repeats", "0", "the smallest is 1"),
        ("warmup", "-1", "the smallest is 0"),
        ("nthreads", "0", "the smallest is 1"),
        ("prompt", " ", "--prompt is empty"),
        ("buffer-float-type", "q40", "--buffer-float-type 'q40' is unknown; choose q80 or f32"),
        ("sync-mode", "fast", "choose reduce or invariant"),
        ("collective", "tree", "--collective 'tree': there are auto, mesh, two-shot, star, ring"),
        ("collective", "mesh,star13", "--collective 'star13': .*; did you mean star@13?"),
        ("overlap", "yes", "--overlap 'yes': there are off, on, auto, on@TOKENS"),
        ("overlap", "4", "; did you mean on@4?"),
        ("temperature", "-1", "--temperature -1 is out of range; give a number 0 or greater"),
        ("temperature", "nan", "out of range"),
        ("request-timeout", "0", "give a number greater than 0"),
        ("request-timeout", "soon", "'soon' is no number"),
        ("report-format", "md,pdf", "--report-format 'pdf' is unknown; choose of md, html"),
        ("report-format", ",", "--report-format ',' is unknown"),
    ],
)
def test_messages(name: str, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        _parse(name, text)


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.default], ids=lambda s: s.name)
def test_defaults_are_valid(setting) -> None:
    setting.parse(setting.default)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=6, unique=True))
def test_node_counts_keep_their_order(counts: list[int]) -> None:
    assert parse_node_counts(",".join(map(str, counts))) == tuple(counts)


def test_report_formats_are_words_each_once() -> None:
    assert _parse("report-format", "html, md,html") == ("html", "md")
    assert _parse("report-format", "none") == ()


def test_model_specs() -> None:
    specs = parse_models("tiny,a/x.m:b/y.t,synthetic:dim=256,n_layers=2,synthetic:llama-160m")
    assert [(s.kind, s.model, s.tokenizer) for s in specs] == [
        ("shipped", "tiny", ""),
        ("files", "a/x.m", "b/y.t"),
        ("synthetic", "dim=256,n_layers=2", ""),
        ("synthetic", "llama-160m", ""),
    ]


def test_a_named_shape_with_changes_keeps_its_commas() -> None:
    (spec,) = parse_models("synthetic:llama-7b,weight_type=q80")
    assert spec.model == "llama-7b,weight_type=q80"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x.m", r"the tokenizer is missing; write x\.m:x\.t"),
        ("x.m:y.json", r"expected MODEL\.m:TOKENIZER\.t"),
        ("synthetic:", "the shape is missing"),
        ("", "'' is no model"),
        ("tiny,,tiny", "'' is no model"),
        ("a/b", "'a/b' is no model"),
    ],
)
def test_model_messages(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_models(text)


def test_names_come_from_file_names() -> None:
    specs = parse_models("m/dllama_model_llama-13b_q40.m:t.t,tiny", Path("base"))
    assert [spec.name for spec in specs] == ["llama-13b_q40", "tiny"]
    assert specs[0].base == Path("base")


def test_a_name_stays_in_its_line_whatever_the_file_is_called() -> None:
    (spec,) = parse_models("two\nlines\t\x1b[2J ñ%s.m:t.t")
    assert spec.name == "two_lines__[2J ñ%s"
    assert spec.model == "two\nlines\t\x1b[2J ñ%s.m"


def test_two_models_of_one_name() -> None:
    with pytest.raises(ConfigError, match="two models are called 'x'"):
        parse_models("a/x.m:x.t,b/x.m:x.t")


@pytest.mark.parametrize("setting", [s for s in SETTINGS if s.metavar], ids=lambda s: s.name)
def test_no_flag_without_a_text_means_its_default(setting: Setting, tmp_path: Path) -> None:
    """As of a shell's variable that was not set."""
    if setting.name == "dllama-args":  # no words at all are words too
        assert LabConfig.of_texts({setting.name: ""}, tmp_path).dllama_args == ()
        return
    with pytest.raises(ConfigError, match=setting.flag):
        LabConfig.of_texts({setting.name: " "}, tmp_path)


def test_an_empty_baseline_says_what_can_be_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        LabConfig.of_texts({"baseline": ""}, tmp_path)
    assert str(error.value).startswith("--baseline '' names nothing; write self, git:REV, ")
    assert str(error.value).endswith(
        "or accepted, or leave it out (-o dllama_baseline= takes back what an ini file says)"
    )
