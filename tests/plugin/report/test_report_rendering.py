"""Any valid run renders, in both languages, to Markdown of one shape."""

from __future__ import annotations

import os
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pydantic import BaseModel

from pytest_dllama.metrics.catalog import METRICS
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.pages import comment, html
from pytest_dllama.report.pages.language import LANGUAGES, ReportError
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.pages.reports import write_reports
from tests.plugin.report.report_runs import cell, network, run

# No "n" and no "N", so that "nan" and "None" in a report can only come from a value.
TEXT = st.text(
    alphabet=st.one_of(
        st.sampled_from("|`*_#<>[]()&~$\\-+1. \n\r\t'\"가하é😀"),
        st.characters(exclude_characters="nN", exclude_categories=("Cs",)),
    ),
    max_size=12,
)
MODELS = st.sampled_from(("a", "b|c", "13B", "*"))
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "schema_version": st.just(1),
    "definitions": st.dictionaries(st.sampled_from(("ttft_s", "other")), TEXT, max_size=2),
    "name": MODELS,
    "model": MODELS,
    "nodes": st.integers(0, 9),
    "node_counts": st.lists(st.integers(0, 9), max_size=4).map(tuple),
}


def _of(kind: Any) -> st.SearchStrategy[Any]:
    """A strategy for an annotation of the record's models."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _record(kind)
    if origin is tuple and arguments[-1] is not Ellipsis:
        return st.tuples(*map(_of, arguments))
    if origin is tuple:
        return st.lists(_of(arguments[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(*map(_of, arguments), max_size=2)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if arguments:  # a union
        return st.one_of(*map(_of, arguments))
    return {
        str: TEXT,
        int: st.integers(-10, 10**13),
        float: st.one_of(st.floats(), st.floats(0, 1e4)),
        bool: st.booleans(),
        type(None): st.none(),
    }[kind]


def _record(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    fields = {
        name: SPECIAL[name] if name in SPECIAL else _of(field.annotation)
        for name, field in kind.model_fields.items()
        if not (kind is CellRecord and name == "metrics")
    }
    if kind is CellRecord:
        estimates = _record(typing.get_args(CellRecord.model_fields["metrics"].annotation)[1])
        fields["metrics"] = st.dictionaries(st.sampled_from(tuple(METRICS)), estimates)
    return st.builds(kind, **fields)


def _blocks(markdown: str) -> list[str]:
    """The structure a Markdown reader sees."""
    reader = MarkdownIt("commonmark").enable("table")
    return [
        token.type + token.tag
        for token in reader.parse(markdown)
        if token.type not in ("inline", "paragraph_open", "paragraph_close")
    ]


@settings(
    deadline=None,
    max_examples=25,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # shrinking a whole run takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(record=_record(RunRecord))
def test_any_run_renders(record: RunRecord) -> None:
    texts = {language: render(record, language) for language in LANGUAGES}
    for text in texts.values():
        wrong = re.search(r".*\b(None|nan|inf|undefined)\b.*", text, re.IGNORECASE)
        assert wrong is None, wrong
    assert _blocks(texts["ko"]) == _blocks(texts["en"])


@settings(
    deadline=None,
    max_examples=10,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(record=_record(RunRecord))
def test_any_run_is_a_page_and_a_comment(record: RunRecord) -> None:
    page = html.render(record, "en", None, {}, {})
    assert page.count("<details>") == page.count("</details>")
    assert page.count("<script") == 1
    assert len(comment.render(record, "en")) <= comment.LONGEST


@given(
    values=st.lists(st.one_of(st.just([]), st.lists(FINITE, min_size=1, max_size=3)), max_size=6)
)
@settings(deadline=None, max_examples=40)
def test_any_figures_render(values: list[list[float]]) -> None:
    cells = [cell("ab"[i % 2], 2 ** (i // 2), repeats) for i, repeats in enumerate(values)]
    texts = [render(run(cells), language) for language in LANGUAGES]
    assert not any(re.search(r"\b(None|nan|inf)\b", text) for text in texts)


def test_run_without_any_cell_renders() -> None:
    assert "0 cells" in render(run([]), "en")


def test_reports_are_written_whole(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    paths = write_reports(run([cell("a", 2, [1])]), folder)
    names = ["report.ko.md", "report.ko.html", "report.en.md", "report.en.html"]
    assert [path.name for path in paths] == names
    assert sorted(folder.iterdir()) == sorted(paths)  # nothing temporary is left
    assert paths[0].read_text(encoding="utf-8").startswith("# 통과: 구성 1개\n")


def test_failed_rendering_leaves_the_old_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "report.en.md").write_text("old", encoding="utf-8")
    monkeypatch.setattr(os, "replace", _refuse)
    with pytest.raises(OSError, match="disk full"):
        write_reports(run([cell("a", 2, [1])]), tmp_path, ["en"])
    assert [path.name for path in tmp_path.iterdir()] == ["report.en.md"]
    assert (tmp_path / "report.en.md").read_text(encoding="utf-8") == "old"


def _refuse(*_: object) -> None:
    raise OSError("disk full")


def test_unknown_language_is_explained() -> None:
    with pytest.raises(ReportError, match="no report language 'fr'; there are ko, en"):
        render(run([]), "fr")


def test_a_network_that_no_step_can_be_told_of_has_no_scaling() -> None:
    """One node has no network: from there nothing can be told of it."""
    peers = network(total_bytes=10, avg_ms=1.0)
    text = render(run([cell("a", 1, [9]), cell("a", 2, [12], network=peers)]), "en")
    assert "### Scaling of the generation speed" in text
    assert "### Scaling of the traffic" not in text
    assert "### Scaling of the latency" not in text
