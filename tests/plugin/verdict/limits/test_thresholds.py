from __future__ import annotations

import doctest
import re
import tomllib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dllama.metrics.catalog import ENERGY, METRICS
from pytest_dllama.record.cell import Estimate, Workload
from pytest_dllama.verdict.limits import limit as limits
from pytest_dllama.verdict.limits import scaling, thresholds, thresholds_file
from pytest_dllama.verdict.limits.limit import ThresholdError
from pytest_dllama.verdict.limits.thresholds import Thresholds
from pytest_dllama.verdict.limits.thresholds_file import load_thresholds, parse_thresholds
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
        ("[models.tiny]\ntpot_ms = -1", "-1 is negative, which tpot_ms never is"),
        ("[defaults]\ntokens_per_s = { min = -0.5 }", "-0.5 is negative"),
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


def test_an_editors_byte_order_mark_is_no_part_of_the_file(tmp_path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text("[defaults]\ntpot_ms = 5\n", encoding="utf-8-sig")
    assert [limit.limit for limit in load_thresholds(path).of("tiny", 1)] == [5]


def test_equal_ends_are_a_limit() -> None:
    limits = thresholds_file.marker_thresholds({"tpot_ms": {"min": 5, "max": 5}})
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
    (limit,) = thresholds_file.marker_thresholds({"tpot_ms": 50})
    exact = limit.check(Estimate(value=50, minimum=1, maximum=99, n=3))
    assert (exact.passed, exact.margin_percent) == (True, 0)
    missed = limit.check(Estimate(value=60, minimum=1, maximum=99, n=3))
    assert (missed.passed, missed.margin_percent) == (False, pytest.approx(-20))


def test_a_metric_without_a_value_misses_its_limit() -> None:
    (limit,) = thresholds_file.marker_thresholds({"tpot_ms": 50})
    result = limit.check(None)
    assert (result.passed, result.value, result.margin_percent) == (False, None, None)
    assert "was not measured" in limits.explain(result)


@given(st.sampled_from(sorted(METRICS)), st.floats(0.1, 1e6), st.floats(0.1, 1e6))
def test_margin_and_verdict_agree(metric: str, limit: float, value: float) -> None:
    (threshold,) = thresholds_file.marker_thresholds({metric: limit})
    result = threshold.check(Estimate(value=value, minimum=value, maximum=value, n=1))
    assert result.margin_percent is not None
    assert result.passed == (result.margin_percent >= 0)
    assert result.direction == ("min" if METRICS[metric].better == "higher" else "max")


def test_doctests() -> None:
    for module in (limits, scaling, thresholds, thresholds_file):
        assert doctest.testmod(module).failed == 0


def test_the_shipped_file_limits_every_metric_of_the_suites() -> None:
    suites = ROOT / "suites"
    shipped = {t.metric for t in load_thresholds(suites / "thresholds.toml").of("tiny", 8)}
    read = {
        metric
        for path in suites.glob("test_*.py")
        for metric in re.findall(r'threshold\("(\w+)"\)', path.read_text())
    }
    assert read
    assert shipped == read - set(ENERGY)  # what a machine takes is its own


PATTERNS = """
[defaults]
tpot_ms = { worse = "5%" }
rct_s = 9
scaling = ["4 nodes at least 1.2 x 2 nodes"]
[models."llama-*"]
tpot_ms = { worse = "3 %", max = "40 ms" }
rct_s = 5
[models.llama-160m]
rct_s = 2
scaling = "4 nodes at least 1.6 x 2 nodes"
[models.llama-160m.nodes.4]
tpot_ms = { worse = "1%" }
[models.llama-160m.nodes.4.workloads.pp64]
tokens_per_s = { worse = "10%" }
"""


def _patterns() -> Thresholds:
    return parse_thresholds(tomllib.loads(PATTERNS), "limits.toml")


def test_a_name_comes_before_a_pattern_and_a_pattern_before_the_defaults() -> None:
    parsed = _patterns()

    def limits(model: str) -> dict[str, float]:
        return {limit.metric: limit.limit for limit in parsed.of(model, 2)}

    assert limits("tiny") == {"rct_s": 9}
    assert limits("llama-1b") == {"rct_s": 5, "tpot_ms": 40}
    assert limits("llama-160m") == {"rct_s": 2, "tpot_ms": 40}
    assert parsed.unmatched([("tiny", 2), ("tiny", 4)])[0] == (
        "limits.toml [models.llama-*] limits no cell of this run; it has tiny"
    )


def test_tolerances_by_model_nodes_and_workload() -> None:
    parsed = _patterns()
    usual = {"ttft_s": 0.15, "rct_s": 0.05}
    assert parsed.tolerances_of("tiny", 2) == usual | _of_both(0.05)
    assert parsed.tolerances_of("llama-1b", 2) == usual | _of_both(0.03)
    assert parsed.tolerances_of("llama-160m", 4) == usual | _of_both(0.01)
    swept = parsed.tolerances_of("llama-160m", 4, Workload(prompt_tokens=64, output_tokens=8))
    assert swept == usual | _of_both(0.01) | {"tokens_per_s": 0.1}


def _of_both(worse: float) -> dict[str, float]:
    return {"tpot_ms": worse, "steady_tpot_ms": worse}


def test_one_tolerance_takes_the_place_of_all() -> None:
    table = {"tpot_ms": {"worse": "3%"}, "tokens_per_s": {"worse": "9%"}}
    found = parse_thresholds({"models": {"tiny": table}}, "f")
    tolerances = replace(found, tolerated=0.4).tolerances_of("tiny", 2)
    assert set(tolerances) == {*limits.TOLERANCES, "tokens_per_s"}
    assert set(tolerances.values()) == {0.4}


def test_steady_tpot_has_tpots_tolerance_unless_it_has_its_own() -> None:
    own = {"defaults": {"tpot_ms": {"worse": "9%"}, "steady_tpot_ms": {"worse": "2%"}}}
    found = parse_thresholds(own, "limits.toml").tolerances_of("tiny", 2)
    assert (found["tpot_ms"], found["steady_tpot_ms"]) == (0.09, 0.02)


def test_two_patterns_that_match_are_an_error() -> None:
    parsed = parse_thresholds({"models": {"llama-*": {}, "*-160m": {}, "tiny": {}}}, "limits.toml")
    parsed.check_patterns(["tiny", "llama-1b"])
    with pytest.raises(
        ThresholdError, match=r"'\*-160m'\] and .*both match the model 'llama-160m'"
    ):
        parsed.check_patterns(["llama-160m"])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tpot_ms = { worse = 0.05 }", r'worse = 0.05 is no percentage; write worse = "5%"'),
        ("tpot_ms = { worse = '5 percent' }", r'is no percentage; write worse = "5%"'),
        ("tpot_ms = { worst = '5%' }", r"found keys \['worst'\]; did you mean 'worse'\?"),
        ("bytes_per_token = { worse = '5%' }", "bytes_per_token is exact, every change"),
        ("roofline_share = { worse = '5%' }", "single sessions have no roofline_share"),
        ("tpot_s = 3", r"unknown metric 'tpot_s'; did you mean 'tpot_ms'\?"),
        ("node.2.tpot_ms = 3", r"unknown metric 'node'; did you mean 'nodes'\?"),
        ("scalin = ['4 nodes at least 1.6 x 2 nodes']", r"did you mean 'scaling'\?"),
        ("ttft_ms = 3", r"unknown metric 'ttft_ms'; did you mean 'ttft_s'\?"),
        ("tpot_ms = '0.04 s'", r"'0.04 s': the unit of tpot_ms is ms; did you mean 40 ms\?"),
        (
            "worker_peak_rss_bytes = '512 MiB'",
            r"the unit of worker_peak_rss_bytes is B; did you mean 5.36871e\+08 B\?",
        ),
        ("tpot_ms = '40 mss'", "the unit of tpot_ms is ms; write 40"),
        ("scaling = '4 nodes 1.6 x 2 nodes'", "write 4 nodes at least 1.6 x 2 nodes"),
        ("scaling = 'tpot: 4 nodes at most 1 x 2 nodes'", "unknown metric 'tpot'"),
        ("scaling = '4 nodes at least 1.6 x 4 nodes'", "two node counts of 1 or more"),
    ],
)
def test_tolerances_units_and_scaling_say_what_was_meant(line: str, message: str) -> None:
    with pytest.raises(ThresholdError, match=message):
        parse_thresholds(tomllib.loads(f"[models.tiny]\n{line}"), "f.toml")


def test_a_marker_takes_no_tolerance() -> None:
    with pytest.raises(ThresholdError, match="`worse` belongs to a thresholds file"):
        thresholds_file.marker_thresholds({"tpot_ms": {"worse": "5%"}})


def test_limits_between_node_counts() -> None:
    parsed = _patterns()
    (limit,) = parsed.scaling_of("llama-160m")
    assert (limit.factor, limit.metric) == (1.6, "tokens_per_s")
    assert parsed.scaling_of("tiny")[0].factor == 1.2
    assert limit.missed({2: 10.0, 4: 16.0}) is None
    assert limit.missed({2: 10.0}) is None
    assert limit.missed({2: 10.0, 4: 15.0}) == (
        "tokens_per_s on 4 nodes is 15 1/s, 1.50 x that of 2 nodes (10 1/s); the limit is '4 nodes "
        "at least 1.6 x 2 nodes' (limits.toml [models.llama-160m])"
    )
    idle = parsed.unmatched([("tiny", 2), ("llama-1b", 2)])
    assert any("'4 nodes at least 1.2 x 2 nodes' compares nothing in this run" in s for s in idle)


def test_a_limit_of_a_single_sample_says_so() -> None:
    (limit,) = thresholds_file.marker_thresholds({"tpot_ms": 50})
    one = limits.explain(limit.check(Estimate(value=60, minimum=60, maximum=60, n=1)))
    assert "20.0 % beyond; a single sample, of unknown spread" in one
    assert "single" not in limits.explain(
        limit.check(Estimate(value=60, minimum=59, maximum=61, n=3))
    )
