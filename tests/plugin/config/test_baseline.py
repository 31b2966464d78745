"""Every way to say what a run is compared with, and every wrong one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dllama.config.baseline import (
    Baseline,
    comparison_of,
    parse_baseline,
    parse_calibration,
    parse_looks,
    parse_order_seed,
    parse_requests,
    parse_tolerated,
)
from pytest_dllama.config.values import ConfigError
from pytest_dllama.edge.stash import CONFIG_KEY


@pytest.mark.parametrize(
    ("text", "kind", "path", "revision"),
    [
        ("self", "self", "", ""),
        ("git:v0.1.0", "git", "", "v0.1.0"),
        ("git:HEAD~3", "git", "", "HEAD~3"),
        ("git:@~3", "git", "", "@~3"),
        ("git:main@{upstream}", "git", "", "main@{upstream}"),
        ("git:../other@main@{1}", "git", "../other", "main@{1}"),
        ("git:../other@main", "git", "../other", "main"),
        ("git:/a@b/checkout@feature/x", "git", "/a@b/checkout", "feature/x"),
        ("dllama:/opt/dllama", "dllama", "/opt/dllama", ""),
        ("dllama:../distributed-llama@v0.16.0", "dllama", "../distributed-llama", "v0.16.0"),
        ("run:report/run.json", "run", "report/run.json", ""),
        ("accepted", "accepted", "", ""),
    ],
)
def test_specs(text: str, kind: str, path: str, revision: str) -> None:
    found = parse_baseline(text)
    assert (found.kind, found.path, found.revision) == (kind, path, revision)


def test_options() -> None:
    found = parse_baseline("option:nthreads=2, sync-mode=invariant, collective=ring, overlap=on")
    assert isinstance(found, Baseline)
    wanted = {"nthreads": "2", "sync-mode": "invariant", "collective": "ring", "overlap": "on"}
    assert dict(found.options) == wanted


@pytest.mark.parametrize("collective", ["mesh,star@13", "mesh+star@13", " mesh, star@13"])
def test_a_list_of_collectives_is_one_option(collective: str) -> None:
    found = parse_baseline(f"option:collective={collective},nthreads=2,overlap=on@4")
    wanted = {"collective": "mesh,star@13", "nthreads": "2", "overlap": "on@4"}
    assert dict(found.options) == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("gti:main", "did you mean 'git'"),
        ("main", "write self, git:REV"),
        ("git:", "write self, git:REV"),
        ("git:path@", "a revision is missing behind @"),
        ("dllama:path@", "a revision is missing behind @"),
        ("acepted", "did you mean 'accepted'"),
        ("GIT:main", "did you mean 'git'"),
        ("run:", "run:FILE or accepted"),
        ("option:nthread=2", "did you mean 'nthreads'"),
        ("option:nodes=2", "no engine option 'nodes'; there are nthreads, buffer-float-type"),
        ("option:nthreads=2,nthreads=3", "nthreads stands twice; name each option once"),
        ("option:nthreads=0", "a whole number of at least 1"),
        ("option:nthreads", "a whole number of at least 1"),
        ("option:buffer-float-type=q81", "write q80 or f32"),
        ("option:collective=tree", "--baseline .*=tree: --collective 'tree': there are auto, mesh"),
        ("option:collective", "--collective '': there are auto, mesh"),
        ("option:overlap=4", "there are off, on, auto, on@TOKENS; did you mean on@4"),
        ("option:overlap=on,star@13", "no engine option 'star@13'"),
        ("option:colour=red", "there are nthreads, buffer-float-type, sync-mode"),
    ],
)
def test_what_cannot_be(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_baseline(text)


VALUES: dict[str, Any] = {
    "pairs": (3, 5), "inconclusive": "warn", "order-seed": None, "bisect": False,
    "requests-per-session": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("git:other@main", "/base/other"),
        ("run:run.json", "/base/run.json"),
        ("dllama:./dllama", "/base/dllama"),
        ("dllama:dllama", "dllama"),  # PATH finds it
        ("dllama:dllama@main", "/base/dllama"),
    ],
)
def test_relative_paths_start_where_they_were_written(spec: str, path: str) -> None:
    found = comparison_of({**VALUES, "baseline": spec}, Path("/base"))
    assert found is not None
    assert found.baseline.path == path
    assert found.baseline.text == spec


def test_without_a_baseline_nothing_is_compared() -> None:
    assert comparison_of({**VALUES, "baseline": ""}, Path()) is None
    with pytest.raises(ConfigError, match="--bisect needs --baseline SPEC"):
        comparison_of({**VALUES, "baseline": "", "bisect": True}, Path())


def test_a_tolerance_of_all_metrics() -> None:
    found = comparison_of({**VALUES, "baseline": "self", "tolerate": 0.4}, Path())
    assert found is not None
    assert found.tolerated == 0.4
    assert parse_tolerated("2.5 %") == 0.025
    for text in ("0.4", "0%", "-4%", "much", "9" * 5000):
        with pytest.raises(ConfigError, match=r"^--tolerate .*: write a percentage above 0, as in"):
            parse_tolerated(text)


def test_looks_and_the_seed_of_the_order() -> None:
    assert parse_looks("3, 5") == (3, 5)
    for text, words in (("x", "write numbers of pairs"), ("5,3", "more than the one before")):
        with pytest.raises(ConfigError, match=words):
            parse_looks(text)
    assert (parse_order_seed("7"), parse_order_seed("")) == (7, None)
    with pytest.raises(ConfigError, match="--order-seed '-1' is no whole number"):
        parse_order_seed("-1")


@pytest.mark.parametrize("words", [("--calibrate",), ("--calibrate", "--nodes", "1")])
def test_a_bare_calibrate_has_its_usual_number(pytester: pytest.Pytester, words) -> None:
    comparison = pytester.parseconfigure(*words).stash[CONFIG_KEY].comparison
    assert comparison is not None
    assert (comparison.is_calibration, comparison.looks) == (True, (20,))
    result = pytester.runpytest_inprocess("--calibrate", ".")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --calibrate '.': write a number of pairs, 3 or more; left out at the end it is 20"]
    )


@pytest.mark.parametrize(
    ("parse", "option"),
    [
        (parse_order_seed, "--order-seed"),
        (parse_calibration, "--calibrate"),
        (parse_looks, "--pairs"),
        (parse_requests, "--requests-per-session"),
    ],
)
def test_more_digits_than_python_reads_are_no_number(parse, option: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{option} '9{{40}}\.\.'") as caught:
        parse("9" * 5000)
    assert len(str(caught.value)) < 150
