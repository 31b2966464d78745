"""The proof of verdicts: what its journal keeps, how pairs are judged, and what is found."""

from __future__ import annotations

import doctest
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import pytest

from benchmarks.verdicts.proof.blocks import Block, blocks, differences, judge, priors_of
from benchmarks.verdicts.proof.findings import causes, injected, promises, rivals, tables
from benchmarks.verdicts.proof.findings.expected import simulated
from benchmarks.verdicts.proof.findings.tables import Findings, document
from benchmarks.verdicts.proof.journal import (
    AA,
    CALIBRATION,
    Condition,
    Journal,
    JournalError,
    Pair,
)
from benchmarks.verdicts.proof.taking import campaign, outlook
from pytest_dllama.record.cell import PartTime, Sample
from pytest_dllama.record.verdict import SideSession
from pytest_dllama.stats.looks import Plan
from pytest_dllama.stats.prior import VariancePrior
from tests.benchmarks.proof_pairs import SAME, comparison, pair, pairs


@pytest.mark.parametrize(
    "module",
    [campaign, causes, injected, outlook, tables],
    ids=lambda module: module.__name__,
)
def test_doctests(module: ModuleType) -> None:
    results = doctest.testmod(module)
    assert results.attempted >= 1
    assert results.failed == 0


def test_a_torn_line_is_passed_over_and_the_next_row_stands_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    for row in pairs(2):
        journal.append(row)
    with journal.path.open("ab") as file:
        file.write(b'{"kind":"pair","compar')  # what kill -9 leaves
    again = Journal(journal.path)
    assert (len(again.pairs()), again.torn) == (2, 1)
    again.append(pair(3))
    assert Journal(journal.path).pairs() == [*pairs(2), pair(3)]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"kind": "pear"}', "pairs.jsonl:1 is no row of a verdict proof"),
        ('{"kind": "pair", "cell": 3}', "pairs.jsonl:1 is no row of a verdict proof"),
        (comparison().model_copy(update={"schema_version": 9}).model_dump_json(), "has version 9"),
    ],
)
def test_a_row_of_something_else_is_refused(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(line + "\n")
    with pytest.raises(JournalError, match=words):
        Journal(path)


def test_pairs_of_an_invalid_cell_are_kept_and_not_believed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    journal.append(pair(1).model_copy(update={"invalid": ("new, pair 1: wrong output",)}))
    journal.append(pair(2))
    assert [row.number for row in Journal(journal.path).pairs(SAME)] == [2]


def test_blocks_are_disjoint_adjacent_and_of_one_cell() -> None:
    mixed = [
        row
        for two in zip(pairs(7), pairs(7, cell="tiny-4"), strict=True)
        for row in two
    ]  # fmt: skip
    gap = [row for row in pairs(7, comparison="c2") if row.number != 4]
    found = blocks([*mixed, *gap], 3)
    assert [(b.cell, b.pairs[0].comparison, [p.number for p in b.pairs]) for b in found] == [
        ("tiny-2", "c1", [1, 2, 3]),
        ("tiny-2", "c1", [4, 5, 6]),
        ("tiny-2", "c2", [1, 2, 3]),
        ("tiny-2", "c2", [5, 6, 7]),
        ("tiny-4", "c1", [1, 2, 3]),
        ("tiny-4", "c1", [4, 5, 6]),
    ]
    assert len({block.id for block in found}) == len(found)


@pytest.mark.parametrize(("factor", "status"), [(1, "PASS"), (1.3, "REGRESSED"), (0.7, "IMPROVED")])
def test_a_block_is_judged_as_soon_as_it_is_decided(factor: float, status: str) -> None:
    prior = VariancePrior(20.0, 1e-4, 40, 160.0)
    known = {metric: prior for metric in ("ttft_s", "tpot_ms", "rct_s")}
    (block,) = blocks(pairs(10, factor), 10)
    found = judge(block, known)
    assert (found.status, found.pairs, found.wall_s) == (status, 3, 6.0)
    (near,) = blocks(pairs(10, 1.05), 10)  # at the limit no number of looks decides
    undecided = judge(near, known, metrics=("tpot_ms",))
    assert (undecided.status, undecided.pairs, undecided.wall_s) == ("INCONCLUSIVE", 10, 20.0)


def test_the_prior_comes_from_the_calibration_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    calibration = Condition(stage=CALIBRATION)
    for row in (comparison(), *pairs(120, condition=calibration), *pairs(9, 1.2)):
        journal.append(row)
    findings = Findings(journal)
    assert {row.condition for row in findings.calibration} == {calibration}
    prior = findings.priors["tpot_ms"]
    assert prior == priors_of(findings.calibration)["tpot_ms"]
    assert prior is not None
    assert prior.groups == 20
    assert priors_of(pairs(119))["tpot_ms"] is not None
    assert priors_of(pairs(90))["tpot_ms"] is None
    text = document(findings)
    assert "from 20 groups that are judged nowhere" in text
    assert "| tiny-2 | 3 | 3 | 3 (29.2 to 100.0 %) |" in text  # all three blocks REGRESSED


def test_injected_slowness_stands_beside_what_was_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    slowed = Condition(stage="injected", inject="tpot=10%")
    calibration = Condition(stage=CALIBRATION)
    for row in (
        comparison(),
        *pairs(120, condition=calibration),
        *pairs(10, 1.1, condition=slowed),
    ):
        journal.append(row)
    heading, table = injected.injected(Findings(journal))
    assert heading == "### TPOT slowed down by a known share"
    at_three, to_ten = table.splitlines()[2:]
    assert at_three.startswith(
        "| tiny-2 | +10 % | TPOT | +10.0 % | 1.1 % | 3 | 3 | 3 (29.2 to 100.0 %) |"
    )
    assert to_ten.startswith(
        "| tiny-2 | +10 % | TPOT | +10.0 % | 1.1 % | to 10 | 1 | 1 (2.5 to 100.0 %) |"
    )
    assert at_three.endswith("| 100 % | 0 % | 0 % | 6 |")
    assert injected.injected(Findings(Journal(tmp_path / "none.jsonl"))) == []


def slowed_pairs(inject: str, grown: dict[tuple[int, str, int | None], float]) -> list[Pair]:
    """Three pairs that tell parts of decode; `grown` by (rank, part, waited for), in ms."""
    parts = {(0, "feed-forward", None): 4.0, (0, "exchange-wait", 1): 2.0, (0, "other", None): 1.0}
    parts |= {(1, "feed-forward", None): 4.0}
    condition = Condition(stage="cause", inject=inject)
    found = []
    for row in pairs(3, condition=condition):
        samples = {}
        for side in ("base", "new"):
            wobble = 1 + 0.001 * (row.number if side == "base" else -row.number)
            times = {
                key: wobble * ms + (grown.get(key, 0.0) if side == "new" else 0.0)
                for key, ms in parts.items()
            }
            tpot_ms = sum(ms for (rank, *_), ms in times.items() if rank == 0)
            told = tuple(
                PartTime(phase="decode", rank=rank, part=part, waited_for=peer, ms=ms)
                for (rank, part, peer), ms in times.items()
            )
            samples[side] = Sample(
                n_input_tokens=4, n_output_tokens=8, ttft_s=0.05, tpot_ms=tpot_ms, rct_s=0.2,
                tokens_per_s=40.0, prefill_tokens=4, prefill_s=0.05, decode_tokens=8, decode_s=0.1,
                parts=told,
            )  # fmt: skip
        sessions = tuple(
            s.model_copy(update={"metrics": {**s.metrics, "tpot_ms": samples[s.side].tpot_ms}})
            for s in row.sessions
        )
        found.append(row.model_copy(update={"samples": samples, "sessions": sessions}))
    return found


@pytest.mark.parametrize(
    ("inject", "grown", "right", "else_named"),
    [
        (
            "feed-forward=40%",
            {
                (0, "feed-forward", None): 2.0,
                (1, "feed-forward", None): 2.0,
                (0, "exchange-wait", 1): 9.0,  # and all the more waiting
            },
            "1 (2.5 to 100.0 %)",
            "-",
        ),
        (
            "feed-forward=40%",
            {(0, "other", None): 2.0},
            "0 (0.0 to 97.5 %)",
            "1 other on rank 0",
        ),
        (
            "feed-forward=40%",
            {(0, "feed-forward", None): 2.0},  # on all of them it was
            "0 (0.0 to 97.5 %)",
            "1 feed-forward on rank 0",
        ),
        (
            "rank=1:feed-forward=80%",
            {(1, "feed-forward", None): 2.0, (0, "exchange-wait", 1): 2.0},
            "1 (2.5 to 100.0 %)",
            "-",
        ),
        (
            "rank=1:feed-forward=80%",
            {(0, "exchange-wait", 1): 2.0},  # it waits, and nobody knows why
            "0 (0.0 to 97.5 %)",
            "1 waiting for rank 1",
        ),
    ],
)
def test_a_cause_is_right_if_its_work_is_named_on_its_ranks(
    inject: str,
    grown: dict[tuple[int, str, int | None], float],
    right: str,
    else_named: str,
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    for row in (comparison(), *slowed_pairs(inject, grown)):
        journal.append(row)
    _, table = causes.causes(Findings(Journal(journal.path)))
    (row_text,) = table.splitlines()[2:]
    cells = [cell.strip() for cell in row_text.strip("|").split("|")]
    assert cells[:2] == ["tiny-2", f"`{inject}`"]
    assert cells[4:] == ["1 (2.5 to 100.0 %)", right, else_named]


def test_half_a_percent_is_of_what_the_part_takes_there(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    assert causes.small_condition(journal, "tiny-2", "feed-forward") is None
    for row in slowed_pairs("feed-forward=40%", {}):
        journal.append(row)
    small = causes.small_condition(journal, "tiny-2", "feed-forward")  # feed-forward is 4 of 7 ms
    assert small == Condition(stage="small", inject="feed-forward=0.9%")
    for row in slowed_pairs("feed-forward=40%", {(0, "other", None): 9.0}):
        samples = {**row.samples, "base": row.samples["new"]}  # takes another share from now on
        journal.append(row.model_copy(update={"condition": small, "samples": samples}))
    assert (
        causes.small_condition(journal, "tiny-2", "feed-forward") == small
    )  # what was begun goes on


def test_promises_are_held_against_what_was_found(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "pairs.jsonl")
    slowed = Condition(stage="injected", inject="tpot=10%")
    for row in (
        comparison(),
        *pairs(120, condition=Condition(stage=CALIBRATION)),
        *pairs(9),
        *pairs(3, 1.2, comparison="c2"),  # one false alarm in four
        *pairs(3, condition=Condition(stage=AA, is_busy=True)),
        *pairs(9, 1.1, condition=slowed),
        *slowed_pairs("feed-forward=40%", {(0, "other", None): 2.0}),
    ):
        journal.append(row)
    heading, table = promises.promises(Findings(journal))
    assert heading == "### Promises"
    assert table.splitlines()[2:] == [
        "| the same against the same: REGRESSED in at most 1 % | 3 "
        "| 1 (0.6 to 80.6 %) of 4 | **no** |",
        "| the same against the same beside a busy process: REGRESSED in at most 2 % | 3 "
        "| 0 (0.0 to 97.5 %) of 1 | yes |",
        "| tiny-2, TPOT +10 %, sd of a pair 1.1 %: found in at least 85 % | 3 "
        "| 3 (29.2 to 100.0 %) of 3 | yes |",
        "| `feed-forward=40%`: feed-forward, decode named in at least 95 % | 3 "
        "| 0 (0.0 to 97.5 %) of 1 | **no** |",
    ]
    assert promises.promises(Findings(Journal(tmp_path / "none.jsonl"))) == []


def test_differences_are_of_logarithms() -> None:
    assert differences([pair(1, 1.1)], "tpot_ms").tolist() == pytest.approx([0.0953102])


def test_the_simulation_agrees_with_what_is_known() -> None:
    prior = VariancePrior(1e6, 0.02**2, 10**6, 1e9)
    same = simulated(0.02, 0.0, 0.05, prior, Plan())
    assert same.last["PASS"] > 0.99
    limit = simulated(0.02, 0.05, 0.05, prior, Plan())
    assert limit.first["REGRESSED"] == pytest.approx(0.0199, abs=0.004)
    assert limit.last["REGRESSED"] == pytest.approx(0.05, abs=0.006)
    assert sum(limit.last.values()) == pytest.approx(1.0)


def test_pytest_benchmark_judges_the_same_sessions(tmp_path: Path) -> None:
    near, far = blocks(pairs(3, 1.02), 3), blocks(pairs(3, 1.2, comparison="c2"), 3)
    flagged = rivals.by_pytest_benchmark([*near, *far], tmp_path / "rows")
    assert flagged == {block.id for block in far}
    assert rivals.by_pytest_benchmark(near, tmp_path / "rows") == set()


def test_pytest_benchmark_without_rows_is_no_verdict(tmp_path: Path) -> None:
    (block,) = blocks(pairs(3), 3)
    lame = Block(
        block.cell, tuple(p.model_copy(update={"sessions": _without(p)}) for p in block.pairs)
    )
    with pytest.raises(rivals.RivalFailed, match="pytest-benchmark has 0 of 1 rows"):
        rivals.by_pytest_benchmark([lame], tmp_path / "rows")


def _without(row: Pair) -> Sequence[SideSession]:
    return tuple(s.model_copy(update={"metrics": {"tpot_ms": None}}) for s in row.sessions)


def test_welch_flags_what_is_surely_slower() -> None:
    near, far = blocks(pairs(3, 1.001), 3), blocks(pairs(3, 1.2, comparison="c2"), 3)
    faster = blocks(pairs(3, 0.8, comparison="c3"), 3)
    assert rivals.by_welch([*near, *far, *faster]) == {block.id for block in far}


@pytest.mark.skipif(rivals.otava_program() is None, reason="Apache Otava is not installed")
def test_otava_judges_the_same_sessions(tmp_path: Path) -> None:
    past = [10 * (1 + 0.005 * (-1) ** day) for day in range(rivals.PAST)]
    same, far = blocks(pairs(10), 10), blocks(pairs(10, 1.3, comparison="c2"), 10)
    found = [*same, *far]
    program = rivals.otava_program()
    assert program is not None
    flagged = rivals.by_otava(program, found, {b.id: past for b in found}, tmp_path)
    assert flagged == {block.id for block in far}
