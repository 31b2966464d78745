"""What cells take: machines counted once, sums only where all is known, idle taken away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.base import HostError, PowerFeed, PowerSite
from pytest_dllama.lab.power import watch
from pytest_dllama.lab.power.cell_energy import stamped
from pytest_dllama.lab.power.watch import EnergyWatch, check_energy, energy_watch
from pytest_dllama.lab.progress import Silent
from pytest_dllama.record.cell import Sample

SAMPLE = Sample(
    n_input_tokens=4, n_output_tokens=11, ttft_s=0.5, tpot_ms=150.0, rct_s=2.0, tokens_per_s=5.5,
    prefill_tokens=3, prefill_s=0.5, decode_tokens=11, decode_s=1.5,
)  # fmt: skip


def at(end_s: float, sample: Sample = SAMPLE) -> Sample:
    """A request that ended then."""
    return stamped(sample, end_s)


@pytest.fixture(autouse=True)
def short_idle(monkeypatch) -> None:
    monkeypatch.setattr(watch, "IDLE_S", 0.2)


def _meter(tmp_path: Path, header: str, *watts: float) -> Path:
    """Of steady powers, from a minute ago until an hour from now."""
    start_s, values = time.time() - 60, ",".join(map(str, watts))
    rows = "".join(f"{start_s + n / 20:.3f},{values}\n" for n in range(20 * 200))
    path = tmp_path / "meter.csv"
    path.write_text(f"time,{header}\n{rows}")
    return path


def _silent_site(name: str, *ranks: int, why: str = "no route to it") -> PowerSite:
    def fail() -> PowerFeed:
        raise HostError(why)

    return PowerSite((name,), ranks, fail)


def _told_site(name: str, *ranks: int, watts: float, ahead_s: float = 0.0) -> PowerSite:
    """A machine whose agent told a minute at once, by a clock that is ahead."""
    start_s = time.time() + ahead_s - 30
    about = b'{"source": "pmic", "detail": "12 rails", "unit": "w", "period_s": 0.05}'
    lines = [about, *(f"{start_s + n / 20:.6f} {watts}".encode() for n in range(1200))]
    return PowerSite((name,), ranks, lambda: PowerFeed(iter(lines), lambda: None), ahead_s)


def _started(sites, *, reads_hosts: bool = False, file: Path | None = None) -> EnergyWatch:
    made = EnergyWatch(reads_hosts=reads_hosts, file=file)
    made.start(sites, "box")
    made.measure_idle(Silent())
    return made


def test_a_column_of_each_host_adds_up_over_those_of_the_cell(tmp_path: Path) -> None:
    sites = [_silent_site(name, rank) for rank, name in enumerate(("pi1", "pi2", "pi3"))]
    made = _started(sites, file=_meter(tmp_path, "pi1_w,pi2_w,pi3_w", 4.0, 3.0, 2.0))
    end_s = time.time()
    (sample,), cell = made.of(2, [at(end_s)])
    assert sample.request_j == pytest.approx(7.0 * 2.0)
    assert sample.decode_j == pytest.approx(7.0 * 1.5)
    assert sample.start_epoch_s == pytest.approx(end_s - 2.0, abs=1e-3)
    assert [machine.hosts for machine in cell.machines] == [("pi1",), ("pi2",)]
    assert cell.machines[1].j_per_token == pytest.approx(3.0 * 0.15)
    assert (cell.mean_w, cell.idle_w) == (pytest.approx(7.0), pytest.approx(7.0))
    assert cell.j_per_token_above_idle == pytest.approx(0.0, abs=1e-9)
    assert {power.source for power in made.records} == {"meter"}


def test_one_meter_of_all_counts_whole_for_every_cell(tmp_path: Path) -> None:
    sites = [_silent_site("pi1", 0), _silent_site("pi2", 1)]
    made = _started(sites, file=_meter(tmp_path, "power_w", 9.0))
    for nodes in (1, 2):
        (sample,), cell = made.of(nodes, [at(time.time())])
        assert sample.request_j == pytest.approx(18.0)
        assert [machine.hosts for machine in cell.machines] == [("pi1", "pi2")]


def test_a_machine_that_is_not_known_makes_the_sum_unknown() -> None:
    sites = [_told_site("pi1", 0, watts=5.0), _silent_site("pi2", 1)]
    made = _started(sites, reads_hosts=True)
    first, second = made.records
    assert (first.source, first.detail, first.idle_w) == ("pmic", "12 rails", pytest.approx(5.0))
    assert (second.source, second.idle_w, second.why_not) == (None, None, "no route to it")
    (alone,), cell = made.of(1, [at(time.time())])
    assert alone.request_j == pytest.approx(10.0)
    assert len(cell.machines) == 1
    (both,), cell = made.of(2, [at(time.time())])
    assert (both.request_j, both.decode_j, cell.mean_w, cell.idle_w) == (None, None, None, None)
    assert cell.machines[0].request_j == pytest.approx(10.0)
    assert (cell.machines[1].request_j, cell.machines[1].why_not) == (None, "no route to it")
    made.stop()


def test_ranks_of_one_machine_count_it_once() -> None:
    made = _started([_told_site("pi1", 0, 1, 2, watts=5.0)], reads_hosts=True)
    (sample,), cell = made.of(2, [at(time.time())])
    assert sample.request_j == pytest.approx(10.0)
    assert [machine.ranks for machine in cell.machines] == [(0, 1)]


def test_a_clock_that_is_ahead_is_set_right() -> None:
    made = _started([_told_site("pi1", 0, watts=5.0, ahead_s=9 * 3600.0)], reads_hosts=True)
    (sample,), _ = made.of(1, [at(time.time())])
    assert sample.request_j == pytest.approx(10.0)


def test_idle_power_is_taken_away() -> None:
    now_s, idle_s = time.time(), 600.0  # a busy machine may come to measure it a while later
    about = b'{"source": "rapl", "detail": "package-0", "unit": "j", "period_s": 0.05}'
    n_idle = int(20 * idle_s)
    idle = [f"{now_s + n / 20:.6f} {2 * n / 20}".encode() for n in range(-20, n_idle + 1)]  # 2 W
    busy = [
        f"{now_s + idle_s + n / 20:.6f} {2 * idle_s + 10 * n / 20}".encode() for n in range(1, 81)
    ]
    lines = iter([about, *idle, *busy])
    site = PowerSite(("pi1",), (0,), lambda: PowerFeed(lines, lambda: None))
    made = _started([site], reads_hosts=True)
    whole_us = 1e-4  # readings are stamped in whole microseconds
    assert made.records[0].idle_w == pytest.approx(2.0, rel=whole_us)
    (sample,), cell = made.of(1, [at(now_s + idle_s + 3.0)])
    assert sample.request_j == pytest.approx(20.0, rel=whole_us)
    assert cell.request_j_above_idle == pytest.approx(16.0, rel=whole_us)
    assert cell.j_per_token_above_idle == pytest.approx((10.0 - 2.0) * 0.15, rel=whole_us)


def test_a_request_of_unknown_time_or_length_says_so() -> None:
    made = _started([_told_site("pi1", 0, watts=5.0)], reads_hosts=True)
    short = SAMPLE.model_copy(update={"rct_s": 0.09, "ttft_s": 0.01})
    samples, cell = made.of(1, [SAMPLE, at(time.time(), short)])
    assert [sample.request_j for sample in samples] == [None, None]
    assert cell.machines[0].why_not == "the engine does not tell when the request was"
    _, cell = made.of(1, [at(time.time(), short)])
    words = "0.090 s are too short for a meter that is read every 0.05 s: 3 readings are needed"
    assert words in str(cell.machines[0].why_not)


def test_a_host_without_a_column_is_not_known(tmp_path: Path) -> None:
    sites = [_silent_site("pi1", 0), _silent_site("pi2", 1)]
    made = _started(sites, file=_meter(tmp_path, "pi1_w", 4.0))
    assert [power.why_not for power in made.records] == [
        *(None, "the meter's file has no column for it"),
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"power": "gone.csv"}, r"--power: .*gone\.csv cannot be read: No such file or directory"),
        ({"power": "other.csv"}, r"the column 'pi7_w' is of no host of this run; there are pi1, b"),
        (
            {"energy": "yes", "baseline": "self"},
            "--energy and --baseline self exclude each other: both sides' workers are up",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(tmp_path: Path, options, words) -> None:
    (tmp_path / "other.csv").write_text("time,pi7_w\n")
    config = LabConfig.of_texts(options, tmp_path)
    with pytest.raises(ConfigError, match=words):
        check_energy(config, ["pi1", "box"])


def test_a_stored_baseline_goes_with_energy(tmp_path: Path) -> None:
    config = LabConfig.of_texts({"energy": "yes", "baseline": "accepted"}, tmp_path)
    check_energy(config, ["pi1"])
    assert energy_watch(config) is not None
    assert energy_watch(LabConfig.of_texts({}, tmp_path)) is None
