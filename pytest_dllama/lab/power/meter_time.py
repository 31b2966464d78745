"""Times as loggers and spreadsheets write them -> seconds since the epoch."""

from __future__ import annotations

import re
from datetime import datetime

# A number from here on is in milliseconds, microseconds, nanoseconds: as seconds it would be the
# year 5138 or later.
_FINER = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
_DATE = re.compile(r"^(\d{4})\s*[-/.]\s*(\d{1,2})\s*[-/.]\s*(\d{1,2})\.?(?=\s|T|$)")
_HALF = re.compile(r"\s*(오전|오후|AM|PM|a\.m\.|p\.m\.)\s*", re.IGNORECASE)
_HOUR = re.compile(r"[ T](\d{1,2})(?=:)")


def epoch_s(text: str) -> float | None:
    """Seconds since the epoch; without a zone in this machine's own. None: it is no time.

    >>> epoch_s("1795597200"), epoch_s("1795597200000"), epoch_s("2026-11-25T09:00:00Z")
    (1795597200.0, 1795597200.0, 1795597200.0)
    >>> epoch_s("2026/11/25 18:00:00+09:00"), epoch_s("2026. 11. 25. 오후 6:00:00+09:00")
    (1795597200.0, 1795597200.0)
    >>> epoch_s("25.11.2026 18:00"), epoch_s("-3"), epoch_s("noon")
    (None, None, None)
    """
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        return _of_words(text)
    if not 0 < number < float("inf"):
        return None
    return number / next((unit for least, unit in _FINER if number >= least), 1.0)


def _of_words(text: str) -> float | None:
    """Of a date that begins with its year, as ISO 8601 or as a spreadsheet shows it."""
    text = _DATE.sub(lambda d: f"{d[1]}-{int(d[2]):02}-{int(d[3]):02}", text)
    half = _HALF.search(text)
    text = _HALF.sub(" ", text).strip()
    hour = _HOUR.search(text)
    if hour is not None:
        text = f"{text[: hour.start()]}T{_hour(int(hour[1]), half):02}{text[hour.end() :]}"
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _hour(hour: int, half: re.Match[str] | None) -> int:
    """Of the day; 12 in the morning is midnight."""
    if half is None:
        return hour
    is_afternoon = half[1].lower() in ("오후", "pm", "p.m.")
    return hour % 12 + (12 if is_afternoon else 0)
