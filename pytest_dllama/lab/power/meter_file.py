"""A meter's file: CSV with time stamps and columns of power or energy, of machines or of all.

A column's name ends with its unit: `pi1_w`, `pi2 (mW)`, `power_w`, `energy [J]`, `전력 (W)`.
Columns of other units (V, A, °C) are passed by. Stamps are times of `meter_time`, or a date and a
time in two columns. Lines that begin with # are passed by, and so are values that are empty.
"""

from __future__ import annotations

import codecs
import csv
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pytest_dllama.errors import ToldError
from pytest_dllama.lab.power.meter_time import epoch_s
from pytest_dllama.metrics.energy import EnergyCurve

ALL = ""  # the column of a meter that feeds every machine
_FACTORS = {"w": 1.0, "mw": 1e-3, "kw": 1e3, "j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3600.0,
            "mwh": 3.6, "kwh": 3.6e6}  # fmt: skip
_SPELT = {"watt": "w", "watts": "w", "milliwatt": "mw", "milliwatts": "mw", "joule": "j",
          "joules": "j", "와트": "w", "밀리와트": "mw"}  # fmt: skip
_COUNTERS = ("j", "mj", "kj", "wh", "mwh", "kwh")
_TIMES = ("time", "timestamp", "datetime", "date_time", "epoch", "t", "time_s", "epoch_s", "utc",
          "time_utc", "timestamp_s", "timestamp_ms", "time_ms", "epoch_ms", "date_and_time",
          "시간", "시각", "일시", "측정시간", "측정_시간", "측정시각",
          "측정일시", "날짜_시간")  # fmt: skip
_DATES = ("date", "날짜", "일자", "측정일")
_EVERYTHING = ("", "power", "energy", "total", "all", "total_power", "total_energy", "active",
               "real", "plug", "p", "e", "전력", "소비전력", "소비_전력", "총전력", "유효전력",
               "전력량", "에너지", "합계")  # fmt: skip
_LARGEST_BYTES = 1 << 28
LAG_S = 5.0  # a logger writes its rows in blocks: the last ones may come so late
_GLANCE_S = 0.25


class MeterError(ToldError):
    """A meter's file that cannot be used: where, what was found, what helps."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of power or energy."""

    index: int
    title: str  # as the file has it
    host: str  # ALL: of every machine
    unit: str  # one of _FACTORS


class MeterFile:
    """The file, read again when a later time is asked for: a logger may still write it.

    Args:
        path: the file.
        hosts: names that its columns may bear.

    Raises:
        MeterError: it cannot be read, has no column of time or power, or names another host.
    """

    def __init__(self, path: Path, hosts: Sequence[str]) -> None:
        self.path = path
        self._hosts = {_plain(host): host for host in hosts}
        self.curves = self._read()

    @property
    def hosts(self) -> tuple[str, ...]:
        """Whose columns it has; ALL for a meter of every machine."""
        return tuple(self.curves)

    def curve(self, host: str, until_s: float) -> EnergyCurve:
        """A column's curve; waits up to LAG_S for a row of that time or a later one.

        Raises:
            MeterError: what was added to the file cannot be used.
        """
        end_s = time.monotonic() + LAG_S
        while not (found := self.curves[host]).times_s or found.times_s[-1] < until_s:
            if time.monotonic() > end_s or time.time() > until_s + 60.0:  # nobody writes it now
                break
            time.sleep(_GLANCE_S)
            self.curves = self._read()
        return found

    def _read(self) -> dict[str, EnergyCurve]:
        text = self._text()
        if "\n" in text:
            text = text[: text.rindex("\n")]  # the last line may only be begun
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1)
                 if line.strip() and not line.startswith(("#", "sep="))]  # fmt: skip
        if not lines:
            raise MeterError(f"{self.path} is empty: its first line must name the columns")
        delimiter = max(",;\t|", key=lines[0][1].count)
        try:
            titles, *rows = csv.reader((line for _, line in lines), delimiter=delimiter)
        except csv.Error as error:
            raise MeterError(f"{self.path} is no CSV: {error}") from None
        at, columns = self._header(titles)
        readings: list[dict[float, float]] = [{} for _ in columns]
        latest_s = 0.0
        for (number, _), row in zip(lines[1:], rows, strict=False):
            if not any(cell.strip() for cell in row):
                continue
            where = f"{self.path} line {number}"
            if len(row) < len(titles):
                raise MeterError(f"{where}: {len(row)} fields where the header has {len(titles)}")
            stamp = " ".join(row[index].strip() for index in at)
            latest_s = _in_order(latest_s, stamp, where)
            for column, known in zip(columns, readings, strict=True):
                if row[column.index].strip():  # of stamps in whole seconds the last reading
                    known[latest_s] = _value(row[column.index], column, where, delimiter != ",")
        return {
            c.host: _curve(c, list(known), list(known.values()), self.path)
            for c, known in zip(columns, readings, strict=True)
        }

    def _text(self) -> str:
        try:
            if self.path.stat().st_size > _LARGEST_BYTES:
                raise MeterError(f"{self.path} is larger than {_LARGEST_BYTES >> 20} MiB")
            text = _decoded(self.path.read_bytes())
        except OSError as error:
            raise MeterError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise MeterError(f"{self.path} is no text in UTF-8: export it as CSV") from None
        if "\0" in text:
            raise MeterError(f"{self.path} is no CSV: it holds NUL characters")
        return text

    def _header(self, titles: Sequence[str]) -> tuple[list[int], list[Column]]:
        """Where the time stands, in one column or in two, and the columns that count."""
        plain = [_plain(title) for title in titles]
        at = [index for index, name in enumerate(plain) if name in _DATES][:1]
        at += [index for index, name in enumerate(plain) if name in _TIMES][:1]
        listed = ", ".join(title.strip() for title in titles)[:300]
        if not at:
            raise MeterError(
                f"{self.path} has no column of time among: {listed}; call it `time` (ISO 8601, or "
                "seconds since the epoch)"
            )
        found: dict[str, Column] = {}
        for index, name in enumerate(plain):
            host, unit = _host_and_unit(name)
            if index in at or unit is None:
                continue
            own = ALL if host in _EVERYTHING else self._host(host, titles[index])
            column = Column(index, titles[index].strip(), own, unit)
            if own not in found or (found[own].unit in _COUNTERS and unit not in _COUNTERS):
                found[own] = column  # of both, power: counters of cheap meters are coarse
        if not found:
            raise MeterError(
                f"{self.path} has no column of power or energy among: {listed}; a column's name "
                "ends with its unit, as in pi1_w, pi2_mw, power_w or energy_j"
            )
        hosts = [column for column in found.values() if column.host != ALL]
        return at, hosts or list(found.values())

    def _host(self, name: str, title: str) -> str:
        if name not in self._hosts:
            raise MeterError(
                f"{self.path}: the column {title.strip()!r} is of no host of this run; there are "
                f"{', '.join(self._hosts.values())}, or `power_w` for a meter of all"
            )
        return self._hosts[name]


def _decoded(data: bytes) -> str:
    """UTF-8, or what spreadsheets export: UTF-16 with its mark, or Korean Windows' own encoding."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp949")


def _in_order(latest_s: float, text: str, where: str) -> float:
    """The time of a row, not before the last one's."""
    time_s = epoch_s(text)
    if time_s is None:
        raise MeterError(
            f"{where}: {text!r} is no time; write ISO 8601 (2026-11-25T18:00:00.250+09:00) or "
            "seconds since the epoch"
        )
    if time_s < latest_s:
        raise MeterError(
            f"{where}: {text!r} is earlier than the line before; sort the rows by time, "
            "and give stamps with their zone if the clock was changed meanwhile"
        )
    return time_s


def _value(text: str, column: Column, where: str, has_decimal_comma: bool) -> float:
    plain = text.strip().replace(",", ".") if has_decimal_comma else text.strip()
    if plain.lower().endswith(column.unit):  # `4.2 W`
        plain = plain[: -len(column.unit)]
    try:
        value = float(plain)
    except ValueError:
        value = float("nan")
    if not 0 <= value < float("inf"):
        what = "energy" if column.unit in _COUNTERS else "power"
        raise MeterError(
            f"{where}, column {column.title}: {text.strip()!r} is no {what}; leave out rows "
            "without a value"
        )
    return value


def _curve(
    column: Column, times_s: Sequence[float], values: Sequence[float], path: Path
) -> EnergyCurve:
    scaled = [value * _FACTORS[column.unit] for value in values]
    if column.unit not in _COUNTERS or not scaled:
        return EnergyCurve.of_watts(times_s, scaled)
    if any(after < before for before, after in pairwise(scaled)):
        raise MeterError(
            f"{path}, column {column.title}: the energy falls: the meter was set back; give the "
            "rows from then on, or a column of power"
        )
    return EnergyCurve.of_joules(times_s, scaled)


def _plain(text: str) -> str:
    """A name in small letters, Hangul, digits and underscores.

    >>> _plain(" Pi-1 [mW]"), _plain("Power (W)"), _plain("소비 전력(W)")
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
    return host, unit if unit in _FACTORS else None
