"""Delete, double, cut or move any line of a whole log: no figure may become another one unseen.

Each figure is that of the whole log, or missing, or its cell is flagged (failed, invalid), or the
import refuses in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.record.cell import CellRecord
from tests.data import LOGS

WHOLE = [
    "fork_inference_n2.log",
    "fork_tiny_n2.log",
    "upstream_inference_n1.log",
    "upstream_inference_n2.log",
    "v0.5.2_tiny_n2.log",
    "v0.10.6_tiny_n1.log",
    "v0.11.2_tiny_n2.log",
    "v0.12.1_tiny_n1.log",
    "v0.12.1_tiny_n2.log",
    "v0.13.10_tiny_n2.log",
    "v0.14.2_tiny_n2.log",
    "v0.16.4_tiny_n2.log",
]
Damage = Callable[[list[str]], Iterator[tuple[str, list[str]]]]


def figures(path: Path) -> dict[str, float] | None:
    """A whole log's one cell; None where something is flagged."""
    try:
        cells = import_logs([path], ImportOptions()).cells
    except ImportLogError:
        return None
    if len(cells) != 1 or is_flagged(cells[0]):
        return None
    cell = cells[0]
    network = cell.network
    more = {} if network is None else {"operations": network.operations, "all": network.total_bytes}
    return {name: estimate.value for name, estimate in cell.metrics.items()} | more


def is_flagged(cell: CellRecord) -> bool:
    return cell.status != "ok" or cell.verdict is None or cell.verdict.status != "PASS"


def without_one(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    for i in range(len(lines)):
        yield f"without line {i + 1}: {lines[i]!r}", lines[:i] + lines[i + 1 :]


def one_twice(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    for i in range(len(lines)):
        yield f"line {i + 1} twice: {lines[i]!r}", lines[: i + 1] + lines[i:]


def cut(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    for i in range(len(lines)):
        yield f"ends before line {i + 1}: {lines[i]!r}", lines[:i]
        half = len(lines[i]) // 2
        yield f"ends in line {i + 1}: {lines[i]!r}", [*lines[:i], lines[i][:half]]


def moved(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Neighbours change places; two lines of generated tokens are told apart by nothing."""
    for i in range(len(lines) - 1):
        if not all(line.startswith("🔶") for line in lines[i : i + 2]):
            swapped = [*lines[:i], lines[i + 1], lines[i], *lines[i + 2 :]]
            yield f"lines {i + 1} and {i + 2} changed places: {lines[i]!r}", swapped


def taken_to_the_first(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """An old version's passes, each before the others: on several nodes bytes tell the first."""
    first = next((i for i, line in enumerate(lines) if line.startswith("🔶 G")), len(lines))
    for i in range(first + 1, len(lines)):
        if lines[i].startswith("🔶"):
            passes = [lines[i], *lines[first:i], *lines[i + 1 :]]
            yield f"line {i + 1} came to line {first + 1}: {lines[i]!r}", lines[:first] + passes


@pytest.mark.parametrize("damage", [without_one, one_twice, cut, moved, taken_to_the_first])
@pytest.mark.parametrize("name", WHOLE)
def test_no_damaged_line_makes_another_figure(name: str, damage: Damage, tmp_path: Path) -> None:
    text = (LOGS / name).read_text(encoding="utf-8")
    whole = figures(LOGS / name)
    assert whole
    path = tmp_path / "root.log"
    wrong = []
    for what, lines in damage(text.rstrip("\n").split("\n")):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        found = figures(path) or {}
        others = {
            k: (v, whole.get(k)) for k, v in found.items() if v != pytest.approx(whole.get(k))
        }
        if others:
            wrong.append(f"{what}: {others}")
    assert wrong == []


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_log_has_figures(name: str) -> None:
    found = figures(LOGS / name)
    assert found
    assert found["decode_tokens_per_s"] > 0
    assert 0 <= found.get("sync_share", 0.0) <= 1


CHANGED = [  # log, what stands there, what is made of it, words of the failure
    ("fork_inference_n2.log", "ttftMs: 216.45", "ttftMs: 296.45", "Timing block contradicts"),
    ("fork_inference_n2.log", "totalMs: 1732.92", "totalMs: 1932.92", "Timing block contradicts"),
    ("fork_inference_n2.log", "prefillMs: 177.15", "prefillMs: 171.15", "Timing block contradicts"),
    ("fork_tiny_n2.log", "Root expects 1 ", "Root expects 5 ", "the log says 2 and 6 nodes"),
    ("fork_tiny_n2.log", "auto (nNodes=2)", "auto (nNodes=6)", "the log says 2 and 6 nodes"),
    ("v0.12.1_tiny_n2.log", "inf (0.00 ms", "inf (0.40 ms", "says no tokens/s and 0.4 ms a token"),
    ("v0.5.2_tiny_n2.log", "  1.31 ms", "  1.32 ms", "average 1.31 where the log says 1.32"),
    ("v0.5.2_tiny_n2.log", ": 571.43", ": 571.53", "average 571.43 where the log says 571.53"),
    ("v0.5.2_tiny_n2.log", "I    1 ms T    4", "I    2 ms T    4", "(inference time)"),
]


@pytest.mark.parametrize(("name", "old", "new", "words"), CHANGED)
def test_a_changed_figure_that_another_contradicts_is_told(
    name: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    text = (LOGS / name).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / "root.log"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    (cell,) = import_logs([path], ImportOptions()).cells
    assert words in str(cell.error)


def test_kilobytes_of_one_changed_line_are_not_shown(tmp_path: Path) -> None:
    text = (LOGS / "v0.16.4_tiny_n2.log").read_text(encoding="utf-8")
    path = tmp_path / "root.log"
    path.write_text(text.replace("Sent     4 kB", "Sent     9 kB", 1), encoding="utf-8")
    run = import_logs([path], ImportOptions())
    assert "bytes_per_token" not in run.cells[0].metrics
    assert any("lines of one token each differ in them" in note for note in run.notes)


@pytest.mark.parametrize("name", [name for name in WHOLE if "v0.12.1" not in name])
def test_the_end_of_a_log_gives_the_rates_of_its_blocks(name: str, tmp_path: Path) -> None:
    lines = (LOGS / name).read_text(encoding="utf-8").split("\n")
    at = [i for i, line in enumerate(lines) if line.startswith("🔶")][-3]
    path = tmp_path / "root.log"
    path.write_text("\n".join(lines[at:]), encoding="utf-8")
    (cell,) = import_logs([path], ImportOptions(nodes=2)).cells
    found = {metric: estimate.value for metric, estimate in cell.metrics.items()}
    whole = figures(LOGS / name) or {}
    assert found["decode_tokens_per_s"] > 0
    assert found == pytest.approx({metric: whole[metric] for metric in found}, rel=1e-4)


@pytest.mark.parametrize(
    ("head", "tail", "cut_at", "words"),
    [
        ("fork_tiny_n2.log", "fork_inference_n2.log", "Timing", "Timing block contradicts"),
        ("v0.12.1_tiny_n2.log", "v0.16.4_tiny_n2.log", "🔶", "lines of two versions of dllama"),
        ("v0.16.4_tiny_n2.log", "v0.5.2_tiny_n2.log", "🔶", "lines of two versions of dllama"),
        ("fork_tiny_n2.log", "v0.12.1_tiny_n2.log", "🔷️ E", "lines of two versions of dllama"),
    ],
)
def test_halves_of_two_logs_are_told(
    head: str, tail: str, cut_at: str, words: str, tmp_path: Path
) -> None:
    halves = []
    for name in (head, tail):
        lines = (LOGS / name).read_text(encoding="utf-8").split("\n")
        at = next(i for i, line in enumerate(lines) if line.startswith(cut_at))
        halves.append((lines[:at], lines[at:]))
    path = tmp_path / "root.log"
    path.write_text("\n".join(halves[0][0] + halves[1][1]), encoding="utf-8")
    (cell,) = import_logs([path], ImportOptions()).cells
    assert words in str(cell.error)
