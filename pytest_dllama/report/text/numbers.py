"""Numbers as the report prints them; a missing or non-finite value is "-", never zero.

The same in every language: words belong to the catalogues in templates/.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime

MISSING = "-"
KIB = 1024
MIB = 1024 * 1024


def decimals_for(value: float, at_least: int) -> int:
    """Decimals that show `value` with two significant digits or more.

    >>> decimals_for(0.83, 2), decimals_for(0.0042, 2), decimals_for(0.0, 3)
    (2, 4, 3)
    """
    if not math.isfinite(value) or abs(value) < 1e-9:
        return at_least
    return max(at_least, 1 - math.floor(math.log10(abs(value))))


def number(value: float | None, decimals: int) -> str:
    """A plain number with thousands separators.

    >>> number(1227.586, 2), number(0.0, 1), number(-0.001, 2), number(None, 2)
    ('1,227.59', '0.0', '0.00', '-')
    >>> number(float("nan"), 1)
    '-'
    """
    if value is None or not math.isfinite(value):
        return MISSING
    text = f"{round(value, 9):,.{decimals}f}"  # 3.7499999999999996 is 3.75
    return text.lstrip("-") if not text.strip("-0,.") else text


def plain(value: float | None, decimals: int) -> str:
    """A number without separators, as dllama prints durations.

    >>> plain(1195.59, 2)
    '1195.59'
    """
    return number(value, decimals).replace(",", "")


def signed(value: float | None, decimals: int) -> str:
    """A difference: its sign always stands in front, zero has none.

    >>> signed(0.41, 2), signed(-1227.96, 2), signed(0.001, 2), signed(None, 2)
    ('+0.41', '-1,227.96', '0.00', '-')
    """
    text = number(value, decimals)
    positive = value is not None and value > 0 and bool(text.strip("-0,."))
    return f"+{text}" if positive else text


def percent(value: float | None) -> str:
    """A signed change in percent, with one decimal; float noise does not decide the rounding.

    >>> percent((0.83 - 0.80) / 0.80 * 100)
    '+3.8%'

    >>> percent(-62.6506), percent(105.128), percent(0.01), percent(None)
    ('-62.7%', '+105.1%', '0.0%', '-')
    """
    text = signed(value, 1)
    return text if text == MISSING else f"{text}%"


def share(value: float | None) -> str:
    """A share of one as percent, unsigned.

    >>> share(0.873), share(None)
    ('87.3%', '-')
    """
    text = number(None if value is None else value * 100, 1)
    return text if text == MISSING else f"{text}%"


def factor(value: float | None) -> str:
    """How many times.

    >>> factor(2.0513), factor(None)
    ('2.05', '-')
    """
    return number(value, 2)


def short(value: float | None) -> str:
    """A number without trailing zeros.

    >>> short(4.0), short(1.5), short(0.123456), short(100.0)
    ('4', '1.5', '0.12', '100')
    """
    text = number(value, 2)
    return text.rstrip("0").rstrip(".") if "." in text else text


def byte_unit(values: Iterable[float | None]) -> str:
    """The unit that fits the largest of `values`: KiB below one MiB, MiB above.

    >>> byte_unit([6400, None]), byte_unit([6400, 3_000_000])
    ('KiB', 'MiB')
    """
    largest = max((value for value in values if value is not None), default=0)
    return "KiB" if 0 < largest < MIB else "MiB"


def in_byte_unit(value: float | None, unit: str) -> float | None:
    """Bytes as a number of `unit`.

    >>> in_byte_unit(2048, "KiB")
    2.0
    """
    return None if value is None else value / (KIB if unit == "KiB" else MIB)


def size(value: float | None) -> str:
    """Bytes with the unit that fits.

    >>> size(675.04 * MIB), size(6528), size(7338 * MIB), size(None)
    ('675.04 MiB', '6.4 KiB', '7,338 MiB', '-')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    unit = byte_unit([value])
    scaled = value / (KIB if unit == "KiB" else MIB)
    decimals = 1 if unit == "KiB" else 2
    text = number(scaled, decimals)
    whole = scaled == int(scaled) and scaled >= 1000
    return f"{number(scaled, 0) if whole else text} {unit}"


def count(value: int | None) -> str:
    """A whole number with thousands separators.

    >>> count(52352), count(None)
    ('52,352', '-')
    """
    return MISSING if value is None else f"{value:,}"


def token_shown(piece: str, token_id: int) -> str:
    """A token as text and number: many pieces print nothing.

    >>> token_shown(" red", 311)
    '“ red” (311)'
    """
    return f"“{piece}” ({token_id})"


def three_digits(value: float | None) -> str:
    """A figure inside a sentence: three digits are enough to follow it.

    >>> three_digits(44.575), three_digits(0.3514), three_digits(1234.5), three_digits(None)
    ('44.6', '0.351', '1,234', '-')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if abs(value) < 1:
        return number(value, decimals_for(value * 0.1, 3))
    return number(value, max(2 - math.floor(math.log10(abs(value))), 0))


def moment(text: str) -> str:
    """A time of a run file to the minute, in UTC; what is no time stays as it is.

    >>> moment("2026-11-25T02:17:09Z"), moment("2024-06-01T09:00:00+09:00"), moment("noon")
    ('2026-11-25 02:17 UTC', '2024-06-01 00:00 UTC', 'noon')
    """
    try:
        when = datetime.fromisoformat(text)
        in_utc = when.astimezone(UTC) if when.tzinfo else when
        return f"{in_utc:%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError):
        return text


def megahertz(value: float | None) -> str:
    """Whole MHz, without separators.

    >>> megahertz(1800.0)
    '1800'
    """
    return number(value, 0).replace(",", "")
