"""Whatever was on emulated links says EMULATED: the table, the page's title, the verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_dllama.emulation.topology import uniform
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.hosts.links.accuracy import cell_links
from pytest_dllama.hosts.links.prober import ProbeSamples
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.duet import Duet, Rules, Side
from pytest_dllama.lab.pairs.sessions import Session
from pytest_dllama.lab.progress import Silent
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.record.emulation import EmulationRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.terminal.summary import summary_lines
from pytest_dllama.report.terminal.verdict import verdict_lines
from pytest_dllama.stats.looks import Plan
from tests.plugin.lab.pairs.stated_times import StatedTimes, config
from tests.plugin.report import report_runs

TOPOLOGY = uniform("100mbe")
WAYS = ((0, 1), (1, 0))


def _samples(delay_us: float = 206.0) -> ProbeSamples:
    return ProbeSamples(
        calm_ns={way: [round(delay_us * 1e3)] * 9 for way in WAYS},
        busy_ns=[(WAYS[0], 210_445)] * 9,
        rates_bps={WAYS[0]: [94.02e6]},
        messages=400,
        late=3,
    )


@pytest.fixture
def emulated() -> RunRecord:
    links = cell_links(TOPOLOGY, 2, [_samples()])
    record = report_runs.run([report_runs.cell("tiny", 2, [1.0], links=links)])
    emulation = EmulationRecord(text=TOPOLOGY.text, network=TOPOLOGY.in_words, seed=1)
    return record.model_copy(update={"emulation": emulation})


def test_the_table_says_what_was_set_and_what_was_kept(emulated: RunRecord) -> None:
    lines = summary_lines(emulated)
    assert lines[0] == (
        "EMULATED links (100mbe: latency=0.2ms,jitter=0.02ms,rate=94mbit): all nodes are processes "
        "of this machine"
    )
    assert (
        "EMULATED links of tiny-2: one-way delay 206 us (median, set 205; p99 206), 94.0 Mbit/s; "
        "off by +5 us while requests ran (p99 +5); 3 of 400 messages late"
    ) in lines


def test_the_title_and_a_table_of_the_page_say_it(emulated: RunRecord) -> None:
    english, korean = render(emulated, "en"), render(emulated, "ko")
    assert "EMULATED links: `100mbe`" in english.splitlines()[0]
    assert "에뮬레이션(EMULATED) 링크: `100mbe`" in korean.splitlines()[0]
    assert "The links were EMULATED between processes of one machine." in english
    assert "`tiny-2`" in english
    assert "205" in english
    plain = emulated.model_copy(update={"emulation": None})
    assert "EMULATED links:" not in render(plain, "en")


def test_the_verdict_says_it(emulated: RunRecord) -> None:
    found = report_runs.verdict(emulated, emulated=TOPOLOGY.described)
    assert verdict_lines(found)[0] == f"EMULATED links ({TOPOLOGY.described})"
    boards = report_runs.verdict(emulated, emulated="pi5x2-1gbe: all of it", emulated_board="pi5")
    assert verdict_lines(boards)[0] == "EMULATED boards (pi5x2-1gbe: all of it)"


def test_pairs_on_links_that_were_not_kept_are_not_believed(tmp_path: Path) -> None:
    settings = replace(config(tmp_path), topology=TOPOLOGY)
    engine = StatedTimes(1.0)
    sides = (Side("base", "a", engine, settings), Side("new", "b", engine, settings))
    rules = Rules(Plan((3,)), NoisePriors(tmp_path / "history", "test"), 7)
    duet = Duet(sides, {}, [CellKey("tiny", 2)], rules, tmp_path, Silent())
    (cell,) = duet.cells
    for side, delay_us in (("base", 300.0), ("new", 206.0)):
        run = RequestRun(cast(Any, None), (), (), links=_samples(delay_us))
        cell.runs[cast(Any, side)].append(Session(run, ()))
    duet._check_emulation(cell)
    assert len(cell.invalid) == 2  # both directions of the base
    assert cell.invalid[0].startswith("base: link: 0 to 1 took 300 us")
