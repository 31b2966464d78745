"""What a session's cells take: meters are read from before the first engine's process to the end.

A meter's file stands in place of the machines' own meters where it has a column for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.base import PowerSite, Progress
from pytest_dllama.hosts.power import PowerLog
from pytest_dllama.lab.power.cell_energy import Taken, filled, machine_energy, together, window_of
from pytest_dllama.lab.power.meter_columns import ALL, MeterError
from pytest_dllama.lab.power.meter_file import MeterFile
from pytest_dllama.metrics.catalog import ENERGY
from pytest_dllama.metrics.energy import EnergyCurve, EnergyUnknown, Window
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.energy import EnergyRecord, PowerRecord

IDLE_S = 5.0
LAST_READING_S = 2.0  # how long a reading after the window is waited for
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine, or all of them behind one meter."""

    hosts: tuple[str, ...]
    ranks: tuple[int, ...]
    curve: Callable[[float], EnergyCurve]  # up to a time, as far as it is known; raises MeterError
    record: PowerRecord


class EnergyWatch:
    """The meters of a session.

    Args:
        reads_hosts: whether the machines' own meters are read.
        file: of a meter; None: there is none.
    """

    def __init__(self, *, reads_hosts: bool, file: Path | None) -> None:
        self._reads_hosts = reads_hosts
        self._path = file
        self._logs: list[PowerLog] = []
        self._machines: tuple[Machine, ...] = ()

    def start(self, sites: Sequence[PowerSite], hostname: str) -> None:
        """Read the meters from now on.

        Args:
            sites: the machines of the session.
            hostname: of this machine, as a meter's file may call it.

        Raises:
            MeterError: the meter's file cannot be used.
        """
        self.stop()
        file = self._file(sites, hostname)
        if file is not None and file.hosts == (ALL,):
            everything = tuple(name for site in sites for name in site.hosts)
            ranks = tuple(rank for site in sites for rank in site.ranks)
            self._machines = (_metered(file, ALL, everything, ranks),)
        else:
            self._machines = tuple(self._machine(site, file, hostname) for site in sites)

    def _file(self, sites: Sequence[PowerSite], hostname: str) -> MeterFile | None:
        names = [name for site in sites for name in site.hosts]
        return MeterFile(self._path, [*names, hostname]) if self._path is not None else None

    def _machine(self, site: PowerSite, file: MeterFile | None, hostname: str) -> Machine:
        names = (*site.hosts, hostname) if site.hosts == ("this machine",) else site.hosts
        column = next((name for name in names if file and name in file.hosts), None)
        if file is not None and column is not None:
            return _metered(file, column, site.hosts, site.ranks)
        if not self._reads_hosts:
            why = "the meter's file has no column for it"
            record = PowerRecord(hosts=site.hosts, why_not=why)
            return Machine(site.hosts, site.ranks, _no_curve, record)
        log = PowerLog(site)
        self._logs.append(log)
        return Machine(site.hosts, site.ranks, lambda until_s: _logged(log, until_s), log.record())

    def measure_idle(self, progress: Progress) -> None:
        """What the meters tell for a while in which nothing runs, where one of them is read."""
        if all(machine.record.why_not is not None for machine in self._machines):
            return
        progress.stage(f"measuring idle power for {IDLE_S:g} s")
        start_s = time.time()
        time.sleep(IDLE_S)
        end_s = time.time()
        self._machines = tuple(
            Machine(m.hosts, m.ranks, m.curve, _with_idle(m, start_s, end_s))
            for m in self._machines
        )

    @property
    def records(self) -> tuple[PowerRecord, ...]:
        """What told the power of each machine."""
        return tuple(machine.record for machine in self._machines)

    def of(self, nodes: int, samples: Sequence[Sample]) -> tuple[list[Sample], EnergyRecord]:
        """What a cell took: its samples with their energy, and the cell's record.

        Args:
            nodes: of the cell: the machines of its ranks count.
            samples: one a repeat, which tell when they began.
        """
        windows = [window_of(sample) for sample in samples]
        machines = [m for m in self._machines if any(rank < nodes for rank in m.ranks)]
        found = [[_taken(m, window) for window in windows] for m in machines]
        known = [
            filled(sample, [takes[repeat] for takes in found])
            for repeat, sample in enumerate(samples)
        ]
        parts = tuple(
            machine_energy(m.hosts, _below(nodes, m.ranks), takes, samples, windows)
            for m, takes in zip(machines, found, strict=True)
        )
        return known, together(parts, [m.record.idle_w for m in machines], known, windows)

    def stop(self) -> None:
        """End what reads meters; safe to call twice."""
        for log in self._logs:
            log.close()
        self._logs = []


def check_energy(config: LabConfig, hosts: Sequence[str]) -> None:
    """Refuse what cannot be measured, before anything starts.

    Args:
        config: the options.
        hosts: names that columns of the meter's file may bear.

    Raises:
        ConfigError: a file that cannot be used, or pairs of two engines.
    """
    option = "--power" if config.power_file is not None else "--energy"
    if not config.energy and config.power_file is None:
        return
    if config.comparison is not None and not config.comparison.baseline.is_stored:
        raise ConfigError(
            f"{option} and --baseline {config.comparison.baseline.text} exclude each other: both "
            "sides' workers are up during every pair, so no machine's energy is one side's; "
            "measure each side in a run of its own"
        )
    if config.power_file is not None:
        try:
            MeterFile(config.power_file, hosts)
        except MeterError as error:
            raise ConfigError(f"--power: {error}") from None


def energy_watch(config: LabConfig) -> EnergyWatch | None:
    """What the options ask for; None: nobody asked for energy."""
    if not config.energy and config.power_file is None:
        return None
    return EnergyWatch(reads_hosts=config.energy, file=config.power_file)


def not_asked(watch: EnergyWatch | None) -> dict[str, str]:
    """Metrics that no cell has because nobody asked, with the reason."""
    why = "energy is measured with --energy, or with --power FILE"
    return {} if watch else dict.fromkeys(ENERGY, why)


def _taken(machine: Machine, window: Window | None) -> Taken:
    if machine.record.why_not is not None:
        return Taken(why_not=machine.record.why_not)
    if window is None:
        return Taken(why_not="the engine does not tell when the request was")
    try:
        curve = machine.curve(window.end_s)
        request_j = curve.energy_j(window.start_s, window.end_s)
    except (EnergyUnknown, MeterError) as error:
        return Taken(why_not=str(error))
    try:
        first_s = window.first_token_s
        decode_j = None if first_s is None else curve.energy_j(first_s, window.end_s)
    except EnergyUnknown as error:
        return Taken(request_j, None, str(error))
    return Taken(request_j, decode_j)


def _metered(
    file: MeterFile, column: str, hosts: tuple[str, ...], ranks: tuple[int, ...]
) -> Machine:
    record = PowerRecord(hosts=hosts, source="meter", detail=file.path.name)
    return Machine(hosts, ranks, lambda until_s: file.curve(column, until_s), record)


def _logged(log: PowerLog, until_s: float) -> EnergyCurve:
    """With a reading after that time, if one comes."""
    end_s = time.monotonic() + LAST_READING_S
    curve = log.curve()
    while (not curve.times_s or curve.times_s[-1] < until_s) and time.monotonic() < end_s:
        time.sleep(_POLL_S)
        curve = log.curve()
    return curve


def _below(nodes: int, ranks: Sequence[int]) -> tuple[int, ...]:
    return tuple(rank for rank in ranks if rank < nodes)


def _no_curve(until_s: float) -> EnergyCurve:
    raise EnergyUnknown("nothing reads it")


def _with_idle(machine: Machine, start_s: float, end_s: float) -> PowerRecord:
    """The record with the power between two times, where the meter was read then."""
    if machine.record.why_not is not None:
        return machine.record
    try:
        idle_j = machine.curve(end_s).energy_j(start_s, end_s)
    except (EnergyUnknown, MeterError):
        return machine.record
    idle_w = idle_j / (end_s - start_s)
    return machine.record.model_copy(update={"idle_w": idle_w, "idle_s": end_s - start_s})
