from __future__ import annotations

import doctest
import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import Estimate
from pytest_dllama.verdict import thresholds
from pytest_dllama.verdict.thresholds import ThresholdError, load_thresholds, parse_thresholds
from tests.data import ROOT

FILE = """
[defaults]
ttft_s = 60
bytes_per_token = 5000
[defaults.nodes.8]
ttft_s = 120
[models.tiny]
ttft_s = 10
tokens_per_s = 5
[models.tiny.nodes.2]
tpot_ms = { max = 50 }
bytes_per_token = { min = 10, max = 20 }
"""


def _limits(model: str, nodes: int) -> dict[tuple[str, str], float]:
    parsed = parse_thresholds(tomllib.loads(FILE), "limits.toml")
    return {(t.metric, t.direction): t.limit for t in parsed.of(model, nodes)}


def test_the_more_special_table_wins() -> None:
    assert _limits("other", 2) == {("ttft_s", "max"): 60, ("bytes_per_token", "max"): 5000}
    assert _limits("other", 8)["ttft_s", "max"] == 120
    assert _limits("tiny", 8)["ttft_s", "max"] == 10
    assert _limits("tiny", 2) == {
        ("ttft_s", "max"): 10,
        ("tokens_per_s", "min"): 5,
        ("tpot_ms", "max"): 50,
        ("bytes_per_token", "min"): 10,
        ("bytes_per_token", "max"): 20,
    }


def test_one_node_has_no_limits_on_its_network() -> None:
    assert ("bytes_per_token", "max") not in _limits("other", 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[defaults]\ntpot_mss = 3", r"f.toml \[defaults\]: unknown metric 'tpot_mss'; did you"),
        ("[model.tiny]\ntpot_ms = 3", "f.toml top level: unknown table 'model'; did you mean"),
        ("[models.tiny]\ntpot_ms = 'x'", r"f.toml \[models.tiny\] tpot_ms: 'x' is no number"),
        ("[models.tiny]\ntpot_ms = true", "True is no number"),
        ("[models.tiny]\ntpot_ms = nan", "nan is no number"),
        ("[models.tiny]\ntpot_ms = inf", "inf limits nothing; write a finite number"),
        ("[models.tiny]\ntpot_ms = { max = -inf }", "-inf limits nothing"),
        ("[models.tiny]\ntpot_ms = 1e999", "inf limits nothing"),
        (f"[models.tiny]\ntpot_ms = {'9' * 400}", "a number of more than 308 digits limits"),
        (
            "[models.tiny]\ntpot_ms = { min = 5, max = 1 }",
            r"\[models.tiny\] tpot_ms: min = 5 is above max = 1: no value keeps both",
        ),
        ("[models.tiny]\ntpot_ms = { most = 3 }", r"found keys \['most'\]; a limit is a number or"),
        ("[models.tiny.nodes.two]\ntpot_ms = 3", "'two' is no node count"),
        ("[models.tiny.nodes.0]\ntpot_ms = 3", "'0' is no node count"),
        ("models = 3", r"f.toml models: found 3 where a table \[models\] must stand"),
    ],
)
def test_messages_name_file_table_and_key(text: str, message: str) -> None:
    with pytest.raises(ThresholdError, match=message):
        parse_thresholds(tomllib.loads(text), "f.toml")


@pytest.mark.parametrize("content", ["a = " + "[" * 9999, f"a = {'9' * 5000}", "a = '\udcff'"])
def test_files_beyond_any_parser(tmp_path, content: str) -> None:
    path = tmp_path / "odd.toml"
    path.write_text(content, errors="surrogateescape")
    with pytest.raises(ThresholdError, match=r"odd\.toml: not valid TOML: "):
        load_thresholds(path)


def test_equal_ends_are_a_limit() -> None:
    limits = thresholds.marker_thresholds({"tpot_ms": {"min": 5, "max": 5}})
    assert [limit.limit for limit in limits] == [5, 5]


UNMATCHED = """
[defaults.nodes.16]
ttft_s = 1
[defaults.nodes.32]
[models.tinny]
ttft_s = 1
[models.tinny.nodes.2]
ttft_s = 1
[models.zzz]
ttft_s = 1
[models.tiny.nodes.3]
ttft_s = 1
[models.tiny.nodes.2]
ttft_s = 1
"""


def test_limits_that_no_cell_has_are_told_with_what_was_meant() -> None:
    parsed = parse_thresholds(tomllib.loads(UNMATCHED), "limits.toml")
    assert parsed.unmatched([("tiny", 2), ("tiny", 4), ("other", 2)]) == (
        "limits.toml [models.tinny] limits no cell of this run; did you mean 'tiny'?",
        "limits.toml [models.zzz] limits no cell of this run; it has tiny, other",
        "limits.toml [defaults.nodes.16] limits no cell of this run; it has 2, 4 nodes",
        "limits.toml [models.tiny.nodes.3] limits no cell of this run; it has 2, 4 nodes",
    )


def test_files_that_cannot_be_used(tmp_path) -> None:
    with pytest.raises(ThresholdError, match="cannot be read"):
        load_thresholds(tmp_path / "none.toml")
    (tmp_path / "broken.toml").write_text("[defaults\n")
    with pytest.raises(ThresholdError, match=r"broken\.toml: not valid TOML"):
        load_thresholds(tmp_path / "broken.toml")


def test_the_limit_itself_is_kept_and_the_margin_is_in_percent() -> None:
    (limit,) = thresholds.marker_thresholds({"tpot_ms": 50})
    exact = limit.check(Estimate(value=50, minimum=1, maximum=99, n=3))
    assert (exact.passed, exact.margin_percent) == (True, 0)
    missed = limit.check(Estimate(value=60, minimum=1, maximum=99, n=3))
    assert (missed.passed, missed.margin_percent) == (False, pytest.approx(-20))


def test_a_metric_without_a_value_misses_its_limit() -> None:
    (limit,) = thresholds.marker_thresholds({"tpot_ms": 50})
    result = limit.check(None)
    assert (result.passed, result.value, result.margin_percent) == (False, None, None)
    assert "was not measured" in thresholds.explain(result)


@given(st.sampled_from(sorted(METRICS)), st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_margin_and_verdict_agree(metric: str, limit: float, value: float) -> None:
    (threshold,) = thresholds.marker_thresholds({metric: limit})
    result = threshold.check(Estimate(value=value, minimum=value, maximum=value, n=1))
    assert result.margin_percent is not None
    assert result.passed == (result.margin_percent >= 0)
    assert result.direction == ("min" if METRICS[metric].better == "higher" else "max")


def test_doctests() -> None:
    assert doctest.testmod(thresholds).failed == 0


def test_the_shipped_file_limits_every_metric_of_the_suites() -> None:
    suites = ROOT / "suites"
    shipped = {t.metric for t in load_thresholds(suites / "thresholds.toml").of("tiny", 8)}
    read = {
        metric
        for path in suites.glob("test_*.py")
        for metric in re.findall(r'threshold\("(\w+)"\)', path.read_text())
    }
    assert read
    assert shipped == read
