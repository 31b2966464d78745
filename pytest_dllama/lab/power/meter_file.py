"""A meter's file: CSV with time stamps and columns of power or energy -> energy curves.

What its header says is `meter_columns`' part. Lines that begin with # are passed by, and so are
values that are empty.
"""

from __future__ import annotations

import codecs
import csv
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from pytest_dllama.lab.power.meter_columns import (
    COUNTERS,
    FACTORS,
    Column,
    MeterError,
    plain_name,
    read_header,
)
from pytest_dllama.lab.power.meter_time import epoch_s
from pytest_dllama.metrics.energy import EnergyCurve

_LARGEST_BYTES = 1 << 28
LAG_S = 5.0  # a logger writes its rows in blocks: the last ones may come so late
_POLL_S = 0.25


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
        self._hosts = {plain_name(host): host for host in hosts}
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
            time.sleep(_POLL_S)
            self.curves = self._read()
        return found

    def _lines(self) -> list[tuple[int, str]]:
        """Numbers and texts of the lines that count, the header first."""
        text = self._text()
        if "\n" in text:
            text = text[: text.rindex("\n")]  # the last line may only be begun
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1)
                 if line.strip() and not line.startswith(("#", "sep="))]  # fmt: skip
        if not lines:
            raise MeterError(f"{self.path} is empty: its first line must name the columns")
        return lines

    def _read(self) -> dict[str, EnergyCurve]:
        lines = self._lines()
        delimiter = max(",;\t|", key=lines[0][1].count)
        try:
            titles, *rows = csv.reader((line for _, line in lines), delimiter=delimiter)
        except csv.Error as error:
            raise MeterError(f"{self.path} is no CSV: {error}") from None
        at, columns = read_header(titles, self._hosts, self.path)
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
        what = "energy" if column.unit in COUNTERS else "power"
        raise MeterError(
            f"{where}, column {column.title}: {text.strip()!r} is no {what}; leave out rows "
            "without a value"
        )
    return value


def _curve(
    column: Column, times_s: Sequence[float], values: Sequence[float], path: Path
) -> EnergyCurve:
    scaled = [value * FACTORS[column.unit] for value in values]
    if column.unit not in COUNTERS or not scaled:
        return EnergyCurve.of_watts(times_s, scaled)
    if any(after < before for before, after in pairwise(scaled)):
        raise MeterError(
            f"{path}, column {column.title}: the energy falls: the meter was set back; give the "
            "rows from then on, or a column of power"
        )
    return EnergyCurve.of_joules(times_s, scaled)
