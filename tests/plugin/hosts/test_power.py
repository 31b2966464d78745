"""Meters of this machine: a Pi 5's rails and RAPL's counters, read by a process of the agent."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_dllama.hosts.agent import power
from pytest_dllama.hosts.agent.power import PowerUnknown, find_meter, rails_w
from pytest_dllama.hosts.power import PowerLog, local_power
from tests.hosts.board import Board
from tests.plugin.hosts.rails import RAILS, WATTS


def _zone(root: Path, zone: str, name: str, energy_uj: int, turn_uj: int = 262143328850) -> Path:
    folder = root / "sys/class/powercap" / zone
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{turn_uj}\n")
    (folder / "energy_uj").write_text(f"{energy_uj}\n")
    return folder / "energy_uj"


@pytest.fixture
def powercap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of nothing but what a test puts there."""
    monkeypatch.setattr(power, "POWERCAP", tmp_path / "sys/class/powercap")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_every_rail_of_which_both_are_known_counts() -> None:
    rails = rails_w(RAILS)
    assert len(rails) == 12
    assert rails["VDD_CORE"] == pytest.approx(0.9287199 * 0.7209762)
    assert sum(rails.values()) == pytest.approx(WATTS, abs=1e-3)
    assert rails_w('error=2 error_msg="Command not registered"\n') == {}


def test_a_program_that_tells_no_rails_says_what_it_told(powercap: Path) -> None:
    board = Board(powercap)
    board.vcgencmd("echo 'error=1 error_msg=\"Command not registered\"'")
    words = r"tells no rails \(error=1 .*not registered.*older boards do not; .* the group video"
    with pytest.raises(PowerUnknown, match=words):
        find_meter()
    board.vcgencmd("")
    with pytest.raises(PowerUnknown, match=r"tells no rails \(exit code 0\)"):
        find_meter()


def test_packages_and_their_memory_count_and_no_part_of_a_package(powercap: Path) -> None:
    package = _zone(powercap, "intel-rapl:0", "package-0", 5_000_000)
    _zone(powercap, "intel-rapl:0:0", "core", 9_000_000)
    memory = _zone(powercap, "intel-rapl:0:1", "dram", 1_000_000)
    _zone(powercap, "intel-rapl:1", "psys", 9_000_000)
    _zone(powercap, "intel-rapl-mmio:0", "package-0", 9_000_000)
    meter = find_meter()
    assert (meter.source, meter.unit, meter.detail) == ("rapl", "j", "package-0 + dram 0")
    assert meter.read() == 0.0
    package.write_text("8500000\n")
    memory.write_text("1250000\n")
    assert meter.read() == 3.75
    assert meter.read() == 3.75


def test_a_counter_that_turns_over_goes_on(powercap: Path) -> None:
    counter = _zone(powercap, "intel-rapl:0", "package-0", 9_000_000, turn_uj=10_000_000)
    meter = find_meter()
    counter.write_text("2000000\n")
    assert meter.read() == 3.0
    counter.write_text("1000000\n")
    assert meter.read() == 12.0


def test_counters_for_root_only_name_the_remedy(powercap: Path, monkeypatch) -> None:
    counter = _zone(powercap, "intel-rapl:0", "package-0", 9_000_000)
    read = Path.read_text

    def refused(path: Path) -> str:
        if path == counter:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(PowerUnknown, match=r"energy_uj is readable for root only; .*sudo chmod a"):
        find_meter()


def test_a_machine_without_any_names_the_meter_at_the_plug(powercap: Path) -> None:
    with pytest.raises(PowerUnknown, match=r"neither vcgencmd .* nor counters .* with --power$"):
        find_meter()


def test_this_machines_meter_is_read_by_a_process_that_ends_with_its_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(tmp_path)
    board.write("rails", RAILS)
    board.vcgencmd("cat $(dirname $0)/../rails")
    monkeypatch.setenv("PATH", f"{board.bin}:/usr/bin:/bin")
    start_s = time.time()
    log = PowerLog(local_power((0, 1)))
    try:
        found = log.record()
        assert (found.source, found.detail, found.period_s) == ("pmic", "12 rails", 0.25)
        until_s = time.monotonic() + 180
        while len(log.curve().times_s) < 3:
            assert time.monotonic() < until_s
            time.sleep(0.05)
        times_s, joules = log.curve().times_s, log.curve().joules
        assert joules[-1] / (times_s[-1] - times_s[0]) == pytest.approx(WATTS, abs=1e-3)
        assert start_s <= times_s[-1] <= time.time()
    finally:
        log.close()
    log.close()
    assert not log._reader.is_alive()


def test_a_machine_that_cannot_tell_says_why(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTEST_DLLAMA_SYSTEM_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    log = PowerLog(local_power((0,)))
    assert "it has neither vcgencmd (Raspberry Pi 5)" in str(log.record().why_not)
    assert log.curve().times_s == ()
    log.close()
