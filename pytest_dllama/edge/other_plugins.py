"""Compatibility with other pytest plugins: xdist, forked, reruns, html.

Knows their options, hooks and attributes, and imports none of them: each may be missing.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.record.cell import CellRecord
    from pytest_dllama.record.run import RunRecord

_AGAIN = {"reruns": 1, "count": 2, "retries": 1}  # options, and from where on they mean it
REFUSAL = "dllama_refusal"  # what a process of pytest-xdist tells the one that started it


def refuse_side_by_side(config: pytest.Config) -> str | None:
    """In a process of pytest-xdist: why cells cannot be measured there; told to the controller."""
    if not hasattr(config, "workerinput"):
        return None
    sentence = (
        "cells cannot be measured side by side, for they would share the machine: leave -n out "
        "(or -n 0), or leave the cells out with -m 'not dllama'"
    )
    output: Any = getattr(config, "workeroutput", None)
    if output is not None:
        output[REFUSAL] = sentence
    return sentence


def refuse_forked(config: pytest.Config, items: Iterable[pytest.Item]) -> str | None:
    """With pytest-forked: why cells cannot be measured by tests in processes of their own."""
    forks_all = config.getoption("forked", default=None)
    if forks_all is None:
        return None  # it is not there, and its mark means nothing
    if forks_all:
        found = "--forked: leave it out"
    elif any(item.get_closest_marker("forked") for item in items):
        found = "@pytest.mark.forked: take it from tests that read cells"
    else:
        return None
    return (
        "cells cannot be measured in a process that ends with its test, for many tests read one: "
        f"{found}, or leave the cells out with -m 'not dllama'"
    )


def broken_off_by(error: BaseException) -> str | None:
    """The plugin whose own error this is, as its package is called; None: it is nobody's.

    >>> broken_off_by(ValueError("ours"))
    """
    package = type(error).__module__.partition(".")[0]
    if not package.startswith("pytest_") or package == "pytest_dllama":
        return None
    return package.replace("_", "-")


def refusal_of(node: Any) -> str | None:
    """In the controller of pytest-xdist: what a process refused to do."""
    output: Any = getattr(node, "workeroutput", None) or {}
    sentence = output.get(REFUSAL)
    return sentence if isinstance(sentence, str) else None


def same_again(config: pytest.Config, items: Iterable[pytest.Item]) -> list[str]:
    """What to know where tests run more than once: the cell behind them is measured once."""
    found = [text for option, least in _AGAIN.items()
             if (text := _repeated(config, option, least))]  # fmt: skip
    if config.getoption("flake_finder_enable", default=False):
        found.append("--flake-finder")
    marks = {"flaky": "@pytest.mark.flaky", "repeat": "@pytest.mark.repeat"}
    items = list(items)
    found += [
        text for name, text in marks.items() if any(item.get_closest_marker(name) for item in items)
    ]
    return [
        f"dllama: {', '.join(found)}: a cell is measured once a session, so a test that runs again "
        "reads the same measurement; --repeats N measures more often"
    ] if found else []  # fmt: skip


def _repeated(config: pytest.Config, option: str, least: int) -> str:
    n = config.getoption(option, default=None)
    return f"--{option} {n}" if isinstance(n, int) and n >= least else ""


def properties(cells: Sequence[CellRecord]) -> Iterator[tuple[str, object]]:
    """Properties of a test that reads these cells (JUnit's XML, pytest-html).

    With several cells each name begins with its cell: `tiny-2.tpot_ms`.
    """
    for cell in cells:
        prefix = "" if len(cells) == 1 else f"{cell.id}."
        yield f"{prefix}model", cell.model
        yield f"{prefix}nodes", cell.nodes
        yield f"{prefix}verdict", cell.verdict.status if cell.verdict else None
        for name, estimate in cell.metrics.items():
            yield f"{prefix}{name}", estimate.value


def html_table(run: RunRecord) -> str:
    """The cells as a table of HTML, for the summary of pytest-html; figures are medians."""
    metrics = list(dict.fromkeys(name for cell in run.cells for name in cell.metrics))
    header = _row("th", ["model", "nodes", "verdict", *metrics])
    rows = [
        _row("td", [_name(cell), str(cell.nodes), cell.verdict.status if cell.verdict else "-",
                    *(_figure(cell, name) for name in metrics)])
        for cell in run.cells
    ]  # fmt: skip
    return f"<h2>Distributed LLM inference</h2><table>{header}{''.join(rows)}</table>"


def _row(tag: str, texts: Sequence[str]) -> str:
    cells = "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
    return f"<tr>{cells}</tr>"


def _figure(cell: CellRecord, metric: str) -> str:
    estimate = cell.metrics.get(metric)
    return "-" if estimate is None else f"{estimate.value:.6g}"


def _name(cell: CellRecord) -> str:
    """The model with its workload."""
    return f"{cell.model}{cell.workload.suffix}"
