"""Whole rendered reports against tests/data/reports/.

After a deliberate change of wording, layout or rule, regenerate and review the difference:

    UPDATE_GOLDEN_REPORTS=1 pytest tests/plugin/report/test_report_golden.py
    git diff tests/data/reports
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.report.pages.language import LANGUAGES
from pytest_dllama.report.pages.markdown import render
from tests.data import REPORTS as GOLDEN

RUNS = ("two_models", "one_model", "three_models", "ssh_hosts")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", RUNS)
def test_report_equals_golden(name: str, language: str) -> None:
    rendered = render(read_run(GOLDEN / f"{name}.json"), language)
    path = GOLDEN / f"{name}.{language}.md"
    if os.environ.get("UPDATE_GOLDEN_REPORTS"):
        path.write_text(rendered, encoding="utf-8")
    assert rendered == path.read_text(encoding="utf-8"), (
        f"{path.name} differs; if that is meant, see the head of {Path(__file__).name}"
    )


@pytest.mark.parametrize("name", RUNS)
def test_languages_have_the_same_shape(name: str) -> None:
    run = read_run(GOLDEN / f"{name}.json")
    assert _shape(render(run, "ko")) == _shape(render(run, "en"))


def _shape(markdown: str) -> list[str]:
    """What every line is: heading level, table row with its cells, bullet, fence, text."""
    kinds = []
    for line in markdown.splitlines():
        heading = re.match(r"#+ ", line)
        if heading:
            kinds.append(heading.group())
        elif line.startswith("|"):
            bars = re.findall(r"(?<!\\)[|]", line)  # an escaped one is text
            kinds.append(f"row of {len(bars) - 1}")
        elif item := re.match(r"- |(?=\d+\. )|`{3,}", line):
            kinds.append(item.group() or "numbered")
        else:
            kinds.append("text" if line else "")
    return kinds


@pytest.fixture(scope="module")
def reference() -> str:
    """The report computed from the figures of the hand-written one."""
    return render(read_run(GOLDEN / "two_models.json"), "en")


def test_13b_degrades_more_from_4_to_8(reference: str) -> None:
    # The hand-written report says that 30B does, against its own table.
    assert (
        "4 → 8 nodes: Llama-13B 62.7% slower, Llama-30B 59.1% slower; Llama-13B changes more"
        in reference
    )


def test_13b_does_not_use_half_the_memory_throughout(reference: str) -> None:
    assert "Llama-13B's root memory against Llama-30B's: 0.60 times (2 nodes)" in reference
    assert "Llama-13B's worker memory against Llama-30B's: 6.56 times (2 nodes)" in reference


def test_ttft_is_best_on_two_nodes(reference: str) -> None:
    assert "All models do best on 2 nodes in time to first token" in reference


def test_speed_difference_is_not_about_two_everywhere(reference: str) -> None:
    assert (
        "Llama-13B is 1.72 to 2.05 times as fast as Llama-30B "
        "at every node count compared (2, 4 and 8) (Tokens/s)"
    ) in reference


def test_command_with_one_worker_too_many_is_noted(reference: str) -> None:
    assert (
        "Llama-30B on 2 nodes: the command names 2 workers, but 2 nodes have 1 worker" in reference
    )
    assert "Llama-13B on 2 nodes: the command" not in reference


def test_unchecked_output_is_not_passed_over(reference: str) -> None:
    assert "Nobody checked the output of 6 cells" in reference
