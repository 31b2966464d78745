"""The page of trends: the data drawn, what the tables say, and both forms of the page."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pytest_dllama.history.accepted import Acceptance, acceptances
from pytest_dllama.history.nights import Night, SeriesAlarm, nights_of
from pytest_dllama.history.series import Point, SeriesKey
from pytest_dllama.history.store import RunStore
from pytest_dllama.history.trend import Trend, TrendPoint, trends
from pytest_dllama.record.run import Revision
from pytest_dllama.report.figures import nights as of_all
from pytest_dllama.report.figures.charts import Chart, Event, Track
from pytest_dllama.report.figures.charts import Point as Drawn
from pytest_dllama.report.pages.trend import Trends, charts, render_markdown, write_trend
from pytest_dllama.report.plots.drawing import draw
from pytest_dllama.report.plots.drawing.theme import DARK, LIGHT
from pytest_dllama.report.plots.trend import small_chart
from pytest_dllama.report.tables.columns import Code, Word
from pytest_dllama.report.tables.trend import direction, events_table, trend_table
from tests.plugin.history.night_runs import CLUSTER, cell, night_run

SLOW = (10.0, 10.0, 10.0, 12.0, 12.0, 12.0)  # ms a token, night by night
HOSTILE = "a|b<script>alert(1)</script>\u202e"


def _revision(number: int) -> Revision:
    return Revision(commit=f"{number}" * 40, committed_utc="-", subject=f"change {number}")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Six nights: another commit from the fourth on, which is slower on two nodes."""
    store = RunStore(tmp_path / "h", CLUSTER)
    for night, tpot in enumerate(SLOW):
        cells = [cell([tpot]), *([cell([20.0], nodes=4)] if night != 2 else [])]
        run = night_run(night, cells, revision=_revision(1 if night < 3 else 2))
        name = store.add(run)
        alarms = (_alarm(store, night),) if night > 3 else ()
        nights_of(store).add(Night(run=name, created_utc=run.created_utc, alarms=alarms))
        if night == 0:
            _decide(store, "accepted", name)
            _decide(store, "anchor", name)
    return store


def _alarm(store: RunStore, night: int) -> SeriesAlarm:
    (key,) = [t.key for t in trends(store, ["tpot_ms"]) if t.key.cell == "tiny-2"]
    return SeriesAlarm(
        cell=key.cell, metric=key.metric, work=key.work, nights_since=night - 2, step=0.2,
        score=9.0, limit=5.0, judged="REGRESSED" if night == 4 else None,
    )  # fmt: skip


def _decide(store: RunStore, kind: str, run: str) -> None:
    values = {"kind": kind, "run": run, "engine": "embedded", "decided_utc": "-"}
    acceptances(store).add(Acceptance.model_validate(values))


def _page(store: RunStore, *metrics: str) -> Trends:
    found = trends(store, metrics or None)
    named = {night.run: ("2222222 b", "1212121 a") for night in of_all.nights_of(found)[3:4]}
    return Trends(CLUSTER, found, named)


def test_a_series_is_drawn_with_its_commits_alarms_and_decisions(store: RunStore) -> None:
    drawn = charts(_page(store, "tpot_ms"))
    one, two = "1111111111 change 1", "2222222222 change 2"
    assert drawn["trend-1"] == Chart(
        "trend-1", "", "",
        (
            Track(
                tuple(Drawn(x, y) for x, y in enumerate(SLOW)),
                tuple(
                    f"2026-01-0{n + 1}T02:00: {ms:.1f} ms, {one if n < 3 else two}"
                    for n, ms in enumerate(SLOW)
                ),
                (
                    Event(0, "anchor", "2026-01-01T02:00: anchor"),
                    Event(0, "accepted", "2026-01-01T02:00: accepted"),
                    Event(3, "commit", f"from here on {two}"),
                    Event(
                        4, "regressed",
                        "2026-01-05T02:00: alarm, +20.0%, night 2 of it, REGRESSED",
                    ),
                    Event(
                        5, "alarm", "2026-01-06T02:00: alarm, +20.0%, night 3 of it, not judged"
                    ),
                ),
                6,
            ),
        ),
    )  # fmt: skip
    (other,) = drawn["trend-2"].panels
    assert isinstance(other, Track)
    assert [p.x for p in other.points] == [0, 1, 3, 4, 5]  # no value on the third night
    assert other.nights == 6


def test_an_alarm_that_pairs_cleared_is_no_alarm() -> None:
    alarm = SeriesAlarm(
        cell="a", metric="tpot_ms", work="w", nights_since=1, step=0.1, score=1, limit=1,
        judged="PASS",
    )  # fmt: skip
    trend = _trend("tpot_ms", [1.0, 2.0], alarm)
    chart = small_chart("x", trend, of_all.nights_of([trend]))
    assert chart is not None
    (track,) = chart.panels
    assert isinstance(track, Track)
    assert [event.kind for event in track.events] == ["cleared"]


def _trend(metric: str, values: list[float], alarm: SeriesAlarm | None = None) -> Trend:
    points = [
        Point(f"{n}", f"2026-01-{n + 1:02}", value, 1, None) for n, value in enumerate(values)
    ]
    last = len(points) - 1
    return Trend(
        SeriesKey("a", metric, "w"),
        tuple(
            TrendPoint(point, alarm if n == last else None, False, False)
            for n, point in enumerate(points)
        ),
    )


@pytest.mark.parametrize(
    ("metric", "values", "word"),
    [
        ("tpot_ms", [1, 1, 1, 2, 2, 2], "worse"),
        ("tokens_per_s", [1, 1, 1, 2, 2, 2], "better"),
        ("tokens_per_s", [2, 2, 2, 1, 1, 1], "worse"),
        ("tpot_ms", [1, 2, 1, 2, 2, 3], "noise"),  # one early night was as slow as late ones
        ("tpot_ms", [1, 1, 2, 2], "noise"),  # too few nights
        ("bytes_per_token", [8, 9], "other"),  # counted: every difference is real
        ("bytes_per_token", [8, 8], "alike"),
        ("tpot_ms", [2, 2, 2, 2], "alike"),
    ],
)
def test_worse_is_said_where_the_ends_lie_apart(
    metric: str, values: list[float], word: str
) -> None:
    assert direction(_trend(metric, values)) == word


def test_the_table_has_a_row_a_series_and_the_chart_in_it(store: RunStore) -> None:
    page = _page(store, "tpot_ms")
    table = trend_table(page.series, page.names)
    keys = [column.key for column in table.columns]
    rows = [dict(zip(keys, row, strict=True)) for row in table.rows]
    drawn = rows[0].pop("trend")
    assert rows[0] == {
        "cell": "tiny-2", "metric": Code("tpot_ms"), "changed": "20.0%",
        "direction": Word("direction", "worse"), "first_nights": "10.00 ms",
        "last_nights": "12.00 ms", "nights_counted": "6", "alarms": "2",
    }  # fmt: skip
    assert getattr(drawn, "name", None) == "trend-1"
    assert getattr(drawn, "line", None) == "▁▁▁███"
    assert rows[1]["alarms"] == "-"
    assert rows[1]["direction"] == Word("direction", "alike")


def test_what_happened_is_told_night_by_night_the_newest_first(store: RunStore) -> None:
    page = _page(store, "tpot_ms")
    table = events_table(page.nights, page.between)
    assert table is not None
    assert table.rows == (
        ("2026-01-06 02:00 UTC", "2222222222 change 2", "-", "tiny-2 tpot_ms +20.0%", "-"),
        (
            *("2026-01-05 02:00 UTC", "2222222222 change 2", "-"),
            *("tiny-2 tpot_ms +20.0% (REGRESSED)", "-"),
        ),
        ("2026-01-04 02:00 UTC", "2222222222 change 2", "2222222 b; 1212121 a", "-", "-"),
        (
            *("2026-01-01 02:00 UTC", "1111111111 change 1", "-", "-"),
            Word("decision", "both"),
        ),
    )


def test_the_terminal_reads_bars_and_the_standing_alarm(store: RunStore) -> None:
    text = render_markdown(_page(store, "tpot_ms"), "en")
    assert text.startswith(f"# Trend of {CLUSTER}\n\nSeries: 2. Nights: 6, 2026-01-01 02:00 UTC")
    assert "- tiny-2 `tpot_ms`: +20.0%, night 3 of it, not judged\n" in text
    assert "| tiny-2 | `tpot_ms` | ▁▁▁███ |  20.0% | worse |" in text
    assert "In the charts" not in text
    korean = render_markdown(_page(store, "tpot_ms"), "ko")
    assert "- tiny-2 `tpot_ms`: +20.0%, 야간 실행 3회째, 판정 안 함\n" in korean


def test_the_page_holds_a_chart_a_series_and_loads_nothing(store: RunStore, tmp_path: Path) -> None:
    page = _page(store)
    paths = write_trend(page, tmp_path / "out")
    assert [path.name for path in paths] == [
        *("trend.ko.md", "trend.ko.html", "trend.en.md", "trend.en.html")
    ]
    text = paths[-1].read_text(encoding="utf-8")
    assert text.count('<div class="small" role="img"') == len(page.series) == 12
    assert 'aria-label="from 10.00 ms to 12.00 ms; nights: 6, alarms: 2"' in text
    assert "<title>2026-01-05T02:00: 12.0 ms, 2222222222 change 2</title>" in text
    assert "In the charts" in text
    assert "▁" not in text
    assert "src=" not in text
    assert " href=" not in text.replace("xlink:href=", "").replace(' href="#', "")


def test_a_chart_that_cannot_be_drawn_is_named_and_bars_stand_for_it(
    store: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(chart: Chart) -> str:
        raise MemoryError("no room")

    monkeypatch.setattr(draw, "svg", broken)
    path = write_trend(_page(store, "tpot_ms"), tmp_path / "out", ["en"], ["html"])[0]
    text = path.read_text(encoding="utf-8")
    assert "trend-1: MemoryError: no room" in text
    assert "▁▁▁███" in text


def test_names_from_elsewhere_do_no_harm(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "h", CLUSTER)
    for night in range(2):
        revision = Revision(commit=f"{night}" * 40, committed_utc="-", subject=HOSTILE)
        store.add(night_run(night, [cell([10.0], model=HOSTILE)], revision=revision))
    page = Trends(HOSTILE, trends(store), {})
    md, html = write_trend(page, tmp_path / "out", ["en"])
    assert "<script>alert" not in html.read_text(encoding="utf-8")
    assert "\u202e" not in html.read_text(encoding="utf-8") + md.read_text(encoding="utf-8")
    rows = [line for line in md.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    assert all(row.replace("\\|", "").count("|") in (6, 10) for row in rows)
    for chart in charts(page).values():
        ElementTree.fromstring(draw.svg(chart))


def test_a_series_of_one_night_and_one_of_no_number() -> None:
    one = _trend("tpot_ms", [3.0])
    assert one.change is None
    for theme in (LIGHT, DARK):
        chart = small_chart("x", one, of_all.nights_of([one]))
        assert chart is not None
        assert draw.png(chart, theme).startswith(b"\x89PNG")
    none = _trend("tpot_ms", [math.nan, math.nan])
    assert small_chart("x", none, of_all.nights_of([none])) is None
    assert "no sound run" in render_markdown(Trends(CLUSTER, [], {}), "en")


def test_the_same_cell_with_other_work_has_its_own_row_and_name(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "h", CLUSTER)
    for night in range(2):
        run = night_run(night, [cell([10.0])])
        request = run.request.model_copy(update={"nthreads": 1 + night})
        store.add(run.model_copy(update={"request": request}))
    page = _page(store, "tpot_ms")
    table = trend_table(page.series, page.names)
    assert [row[0] for row in table.rows] == [f"tiny-2 ({t.key.work[:6]})" for t in page.series]
    assert len(table.rows) == 2


def test_series_that_got_worse_without_an_alarm_are_not_called_quiet() -> None:
    grown = [_trend("tpot_ms", [1, 1, 1, 2, 2, 2]), _trend("ttft_s", [1, 1, 1, 1, 1, 1])]
    text = render_markdown(Trends(CLUSTER, grown, {}), "en")
    assert "No alarm, but 1 of 2 series end worse than they began, most `tpot_ms` of a" in text
    assert "(+100.0%)" in text
    korean = render_markdown(Trends(CLUSTER, grown, {}), "ko")
    assert "경보는 없지만 시계열 2개 중 1개가 처음보다 나빠졌습니다" in korean
    quiet = render_markdown(Trends(CLUSTER, grown[1:], {}), "en")
    assert "No series stands above its level." in quiet
