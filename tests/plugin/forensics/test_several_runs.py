"""Several runs in one import: what are repeats, what is other work, and where one run ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.record.run import RunRecord
from tests.data import LOGS


def lines_of(name: str) -> list[str]:
    return (LOGS / name).read_text(encoding="utf-8").rstrip("\n").split("\n")


def imported(folder: Path, *parts: list[str]) -> RunRecord:
    path = folder / "root.log"
    path.write_text("\n".join(line for part in parts for line in part) + "\n", encoding="utf-8")
    return import_logs([path], ImportOptions())


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("v0.5.2_tiny_n2.log", "v0.11.2_tiny_n2.log"),
        ("v0.10.6_tiny_n2.log", "v0.11.2_tiny_n2.log"),
        ("v0.11.2_tiny_n2.log", "v0.12.1_tiny_n2.log"),
        ("v0.12.1_tiny_n2.log", "v0.13.10_tiny_n2.log"),
        ("v0.13.10_tiny_n2.log", "v0.14.2_tiny_n2.log"),
        ("v0.14.2_tiny_n2.log", "v0.16.4_tiny_n2.log"),
        ("v0.16.4_tiny_n2.log", "fork_tiny_n2.log"),
    ],
)
def test_runs_of_two_versions_are_no_repeats(older: str, newer: str) -> None:
    run = import_logs([LOGS / older, LOGS / newer], ImportOptions(model_name="tiny"))
    assert [(c.model, c.nodes, len(c.samples)) for c in run.cells] == [
        ("tiny", 2, 1),
        ("tiny #2", 2, 1),
    ]
    assert any("build are no repeats: tiny #2 are cells" in note for note in run.notes)


def test_a_version_is_the_same_on_any_node_count() -> None:
    one, two = (LOGS / f"v0.12.1_tiny_n{n}.log" for n in (1, 2))
    cells = import_logs([one, two], ImportOptions()).cells
    assert [(cell.model, cell.nodes) for cell in cells] == [
        ("llama-dim256-layers6", 1),
        ("llama-dim256-layers6", 2),
    ]


@pytest.mark.parametrize("begun", ["v0.10.6_tiny_n1.log", "fork_inference_n4.log"])
def test_a_start_that_was_given_up_leaves_the_next_run_as_it_is(begun: str, tmp_path: Path) -> None:
    """Its node count once became that of the run behind it, in the same file."""
    whole = import_logs([LOGS / "v0.16.4_tiny_n2.log"], ImportOptions()).cells[0]
    for n_lines in (3, 16, 24):
        head = [line for line in lines_of(begun)[:n_lines] if not line.startswith("🔶")]
        run = imported(tmp_path, head, lines_of("v0.16.4_tiny_n2.log"))
        (cell,) = (cell for cell in run.cells if cell.status == "ok")
        assert (cell.nodes, cell.metrics) == (2, whole.metrics)
        given_up = [cell.error for cell in run.cells if cell.status != "ok"]
        said = [note for note in run.notes if "ended before it connected is left out" in note]
        assert len(given_up) + len(said) == 1


def test_a_head_alone_is_said_to_be_one(tmp_path: Path) -> None:
    with pytest.raises(ImportLogError, match=r"on how many nodes it ran \(it ends before it"):
        imported(tmp_path, lines_of("v0.16.4_tiny_n2.log")[:12])


@pytest.mark.parametrize("name", ["v0.10.6_tiny_n2.log", "v0.16.4_tiny_n2.log"])
def test_a_sorted_log_is_no_run(name: str, tmp_path: Path) -> None:
    """One of an old version has its averages first, and was taken for newest line first."""
    try:
        cells = imported(tmp_path, sorted(lines_of(name))).cells
    except ImportLogError:
        return  # refused in words
    assert {cell.status for cell in cells} == {"failed"}


@pytest.mark.parametrize("name", ["v0.5.2_tiny_n2.log", "v0.10.6_tiny_n2.log"])
def test_the_pass_that_sent_the_weights_is_the_first(name: str, tmp_path: Path) -> None:
    lines = lines_of(name)
    at = next(i for i, line in enumerate(lines) if line.startswith("🔶"))
    lines.insert(at + 4, lines.pop(at))
    (cell,) = imported(tmp_path, lines).cells
    assert "the pass that sent the weights is not the first: lines were moved" in str(cell.error)


def test_on_one_node_nothing_tells_an_old_versions_first_pass() -> None:
    run = import_logs([LOGS / "v0.10.6_tiny_n1.log"], ImportOptions())
    assert not {"ttft_s", "tpot_ms", "steady_tpot_ms"} & run.cells[0].metrics.keys()
    assert run.cells[0].metrics["decode_tokens_per_s"].value == pytest.approx(640.0)
    assert any("TPOT is not known on one node" in note for note in run.notes)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        (
            "v0.10.6_tiny_n1.log",
            "nSlices: 1",
            "nSlices: 2",
            "count is 2, and its passes moved 0",
        ),
        ("v0.10.6_tiny_n2.log", "nSlices: 2", "nSlices: 1", "count is 1, and its passes moved 15"),
    ],
)
def test_a_node_count_that_the_bytes_contradict(
    name: str, old: str, new: str, words: str, tmp_path: Path
) -> None:
    lines = [line.replace(old, new) for line in lines_of(name)]
    (cell,) = imported(tmp_path, lines).cells
    assert words in str(cell.error)


def test_operations_of_a_model_that_the_bytes_do_not_bear_out_are_not_told(tmp_path: Path) -> None:
    lines = [line.replace("nLayers: 6", "nLayers: 8") for line in lines_of("v0.14.2_tiny_n2.log")]
    (cell,) = imported(tmp_path, lines).cells
    assert cell.network is None or cell.network.operations is None


@pytest.mark.parametrize(
    ("n_tokens", "words"),
    [(1, "ends after the first token (0.0 s"), (2, "ends after 2 tokens (0.0 s")],
)
def test_how_far_a_run_came_is_told_in_the_right_number(
    n_tokens: int, words: str, tmp_path: Path
) -> None:
    lines = lines_of("upstream_inference_n2.log")
    first = next(i for i, line in enumerate(lines) if line.startswith("🔶"))
    (cell,) = imported(tmp_path, lines[: first + n_tokens]).cells
    assert words in str(cell.error)
