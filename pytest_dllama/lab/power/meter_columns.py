"""The header of a meter's file: which columns are time, power or energy, and of which machine.

A column's name ends with its unit: `pi1_w`, `pi2 (mW)`, `power_w`, `energy [J]`, `전력 (W)`.
Columns of other units (V, A, °C) are passed by. Stamps are times of `meter_time`, or a date and a
time in two columns.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.errors import ToldError

ALL = ""  # the column of a meter that feeds every machine
FACTORS = {"w": 1.0, "mw": 1e-3, "kw": 1e3, "j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3600.0,
            "mwh": 3.6, "kwh": 3.6e6}  # fmt: skip
_SPELT = {"watt": "w", "watts": "w", "milliwatt": "mw", "milliwatts": "mw", "joule": "j",
          "joules": "j", "와트": "w", "밀리와트": "mw"}  # fmt: skip
COUNTERS = ("j", "mj", "kj", "wh", "mwh", "kwh")
_TIMES = ("time", "timestamp", "datetime", "date_time", "epoch", "t", "time_s", "epoch_s", "utc",
          "time_utc", "timestamp_s", "timestamp_ms", "time_ms", "epoch_ms", "date_and_time",
          "시간", "시각", "일시", "측정시간", "측정_시간", "측정시각",
          "측정일시", "날짜_시간")  # fmt: skip
_DATES = ("date", "날짜", "일자", "측정일")
_EVERYTHING = ("", "power", "energy", "total", "all", "total_power", "total_energy", "active",
               "real", "plug", "p", "e", "전력", "소비전력", "소비_전력", "총전력", "유효전력",
               "전력량", "에너지", "합계")  # fmt: skip


class MeterError(ToldError):
    """A meter's file that cannot be used: where, what was found, what helps."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of power or energy."""

    index: int
    title: str  # as the file has it
    host: str  # ALL: of every machine
    unit: str  # one of FACTORS


def read_header(
    titles: Sequence[str], hosts: Mapping[str, str], path: Path
) -> tuple[list[int], list[Column]]:
    """Where the time stands, in one column or in two, and the columns that count.

    Args:
        titles: of all columns.
        hosts: names that columns may bear, by their plain form.
        path: of the file, for messages.

    Raises:
        MeterError: no column of time or of power, or one of a host that is not there.
    """
    names = [plain_name(title) for title in titles]
    at = [index for index, name in enumerate(names) if name in _DATES][:1]
    at += [index for index, name in enumerate(names) if name in _TIMES][:1]
    listed = ", ".join(title.strip() for title in titles)[:300]
    if not at:
        raise MeterError(
            f"{path} has no column of time among: {listed}; call it `time` (ISO 8601, or "
            "seconds since the epoch)"
        )
    found: dict[str, Column] = {}
    for index, name in enumerate(names):
        host, unit = _host_and_unit(name)
        if index in at or unit is None:
            continue
        own = ALL if host in _EVERYTHING else _host(host, titles[index], hosts, path)
        column = Column(index, titles[index].strip(), own, unit)
        if own not in found or (found[own].unit in COUNTERS and unit not in COUNTERS):
            found[own] = column  # of both, power: counters of cheap meters are coarse
    if not found:
        raise MeterError(
            f"{path} has no column of power or energy among: {listed}; a column's name "
            "ends with its unit, as in pi1_w, pi2_mw, power_w or energy_j"
        )
    single = [column for column in found.values() if column.host != ALL]
    return at, single or list(found.values())


def _host(name: str, title: str, hosts: Mapping[str, str], path: Path) -> str:
    if name not in hosts:
        raise MeterError(
            f"{path}: the column {title.strip()!r} is of no host of this run; there are "
            f"{', '.join(hosts.values())}, or `power_w` for a meter of all"
        )
    return hosts[name]


def plain_name(text: str) -> str:
    """A name in small letters, Hangul, digits and underscores.

    >>> plain_name(" Pi-1 [mW]"), plain_name("Power (W)"), plain_name("소비 전력(W)")
    ('pi_1_mw', 'power_w', '소비_전력_w')
    """
    return re.sub(r"[^0-9a-z가-힣]+", "_", text.strip().lower()).strip("_")


def _host_and_unit(name: str) -> tuple[str, str | None]:
    """What a column is of, and its unit; None for no unit of ours.

    >>> _host_and_unit("pi_1_mw"), _host_and_unit("watts"), _host_and_unit("supply_v")
    (('pi_1', 'mw'), ('', 'w'), ('supply', None))
    """
    host, _, unit = name.rpartition("_")
    unit = _SPELT.get(unit, unit)
    host = host.removesuffix("_power").removesuffix("_energy")
    return host, unit if unit in FACTORS else None
