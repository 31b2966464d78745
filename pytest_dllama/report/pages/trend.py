"""The page of trends: what stands above its level, every series with its chart, what happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.nights import SeriesAlarm
from pytest_dllama.history.series import SeriesKey
from pytest_dllama.history.trend import Trend
from pytest_dllama.report.figures.charts import Chart
from pytest_dllama.report.figures.nights import NightOfAll, nights_of
from pytest_dllama.report.pages import html
from pytest_dllama.report.pages.blocks import (
    Block,
    Items,
    Piece,
    TableBlock,
    Words,
    heading,
    label,
    said,
    table,
)
from pytest_dllama.report.pages.document import Document
from pytest_dllama.report.pages.language import LANGUAGES, LAYOUT, environment_of, picture_words
from pytest_dllama.report.plots.drawing import draw
from pytest_dllama.report.plots.drawing.words import in_words
from pytest_dllama.report.plots.trend import small_chart
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.tables.trend import cell_name, direction, events_table, trend_table
from pytest_dllama.report.text import markdown
from pytest_dllama.report.text.numbers import moment, percent


@dataclass(frozen=True, slots=True)
class Trends:
    """What the page is made of."""

    cluster: str
    series: Sequence[Trend]  # in the order of the page
    between: Mapping[str, Sequence[str]]  # run -> commits since the night before, where known

    @property
    def nights(self) -> tuple[NightOfAll, ...]:
        """Of all series."""
        return nights_of(self.series)

    @property
    def names(self) -> dict[SeriesKey, str]:
        """Of the small charts: numbers, for a cell's name may have any letter."""
        return {trend.key: f"trend-{i}" for i, trend in enumerate(self.series, 1)}


def document(trends: Trends, undrawn: Mapping[str, str] | None = None) -> Document:
    """The page's blocks; `undrawn` names charts that could not be drawn; None: none are shown."""
    title = heading(1, "headings.trend", cluster=trends.cluster)
    return Document(title, tuple(_blocks(trends, undrawn)))


def _blocks(trends: Trends, undrawn: Mapping[str, str] | None) -> Iterator[Block]:
    nights = trends.nights
    if not nights:
        yield said("text.trend_empty")
        return
    first, last = (moment(night.created_utc) for night in (nights[0], nights[-1]))
    n, of = str(len(trends.series)), str(len(nights))
    yield said("text.trend_span", n=n, nights=of, first=first, last=last)
    yield from _standing(nights[-1], trends)
    yield TableBlock(trend_table(trends.series, trends.names))
    yield said("text.trend_change")
    if undrawn is not None:
        yield said("text.trend_marks")
    if undrawn:
        yield label("undrawn")
        yield Items(tuple(f"{name}: {why}" for name, why in undrawn.items()))
    yield heading(2, "sections.events")
    yield from table(events_table(nights, trends.between)) or (said("text.no_events"),)


def _standing(last: NightOfAll, trends: Trends) -> Iterator[Block]:
    """The answer: what is not as it was."""
    worse = [one for one in trends.series if direction(one) == "worse"]
    if last.alarms:
        yield Items(tuple(map(_alarm, last.alarms)))
    elif worse:  # what changed most stands first
        yield said(
            "text.trend_worse",
            n=str(len(worse)),
            of=str(len(trends.series)),
            cell=cell_name(worse[0], trends.series),
            metric=Code(worse[0].key.metric),
            change=percent((worse[0].change or 0.0) * 100),
        )
    else:
        yield said("text.trend_quiet")


def _alarm(alarm: SeriesAlarm) -> Piece:
    judged: Piece = Words(f"verdict.{alarm.judged}") if alarm.judged else Words("text.not_judged")
    return Words(
        "text.trend_alarm",
        cell=alarm.cell,
        metric=Code(alarm.metric),
        step=percent(alarm.step * 100),
        nights=str(alarm.nights_since),
        judged=judged,
    )


def render_markdown(trends: Trends, language: str) -> str:
    """The page for terminals and jobs: lines of bars in place of charts.

    Raises:
        ReportError: a language that there is not.
    """
    text = environment_of(language).get_template(LAYOUT).render(document=document(trends))
    return markdown.tidy(text)


def render_html(
    trends: Trends, language: str, drawn: Mapping[str, str], undrawn: Mapping[str, str]
) -> str:
    """The page as one file that loads nothing; `drawn` are the charts as SVG.

    Raises:
        ReportError: a language that there is not.
    """
    return html.page(document(trends, undrawn), language, drawn)


def charts(trends: Trends) -> dict[str, Chart]:
    """The small chart of each series, by name."""
    nights, names = trends.nights, trends.names
    found = {names[one.key]: small_chart(names[one.key], one, nights) for one in trends.series}
    return {name: chart for name, chart in found.items() if chart is not None}


def write_trend(
    trends: Trends,
    folder: Path,
    languages: Sequence[str] = LANGUAGES,
    formats: Sequence[str] = ("md", "html"),
) -> list[Path]:
    """Write `trend.LANG.md` and `trend.LANG.html`, each file whole or not at all."""
    drawn, undrawn = _drawings(trends) if "html" in formats else ({}, {})
    paths = []
    for language in languages:
        if "md" in formats:
            text = render_markdown(trends, language)
            paths.append(write_whole(folder / f"trend.{language}.md", text))
        if "html" in formats:
            worded = in_words(drawn, picture_words(language), ())
            text = render_html(trends, language, worded, undrawn)
            paths.append(write_whole(folder / f"trend.{language}.html", text))
    return paths


def _drawings(trends: Trends) -> tuple[dict[str, str], dict[str, str]]:
    drawn: dict[str, str] = {}
    undrawn: dict[str, str] = {}
    for name, chart in charts(trends).items():
        try:
            drawn[name] = draw.svg(chart)
        except Exception as error:  # a line of bars stands in its place
            undrawn[name] = f"{type(error).__name__}: {error}"
    return drawn, undrawn
