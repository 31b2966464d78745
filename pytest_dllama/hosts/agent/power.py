"""What this machine takes from its supply, as far as it can tell: a Pi 5's PMIC, an x86's RAPL.

`serve` tells it until its standard input ends: one line of JSON about the meter, then a line of
clock and value a reading. Starting `vcgencmd` costs a process each time, so that a board is read a
few times a second; RAPL's counters are files and are read more often.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol

from pytest_dllama.hosts.agent.facts import ROOT

POWERCAP = ROOT / "sys/class/powercap"
VCGENCMD_TIMEOUT_S = 2.0
_RAIL = re.compile(r"^\s*(\S+)_([AV])\s+(?:current|volt)\(\d+\)=([0-9.]+)[AV]\s*$", re.MULTILINE)


class PowerUnknown(Exception):
    """This machine does not tell what it takes; the message says what would help."""


class Meter(Protocol):
    """Something that tells power or energy."""

    source: str
    detail: str  # what it adds up
    unit: str  # "w": the power now; "j": all energy since some time
    period_s: float

    def read(self) -> float:
        """The value now; raises PowerUnknown."""


class Rails:
    """The rails that a Raspberry Pi 5's power chip measures, the sum of V times A."""

    source, unit, period_s = "pmic", "w", 0.25

    def __init__(self, program: str) -> None:
        self._program = program
        self.detail = f"{len(rails_w(self._text()))} rails"

    def read(self) -> float:
        """Power of all rails together, in W."""
        return sum(rails_w(self._text()).values())

    def _text(self) -> str:
        command = [self._program, "pmic_read_adc"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=VCGENCMD_TIMEOUT_S
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PowerUnknown(f"vcgencmd pmic_read_adc does not run: {error}") from None
        if rails_w(done.stdout):
            return done.stdout
        said = " ".join((done.stdout + done.stderr).split())[:200] or f"exit code {done.returncode}"
        raise PowerUnknown(
            f"vcgencmd pmic_read_adc tells no rails ({said}): a Raspberry Pi 5 has them, older "
            "boards do not; and who reads them must be in the group video"
        )


def rails_w(text: str) -> dict[str, float]:
    r"""Power of each rail of which both are known, by name, in W.

    `EXT5V` and `BATT` have a voltage and no current: they are the supply, not a part of it.

    >>> rails_w("  A_A current(0)=0.5A\n  A_V volt(8)=2.0V\n  EXT5V_V volt(24)=5.1V\n")
    {'A': 1.0}
    """
    found: dict[str, dict[str, float]] = {"A": {}, "V": {}}
    for rail, kind, value in _RAIL.findall(text):
        found[kind][rail] = float(value)
    return {
        rail: amps * found["V"][rail] for rail, amps in found["A"].items() if rail in found["V"]
    }


class Counters:
    """RAPL's counters of whole packages and of the memory beside them.

    A package holds its cores and its graphics, not the memory; the counters turn over at
    `max_energy_range_uj` (Linux, Documentation/power/powercap).
    """

    source, unit, period_s = "rapl", "j", 0.05

    def __init__(self, zones: dict[str, Path]) -> None:
        self.detail = " + ".join(zones)
        self._zones = tuple(zones.values())
        self._ranges = [int((zone / "max_energy_range_uj").read_text()) for zone in self._zones]
        self._seen = self._now()
        self._sum_uj = 0

    def read(self) -> float:
        """Energy of all of them since the meter was made, in J."""
        now = self._now()
        for value, before, turn in zip(now, self._seen, self._ranges, strict=True):
            self._sum_uj += value - before + (turn if value < before else 0)
        self._seen = now
        return self._sum_uj / 1e6

    def _now(self) -> list[int]:
        try:
            return [int((zone / "energy_uj").read_text()) for zone in self._zones]
        except PermissionError as error:
            raise PowerUnknown(
                f"{error.filename} is readable for root only; allow it until the next boot with: "
                "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
            ) from None


def _zones() -> dict[str, Path]:
    """Packages and their memory, by name; not what is a part of a package, nor a second view."""
    named = {zone: _name(zone) for zone in sorted(POWERCAP.glob("intel-rapl:*"))}
    wanted = {zone: name for zone, name in named.items() if name.startswith("package-")}
    memory = {zone: name for zone, name in named.items() if name == "dram"}
    return {
        **{name: zone for zone, name in wanted.items()},
        **{f"dram {zone.name.split(':')[1]}": zone for zone in memory},
    }


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


def find_meter() -> Meter:
    """The meter of this machine.

    Raises:
        PowerUnknown: it has none, or may not read it.
    """
    if program := shutil.which("vcgencmd"):
        return Rails(program)
    if zones := _zones():
        return Counters(zones)
    raise PowerUnknown(
        "it has neither vcgencmd (Raspberry Pi 5) nor counters in /sys/class/powercap (RAPL); give "
        "the file of a meter at its plug with --power"
    )


def serve() -> None:
    """Tell readings until nobody holds standard input any more."""
    try:
        meter = find_meter()
    except (PowerUnknown, OSError, ValueError) as error:
        print(json.dumps({"error": str(error)}), flush=True)
        return
    about = {name: getattr(meter, name) for name in ("source", "detail", "unit", "period_s")}
    print(json.dumps(about), flush=True)
    due_s = time.monotonic()
    while True:
        before_s = time.time()
        try:
            value = meter.read()
            print(f"{(before_s + time.time()) / 2:.6f} {value:.6f}", flush=True)
        except PowerUnknown:
            pass  # a reading less; who integrates sees the gap
        due_s = max(due_s + meter.period_s, time.monotonic())
        ready, _, _ = select.select([sys.stdin], [], [], due_s - time.monotonic())
        if ready and not os.read(sys.stdin.fileno(), 4096):
            return
