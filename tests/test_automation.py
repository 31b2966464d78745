"""The Makefile and the workflows of CI: what a name means, and what runs there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.data import ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_no_file_or_folder_hides_a_target() -> None:
    """A folder `benchmarks` beside a target of that name: without .PHONY it is never made."""
    phony = set(re.search(r"^\.PHONY:((?:.*\\\n)*.*)", MAKEFILE, re.MULTILINE)[1].split()) - {"\\"}
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert {"bench", "benchmarks", "test-arm"} <= targets
    assert phony == targets


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_runs_pinned_actions_with_few_rights(file: Path) -> None:
    text = file.read_text("utf-8")
    used = re.findall(r"uses: (\S+)", text)
    assert used
    assert [name for name in used if not re.search(r"@[0-9a-f]{40}$", name)] == []
    assert re.search(r"^permissions:\n  contents: read$", text, re.MULTILINE)
    assert re.search(r"^concurrency:$", text, re.MULTILINE)
    jobs = re.findall(r"^  [a-z-]+:$", text.partition("\njobs:\n")[2], re.MULTILINE)
    assert text.count("timeout-minutes: ") >= len(jobs)


def test_ci_tries_the_oldest_pytest_that_is_allowed() -> None:
    project = (ROOT / "pyproject.toml").read_text("utf-8")
    oldest = re.search(r'"pytest>=([\d.]+)"', project)[1]
    assert f'minversion = "{oldest}"' in project
    assert f"'pytest=={oldest}.*'" in (ROOT / ".github/workflows/ci.yml").read_text("utf-8")
