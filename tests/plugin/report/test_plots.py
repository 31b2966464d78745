"""Pictures: the data that is drawn, that it can be drawn, and that nothing in it can do harm."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.record.cell import CellRecord, PartTime, RankRecord, RooflineRecord, Sample
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures.charts import (
    Bars,
    Chart,
    Curve,
    Effect,
    Forest,
    Lines,
    Point,
    Series,
    Stack,
)
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages import reports
from pytest_dllama.report.pages.language import picture_words
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.plots import gallery, itl
from pytest_dllama.report.plots.drawing import draw
from pytest_dllama.report.plots.drawing.theme import DARK, LIGHT
from pytest_dllama.report.plots.drawing.words import in_words
from tests.data import REPORTS
from tests.plugin.report.report_runs import cell, estimate, network, run, verdict

MIB = 1024 * 1024
SAID = ("text", "title")


def _sample(itl_ms: tuple[float, ...] = (), **fields: Any) -> Sample:
    values = {
        "n_input_tokens": 4, "n_output_tokens": 9, "ttft_s": 1.0, "tpot_ms": 10.0, "rct_s": 1.0,
        "tokens_per_s": 9.0, "prefill_tokens": 4, "prefill_s": 1.0, "decode_tokens": 6,
        "decode_s": 1.0,
    }  # fmt: skip
    return Sample(**{**values, "itl_ms": itl_ms, **fields})


def _rank(rank: int, weights: int) -> RankRecord:
    empty = {name: None for name in RankRecord.model_fields}
    known = {"rank": rank, "role": "worker" if rank else "root", "address": "-", "hostname": "h"}
    return RankRecord(**{**empty, **known, "weight_bytes": weights, "kv_cache_bytes": MIB})


def _cell(nodes: int, speed: float, **fields: Any) -> CellRecord:
    tpot = 1000 / speed
    metrics = {
        "tpot_ms": estimate(tpot, tpot + 1, tpot + 2),
        "sync_share": estimate(0.25),
        "root_peak_rss_bytes": estimate(30.0 * MIB),
        "worker_peak_rss_bytes": estimate(20.0 * MIB),
    }
    values: dict[str, Any] = {
        "metrics": metrics,
        "samples": (_sample((5.0, 4.0, 6.0)),),
        "ranks": (_rank(0, 9 * MIB), _rank(1, 7 * MIB)),
        "network": network(payload_bytes=10 * 2048, expected_payload_bytes=10 * 1024),
        "roofline": RooflineRecord(read_bytes=(1,), limit_ms=4.0),
    }
    return cell("a", nodes, [speed - 1, speed, speed + 1], **{**values, **fields})


def _drawn(record: RunRecord, name: str) -> Any:
    chart = gallery.charts(RunView.of(record))[name]
    assert chart.name == name
    (panel,) = chart.panels
    return panel


RUN = run([_cell(2, 10.0), _cell(4, 15.0)])


def test_speed_is_drawn_with_its_range_the_ideal_and_the_roofline() -> None:
    assert _drawn(RUN, "tokens-per-s") == Lines(
        "a",
        (
            Curve("measured", (Point(2, 10.0, 9.0, 11.0), Point(4, 15.0, 14.0, 16.0))),
            Curve("ideal", (Point(2, 10.0), Point(4, 20.0)), "ideal"),
            Curve("memory roofline", (Point(2, 250.0), Point(4, 250.0)), "limit"),
        ),
        (2, 4),
    )


def test_tpot_is_ideal_in_inverse_to_the_nodes() -> None:
    measured, ideal, limit = _drawn(RUN, "tpot").curves
    assert measured.points[0] == Point(2, 101.0, 100.0, 102.0)
    assert ideal.points == (Point(2, 101.0), Point(4, 50.5))
    assert limit.points == (Point(2, 4.0), Point(4, 4.0))


def test_token_time_of_the_sync_share_adds_up_to_tpot() -> None:
    panel = _drawn(RUN, "token-time")
    assert panel.labels == ("2", "4")
    assert [part.name for part in panel.parts] == ["compute", "sync"]
    assert panel.parts[0].values[0] == pytest.approx(101.0 * 0.75)
    assert panel.parts[1].values[0] == pytest.approx(101.0 * 0.25)


def test_token_time_of_parts_is_the_roots_decode_small_ones_together() -> None:
    told = [
        ("decode", "feed-forward", 0, 6.0), ("decode", "exchange-wait", 0, 3.0),
        ("decode", "sampling", 0, 0.05), ("decode", "embedding", 0, 0.05),
        ("decode", "feed-forward", 1, 99.0), ("prefill", "feed-forward", 0, 99.0),
    ]  # fmt: skip
    parts = tuple(PartTime(phase=p, part=n, rank=r, ms=ms) for p, n, r, ms in told)  # type: ignore[arg-type]
    record = run([_cell(2, 10.0, samples=(_sample(parts=parts),))])
    assert _drawn(record, "token-time") == Stack(
        "a",
        ("2",),
        (
            Series("feed-forward", (6.0,)),
            Series("exchange-wait", (3.0,)),
            Series("other", (pytest.approx(0.1),)),  # type: ignore[arg-type]
        ),
    )


def test_gaps_are_drawn_in_order_and_as_shares() -> None:
    over = _drawn(RUN, "itl").curves
    assert [curve.name for curve in over] == ["2", "4"]
    assert over[0].points == (Point(2, 5.0), Point(3, 4.0), Point(4, 6.0))
    shares = _drawn(RUN, "itl-distribution").curves[0].points
    assert [(p.x, round(p.y, 1)) for p in shares] == [(4.0, 33.3), (5.0, 66.7), (6.0, 100.0)]


def test_very_many_gaps_are_averaged_in_groups() -> None:
    gaps = tuple(float(i % 2) for i in range(2 * itl.MOST_POINTS))
    record = run([_cell(2, 10.0, samples=(_sample(gaps),))])
    (curve,) = _drawn(record, "itl").curves
    assert len(curve.points) == itl.MOST_POINTS
    assert curve.points[0] == Point(2.5, 0.5)
    (shares,) = _drawn(record, "itl-distribution").curves
    assert len(shares.points) == itl.MOST_STEPS


def test_memory_stands_beside_the_plan_of_the_largest_rank() -> None:
    assert _drawn(RUN, "memory") == Bars(
        "a",
        ("2", "4"),
        (Series("root", (30.0, 30.0)), Series("worker", (20.0, 20.0))),
        (Series("root", (10.0, 10.0)), Series("worker", (8.0, 8.0))),
    )


def test_payload_a_token_stands_beside_the_closed_form() -> None:
    counted, expected = _drawn(RUN, "bytes-per-token").curves
    assert counted.points == (Point(2, 2.0), Point(4, 2.0))  # KiB, of ten tokens
    assert expected.points == (Point(2, 1.0), Point(4, 1.0))


def test_effects_are_drawn_worst_first_in_percent() -> None:
    chart = gallery.charts(RunView.of(RUN, verdict(RUN, "a-4")))["ab"]
    (panel,) = chart.panels
    assert isinstance(panel, Forest)
    assert panel.title == "main (a1b2c3d) → working tree"
    slow, same = panel.effects
    assert (slow.label, slow.status, slow.tolerance) == ("a-4 TPOT", "REGRESSED", 5.0)
    assert (slow.change, slow.low, slow.high) == pytest.approx((8.3, 7.0, 9.6))
    assert same.label == "a-2 TPOT"


def test_what_a_run_lacks_is_named_not_drawn() -> None:
    record = run([cell("a", 2, [1])])
    assert gallery.charts(RunView.of(record)) == {}
    text = render(record, "en")
    assert "![" not in text
    assert "- Not drawn: Tokens/s by node count (needs two node counts), TPOT" in text
    assert "Gaps between tokens over the request (no cell that counts has recorded gaps)" in text
    assert "토큰 간격의 분포 (인정되는 구성에 토큰 간격 기록 없음)" in render(record, "ko")


def test_a_picture_that_fails_is_named_and_costs_no_report(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(chart: Chart) -> str:
        raise RuntimeError("no such colour")

    monkeypatch.setattr(draw, "svg", fail)
    paths = reports.write_reports(RUN, tmp_path, ["en"])
    assert [path.name for path in paths] == ["report.en.md", "report.en.html"]
    markdown, page = (path.read_text(encoding="utf-8") for path in paths)
    assert "- Not drawn: TPOT by node count (RuntimeError: no such colour)" in markdown
    assert "<svg" not in page
    assert "Not drawn: Tokens/s by node count" in page


# --- drawn ------------------------------------------------------------------------------------

EVERY = gallery.charts(RunView.of(RUN, verdict(RUN, "a-4")))


def _parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def _texts(svg: str) -> str:
    return " ".join("".join(element.itertext()) for element in _parsed(svg).iter())


def test_every_picture_has_an_example_here() -> None:
    assert set(EVERY) == set(gallery.PICTURES)


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_a_picture_is_text_that_fits_any_width(name: str) -> None:
    svg = draw.svg(EVERY[name])
    root = _parsed(svg)
    assert "viewBox" in root.attrib
    assert not {"width", "height"} & set(root.attrib)
    assert EVERY[name].x_label in _texts(svg)
    assert svg == draw.svg(EVERY[name])  # the same picture is the same file
    assert "prefers-color-scheme:dark" in svg
    assert "metadata" not in svg


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_values_show_when_pointed_at(name: str) -> None:
    titles = [e.text for e in _parsed(draw.svg(EVERY[name])).iter() if e.tag.endswith("}title")]
    expected = {
        "ab": "a-4 TPOT: +8.3 % (+7.0 to +9.6), REGRESSED",
        "tokens-per-s": "measured, 4 nodes: 15.00 (14.00 to 16.00)",
        "tpot": "memory roofline, 2 nodes: 4.00",
        "token-time": "computing, 2 nodes: 75.75 ms",
        "itl": "2 nodes: 4.00 to 6.00",
        "itl-distribution": "4 nodes: 33.33 to 100.00",
        "memory": "plan, worker: 8.00",
        "bytes-per-token": "closed form, 4 nodes: 1.00",
    }
    assert expected[name] in titles


@pytest.mark.parametrize("name", gallery.PICTURES)
def test_a_korean_picture_speaks_korean(name: str) -> None:
    drawn = in_words({name: draw.svg(EVERY[name])}, picture_words("ko"), {"a"})
    texts = [e.text or "" for e in _parsed(drawn[name]).iter() if e.tag.rpartition("}")[2] in SAID]
    expected = {
        "ab": "변화 % (오른쪽: 느려짐)",
        "tokens-per-s": "측정, 4대: 15.00 (14.00 ~ 16.00)",
        "tpot": "메모리 루프라인, 2대: 4.00",
        "token-time": "연산, 2대: 75.75 ms",
        "itl": "2대: 4.00 ~ 6.00",
        "itl-distribution": "간격의 비율 (%)",
        "memory": "계획, 워커: 8.00",
        "bytes-per-token": "계산식, 4대: 1.00",
    }
    assert expected[name] in texts
    english = {word for text in texts for word in re.findall(r"\b[a-z]{3,}\b", text)}
    assert english <= {"tokens", "main", "working", "tree", "against"}  # a unit; names of versions


def test_names_that_are_words_too_stay_names() -> None:
    chart = Chart("x", "nodes", "ms", (Stack("root", ("2",), (Series("worker", (1.0,)),)),))
    (svg,) = in_words({"x": draw.svg(chart)}, picture_words("ko"), {"root"}).values()
    assert {"root", "워커", "노드 수"} <= {e.text for e in _parsed(svg).iter()}
    same = {"x": draw.svg(chart)}
    assert in_words(same, picture_words("en"), ()) == same


def test_pictures_of_one_page_share_no_ids() -> None:
    ids = [e.get("id") for chart in EVERY.values() for e in _parsed(draw.svg(chart)).iter()]
    known = [one for one in ids if one is not None]
    assert len(known) == len(set(known)) > 0


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_a_terminal_gets_a_png(theme: Any) -> None:
    assert draw.png(EVERY["tpot"], theme).startswith(b"\x89PNG")


def test_hostile_names_stay_text_in_a_picture() -> None:
    name = "<script>alert(1)</script> $\\frac{$ \u202egnp|\n😀"
    title = Chart("x", "nodes", "ms", (Stack(name, ("2",), (Series("p", (1.0,)),)),))
    svg = draw.svg(title)
    assert "<script" not in svg
    assert "\u202e" not in svg
    assert "alert(1)" in _texts(svg)


def test_light_and_dark_have_a_colour_for_every_role_and_no_two_the_same() -> None:
    for theme in (LIGHT, DARK):
        assert len(set(theme.colours())) == len(theme.colours())
    assert len(LIGHT.colours()) == len(DARK.colours())


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_what_must_be_read_stands_out_from_the_surface(theme: Any) -> None:
    assert _contrast(theme.ink, theme.surface) >= 7
    assert _contrast(theme.muted, theme.surface) >= 4.5
    for colour in (*theme.series[:5], theme.limit, theme.bad, theme.good):
        assert _contrast(colour, theme.surface) >= 2.9, colour


def _contrast(first: str, other: str) -> float:
    """Of WCAG 2.2."""
    a, b = sorted((_luminance(first), _luminance(other)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_stored_runs_can_be_drawn() -> None:
    for name in ("two_models", "one_model", "three_models", "ssh_hosts"):
        drawn, undrawn = reports.drawings(RunView.of(read_run(REPORTS / f"{name}.json")))
        assert undrawn == {}
        assert "tokens-per-s" in drawn


def test_an_effect_of_nothing_is_no_effect() -> None:
    judged = verdict(RUN)
    bare = judged.cells[0].metrics[0].model_copy(update={"change": None})
    cells = tuple(one.model_copy(update={"metrics": (bare,)}) for one in judged.cells)
    view = RunView.of(RUN, judged.model_copy(update={"cells": cells}))
    assert "ab" not in gallery.charts(view)
    assert Effect("a", 1, 0, 2, "PASS", 5).low == 0


def test_what_no_part_covers_has_a_colour_of_its_own() -> None:
    names = [f"part {i}" for i in range(len(LIGHT.series))]  # as many as there are colours
    parts = tuple(Series(name, (1.0,)) for name in (*names, "other"))
    drawn = draw.svg(Chart("x", "nodes", "ms", (Stack("a", ("2",), parts),)))
    assert f"fill: {LIGHT.muted}" in drawn
