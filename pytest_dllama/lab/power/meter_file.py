"""A meter's file: CSV with time stamps and columns of power or energy, of machines or of all.

A column's name ends with its unit: `pi1_w`, `pi2 (mW)`, `power_w`, `energy [J]`. Columns of other
units (V, A, °C) are passed by. Stamps are ISO 8601, without a zone in this machine's own, or
seconds or milliseconds since the epoch.
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from pytest_dllama.errors import ToldError
from pytest_dllama.metrics.energy import EnergyCurve

ALL = ""  # the column of a meter that feeds every machine
_FACTORS = {"w": 1.0, "mw": 1e-3, "kw": 1e3, "j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3600.0,
            "mwh": 3.6, "kwh": 3.6e6}  # fmt: skip
_COUNTERS = ("j", "mj", "kj", "wh", "mwh", "kwh")
_TIMES = ("time", "timestamp", "datetime", "date_time", "epoch", "t", "time_s", "epoch_s", "utc",
          "time_utc", "timestamp_s", "timestamp_ms", "time_ms", "epoch_ms")  # fmt: skip
_EVERYTHING = ("", "power", "energy", "total", "all", "total_power", "total_energy")
_MILLISECONDS_FROM = 1e11  # as seconds it would be the year 5138
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
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        titles, *rows = list(csv.reader(io.StringIO(text), delimiter=delimiter)) or [[]]
        if not titles:
            raise MeterError(f"{self.path} is empty: its first line must name the columns")
        at, columns = self._header(titles)
        times_s: list[float] = []
        values: list[list[float]] = [[] for _ in columns]
        for number, row in enumerate(rows, start=2):
            if not any(cell.strip() for cell in row):
                continue
            where = f"{self.path} line {number}"
            if len(row) < len(titles):
                raise MeterError(f"{where}: {len(row)} fields where the header has {len(titles)}")
            time_s = _time_s(row[at], where)
            _check_order(times_s, time_s, row[at], where)
            found = [_value(row[c.index], c, where, delimiter == ";") for c in columns]
            if times_s and time_s == times_s[-1]:  # stamps in whole seconds
                for column, value in zip(values, found, strict=True):
                    column[-1] = value
                continue
            times_s.append(time_s)
            for column, value in zip(values, found, strict=True):
                column.append(value)
        return {
            c.host: _curve(c, times_s, column, self.path)
            for c, column in zip(columns, values, strict=True)
        }

    def _text(self) -> str:
        try:
            if self.path.stat().st_size > _LARGEST_BYTES:
                raise MeterError(f"{self.path} is larger than {_LARGEST_BYTES >> 20} MiB")
            text = self.path.read_text(encoding="utf-8-sig")
        except OSError as error:
            raise MeterError(f"{self.path} cannot be read: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise MeterError(f"{self.path} is no text in UTF-8: export it as CSV") from None
        if "\0" in text:
            raise MeterError(f"{self.path} is no CSV: it holds NUL characters")
        return text

    def _header(self, titles: Sequence[str]) -> tuple[int, list[Column]]:
        plain = [_plain(title) for title in titles]
        at = next((index for index, name in enumerate(plain) if name in _TIMES), None)
        listed = ", ".join(title.strip() for title in titles)[:300]
        if at is None:
            raise MeterError(
                f"{self.path} has no column of time among: {listed}; call it `time` (ISO 8601, or "
                "seconds since the epoch)"
            )
        found: dict[str, Column] = {}
        for index, name in enumerate(plain):
            host, unit = _host_and_unit(name)
            if index == at or unit is None:
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


def _time_s(text: str, where: str) -> float:
    text = text.strip()
    try:
        found = float(text)
    except ValueError:
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError, OSError):
            raise MeterError(
                f"{where}: {text!r} is no time; write ISO 8601 (2026-11-25T18:00:00.250+09:00) or "
                "seconds since the epoch"
            ) from None
    if not 0 < found < float("inf"):
        raise MeterError(f"{where}: {text!r} is no time since the epoch")
    return found / 1e3 if found >= _MILLISECONDS_FROM else found


def _check_order(times_s: Sequence[float], time_s: float, text: str, where: str) -> None:
    if times_s and time_s < times_s[-1]:
        raise MeterError(
            f"{where}: {text.strip()!r} is earlier than the line before; sort the rows by time, "
            "and give stamps with their zone if the clock was changed meanwhile"
        )


def _value(text: str, column: Column, where: str, has_decimal_comma: bool) -> float:
    plain = text.strip().replace(",", ".") if has_decimal_comma else text.strip()
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
    """A name in small letters, digits and underscores.

    >>> _plain(" Pi-1 [mW]"), _plain("Power (W)")
    ('pi_1_mw', 'power_w')
    """
    return re.sub(r"[^0-9a-z]+", "_", text.strip().lower()).strip("_")


def _host_and_unit(name: str) -> tuple[str, str | None]:
    """What a column is of, and its unit; None for no unit of ours.

    >>> _host_and_unit("pi_1_mw"), _host_and_unit("w"), _host_and_unit("supply_v")
    (('pi_1', 'mw'), ('', 'w'), ('supply', None))
    """
    host, _, unit = name.rpartition("_")
    host = host.removesuffix("_power").removesuffix("_energy")
    return host, unit if unit in _FACTORS else None
