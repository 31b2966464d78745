"""Tables of a page of trends: a row each series, and a row each night at which something happened.

The change is shown without its sign, so that a column of it sorts by what changed most.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from pytest_dllama.history.nights import SeriesAlarm
from pytest_dllama.history.series import SeriesKey
from pytest_dllama.history.trend import Trend
from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.report.figures.nights import NightOfAll
from pytest_dllama.report.tables.columns import (
    Code,
    Column,
    Drawn,
    Entry,
    Table,
    Word,
    metric_value,
)
from pytest_dllama.report.text.numbers import MISSING, count, moment, percent, share

BARS = "▁▂▃▄▅▆▇█"
LONGEST_LINE = 30  # bars; of more nights the last ones
LEAST_SPAN = 0.10  # of the median, from the lowest bar to the highest: quiet nights look quiet
MOST_NAMED = 6  # commits of a night that are named; the number of the others is told


def trend_table(trends: Sequence[Trend], names: Mapping[SeriesKey, str]) -> Table:
    """What changed most first; `names` are those of the small charts."""
    texts = ("cell", "metric", "trend", "direction", "alarms")
    keys = (
        *("cell", "metric", "trend", "changed", "direction", "first_nights", "last_nights"),
        *("nights_counted", "alarms"),
    )
    columns = tuple(Column(key, numeric=key not in texts) for key in keys)
    return Table(columns, tuple(_row(trend, trends, names) for trend in trends))


def _row(
    trend: Trend, trends: Sequence[Trend], names: Mapping[SeriesKey, str]
) -> tuple[Entry, ...]:
    key, n = trend.key, len(trend.points)
    first, last = (metric_value(key.metric, statistics.median(end)) for end in trend.ends)
    alarms = [p.alarm for p in trend.points if p.alarm is not None]
    line = bars([p.point.value for p in trend.points])
    return (
        cell_name(trend, trends),
        Code(key.metric),
        Drawn(names.get(key, ""), line, first, last, n, len(alarms)),
        share(abs(trend.change)) if trend.change is not None else MISSING,
        Word("direction", direction(trend)) if trend.change is not None else MISSING,
        first,
        last,
        count(n),
        _alarms(alarms),
    )


def cell_name(trend: Trend, trends: Sequence[Trend]) -> str:
    """The cell; with the digest of its work where the nights did it with several."""
    key = trend.key
    works = {t.key.work for t in trends if (t.key.cell, t.key.metric) == (key.cell, key.metric)}
    return key.cell if len(works) == 1 else f"{key.cell} ({key.work[:6]})"


def direction(trend: Trend) -> str:
    """`worse` or `better` where beginning and end lie apart; what is counted is `other` at once."""
    if not trend.change:
        return "alike"
    metric = METRICS.get(trend.key.metric)
    better = metric.better if metric else "exact"
    if better == "exact":
        return "other"
    if not trend.is_apart:
        return "noise"
    return "better" if (trend.change > 0) == (better == "higher") else "worse"


def bars(values: Sequence[float]) -> str:
    """A series as a line of text, its last nights.

    >>> bars([10, 10.2, 10, 14, 14]), bars([10, 10.1]), bars([float("nan"), 1])
    ('▁▁▁██', '▄▅', ' ▅')
    """
    shown = list(values)[-LONGEST_LINE:]
    known = [value for value in shown if math.isfinite(value)]
    if not known:
        return " " * len(shown)
    middle = statistics.median(known)
    least = abs(middle) * LEAST_SPAN / 2 or 1.0
    low, high = min(*known, middle - least), max(*known, middle + least)
    steps = [(value - low) / (high - low) * len(BARS) for value in shown if math.isfinite(value)]
    signs = iter(BARS[min(int(step), len(BARS) - 1)] for step in steps)
    return "".join(next(signs) if math.isfinite(value) else " " for value in shown)


def _alarms(alarms: Sequence[SeriesAlarm]) -> str:
    """How many, and the verdict on the last one."""
    if not alarms:
        return MISSING
    return " ".join([str(len(alarms)), *_judged(alarms[-1])])


def _judged(alarm: SeriesAlarm) -> tuple[str, ...]:
    return (f"({alarm.judged})",) if alarm.judged else ()


def events_table(
    nights: Sequence[NightOfAll], between: Mapping[str, Sequence[str]]
) -> Table | None:
    """Nights at which something happened, the newest first.

    `between` are the commits since the night before, by run, where somebody knows them.
    """
    texts = ("night", "commit", "since", "alarms", "decided")
    rows: list[tuple[Entry, ...]] = []
    for night in reversed(nights):
        if not night.is_told:
            continue
        rows.append(
            (
                moment(night.created_utc),
                _commit(night),
                _since(between.get(night.run, ())),
                "; ".join(_told(alarm) for alarm in night.alarms) or MISSING,
                Word("decision", night.decision) if night.decision else MISSING,
            )
        )
    columns = tuple(Column(key, numeric=False) for key in texts)
    return Table(columns, tuple(rows)) if rows else None


def _commit(night: NightOfAll) -> str:
    revision = night.revision
    if revision is None:
        return MISSING
    return f"{revision.commit[:10]}{'*' if revision.is_dirty else ''} {revision.subject}"


def _since(commits: Sequence[str]) -> str:
    if not commits:
        return MISSING
    more = len(commits) - MOST_NAMED
    return "; ".join([*commits[:MOST_NAMED], *([f"+{more}"] if more > 0 else [])])


def _told(alarm: SeriesAlarm) -> str:
    return " ".join([alarm.cell, alarm.metric, percent(alarm.step * 100), *_judged(alarm)])
