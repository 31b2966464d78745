"""Logs as shells, collectors, editors and mails leave them: each gives the figures of the log."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import ImportLogError, import_logs
from pytest_dllama.forensics.imported_run import ImportOptions
from tests.data import LOGS
from tests.plugin.forensics.log_shapes import (
    LOG,
    SHAPES,
    before_each,
    figures,
    imported,
)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_gives_the_figures_and_text_of_the_log(shape: str, tmp_path: Path) -> None:
    change, words = SHAPES[shape]
    path = tmp_path / "root.log"
    path.write_bytes(change(LOG))
    whole, run = imported(LOGS / "v0.16.4_tiny_n2.log"), imported(path)
    assert figures(run) == figures(whole)
    assert run.request.prompt == "One morning, Mina"
    assert run.cells[0].output == whole.cells[0].output
    if words:
        assert words in "\n".join(run.notes)
        assert run.notes[0].startswith("root.log: ")
    else:
        assert run.notes == whole.notes


CASES = {  # file -> (a figure and its value, or words of the failure)
    "A11_v0.5.2.log": ("decode_tokens_per_s", 237.04),
    "A11_v0.10.6-n1.log": ("decode_tokens_per_s", 340.43),
    "A11_v0.10.6-n2.log": ("rct_s", 1.301),
    "A11_v0.11.2-n2.log": ("decode_tokens_per_s", 38.46),
    "A14_warn1.log": ("tokens_per_s", 49.18),
    "A16_utf16.log": ("decode_tokens_per_s", 90.34),
    "B12_root.log.gz": ("decode_tokens_per_s", 90.34),
    "B13_trail.log": ("decode_tokens_per_s", 90.34),
    "B5_indent.log": ("decode_tokens_per_s", 90.34),
    "B5_quote.log": ("decode_tokens_per_s", 90.34),
    "B6_rates.log": ("prefill_tokens_per_s", 5119.45),
    "B7_wrap54.log": ("decode_tokens_per_s", 90.34),
    "B9_blank.log": ("decode_tokens_per_s", 90.34),
}


@pytest.mark.parametrize("name", CASES)
def test_reported_logs(name: str) -> None:
    metric, value = CASES[name]
    assert figures(imported(LOGS / "cases" / name))[metric] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("A11_v0.5.2.log", "v0.5 or v0.6"),
        ("A11_v0.10.6-n2.log", "v0.10.2 to v0.10.6"),
        ("A11_v0.11.2-n2.log", "v0.11"),
    ],
)
def test_old_versions_are_named_and_what_they_do_not_tell_is_missing(
    name: str, versions: str
) -> None:
    run = imported(LOGS / "cases" / name)
    (cell,) = run.cells
    notes = "\n".join(run.notes)
    assert f"dllama's {versions} (upstream)" in notes
    assert "nothing tells where the prompt ends" in notes
    (sample,) = cell.samples
    assert (sample.ttft_s, sample.tokens_per_s, sample.n_input_tokens) == (None, None, None)
    assert "bytes_per_token" not in cell.metrics


def test_warnings_are_no_prompt_and_remarks_no_text() -> None:
    warned = imported(LOGS / "cases/A14_warn1.log")
    assert warned.request.prompt == "hello world"
    assert any("Cannot allocate 134217728 bytes" in note for note in warned.notes)
    run = imported(LOGS / "v0.16.4_invalid_utf8.log")
    assert run.cells[0].output is not None
    assert "Tokenizer:" not in run.cells[0].output.text


@pytest.mark.parametrize("name", ["B10_chat.log", "B10_api.log"])
def test_conversations_are_refused_and_not_stored(name: str) -> None:
    run = imported(LOGS / "cases" / name)
    (cell,) = run.cells
    assert cell.status == "skipped"
    assert "chat or API server, which prints no times" in str(cell.error)
    assert "Noah" not in run.model_dump_json()
    assert "Lily" not in run.model_dump_json()


def test_closing_blocks_alone_give_their_rates() -> None:
    path = LOGS / "cases/B8_closing_only.log"
    with pytest.raises(ImportLogError, match=r"decode 90\.34 tokens/s\); add --nodes N"):
        imported(path)
    run = imported(path, nodes=2)
    found = figures(run)
    assert found["prefill_tokens_per_s"] == pytest.approx(245.88)
    assert found["decode_tokens_per_s"] == pytest.approx(90.34)
    assert not {"ttft_s", "tpot_ms", "bytes_per_token", "sync_share"} & found.keys()
    assert any("Only the closing blocks" in note for note in run.notes)


def test_a_prompts_time_is_not_taken_from_lines_cut_to_whole_ms(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    lines = text.split("\n")
    at = lines.index("Evaluation")
    path.write_text("\n".join(lines[:at] + lines[at + 4 :]), encoding="utf-8")
    run = imported(path)
    (cell,), (whole,) = run.cells, imported(LOGS / "upstream_inference_n2.log").cells
    (sample,) = cell.samples
    assert (sample.ttft_s, sample.rct_s, sample.tokens_per_s, sample.prefill_s) == (None,) * 4
    assert (sample.n_input_tokens, sample.prefill_tokens) == (6, 5)  # by the Eval lines
    assert cell.metrics["tpot_ms"] == whole.metrics["tpot_ms"]
    assert not {"ttft_s", "rct_s", "tokens_per_s", "sync_share"} & cell.metrics.keys()
    assert any("The Evaluation block is not whole. Its tokens (5)" in note for note in run.notes)
    path.write_text("\n".join(line for line in lines if line != "    nTokens: 5"), encoding="utf-8")
    assert figures(imported(path)) == figures(imported(LOGS / "upstream_inference_n2.log"))


@pytest.mark.parametrize("rate", ["inf (0.00 ms/tok)", "-nan (-nan ms/tok)", "nan (inf ms/tok)"])
def test_impossible_rates_are_no_figures(rate: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    path.write_text(text.replace("90.34 (11.07 ms/tok)", rate), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "a rate that is no figure" in str(cell.error)


def test_rates_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    path.write_text(text.replace("90.34 (11.07", "80.34 (11.07"), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "which are not one time" in str(cell.error)


def test_runs_of_other_work_are_no_repeats(tmp_path: Path) -> None:
    first = (LOGS / "v0.16.4_tiny_n2.log").read_text(encoding="utf-8")
    other = first.replace("One morning, Mina", "Another prompt")
    path = tmp_path / "root.log"
    path.write_text(first + first + other, encoding="utf-8")
    run = import_logs([path, LOGS / "v0.12.1_tiny_n2.log"], ImportOptions(model_name="tiny"))
    cells = [(cell.model, cell.nodes, len(cell.samples)) for cell in run.cells]
    assert cells == [("tiny", 2, 2), ("tiny #2", 2, 1), ("tiny #3", 2, 1)]
    assert any("tiny #2, tiny #3 are cells of their own" in note for note in run.notes)


def test_a_node_count_that_the_log_contradicts_is_told() -> None:
    run = imported(LOGS / "v0.16.4_tiny_n2.log", nodes=4)
    assert run.cells[0].nodes == 2
    assert run.notes[0].startswith("--nodes 4 was given, but v0.16.4_tiny_n2.log says 2")


def test_text_that_only_looks_like_a_prefix_stays(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(LOG.replace("One morning, Mina\n", "> One 💡 Dim: 3\n"), encoding="utf-8")
    run = imported(path)
    assert run.request.prompt == "> One 💡 Dim: 3"
    assert not run.notes[0].startswith("root.log")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "terminate called after throwing an instance of 'x'\n  what():  Cannot connect\n",
            "Cannot",
        ),
        (
            "dllama: src/nn/nn-core.cpp:200: NnKvCacheSlice sliceKvCache(NnUint, NnUint, NnUint): "
            "Assertion `kvDim % nNodes == 0' failed.\n",
            "kvDim % nNodes == 0",
        ),
        ("🚨 Critical error: Unknown option: --host\n", "Unknown option: --host"),
    ],
)
def test_last_words_are_told(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(text, encoding="utf-8")
    (cell,) = imported(path, nodes=2).cells
    assert cell.status == "failed"
    assert words in str(cell.error)
    with pytest.raises(ImportLogError, match="it says"):
        imported(path)


ROOT = LOG.rstrip("\n").split("\n")


def test_programs_in_one_log_are_told_apart(tmp_path: Path) -> None:
    worker = (LOGS / "fork_inference_n4.worker1.log").read_text(encoding="utf-8").split("\n")
    other = LOG.replace("One morning, Mina", "Another prompt").rstrip("\n").split("\n")
    path = tmp_path / "compose.log"
    rows = []
    for lines in itertools.zip_longest(ROOT, other, worker[:40]):
        rows += [f"pi-{i}  | {line}" for i, line in enumerate(lines) if line is not None]
    rows.insert(0, "pi-idle  | Listening on 0.0.0.0:9999...")
    path.write_text("\n".join(rows), encoding="utf-8")
    run = imported(path)
    whole = figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    assert [cell.status for cell in run.cells] == ["ok", "ok"]
    for cell in run.cells:
        assert {name: estimate.value for name, estimate in cell.metrics.items()} == whole
        assert cell.output is not None
        assert cell.output.text == " walked to the park with her red ball. It had rained"
    assert run.request.prompt == "One morning, Mina | Another prompt"
    assert any("lines of 4 programs, told apart by it" in note for note in run.notes)


@pytest.mark.parametrize(
    "stamp",
    [
        lambda i: f"2026-11-25T13:00:{i:02}.123456789Z stdout F ",
        lambda i: f"Nov 25 13:00:{i:02} pi4 dllama[4711]: ",
        lambda i: f"[{i + 0.25:12.6f}] ",
        lambda i: f"{1764075600 + i}.5 ",
        lambda i: f"{i // 60:02}:00:{i:02} ",
    ],
)
def test_neighbours_that_changed_places_are_told_by_the_collectors_times(
    stamp: Callable[[int], str], tmp_path: Path
) -> None:
    path = tmp_path / "root.log"
    rows = before_each(stamp)(LOG).decode().rstrip("\n").split("\n")
    first = next(i for i, row in enumerate(rows) if "🔶" in row)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]
    path.write_text("\n".join(rows), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "the collector's times run backwards by 1 s at '🔶 Pred" in str(cell.error)
    assert "sort them by their time, then import anew" in str(cell.error)


def test_a_clock_without_a_date_may_pass_midnight(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    clock = before_each(lambda i: "23:59:59 " if i < 30 else f"00:00:{i:02} ")
    path.write_bytes(clock(LOG))
    assert figures(imported(path)) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))


def test_another_programs_line_among_the_tokens_is_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    at = next(i for i, line in enumerate(ROOT) if line.endswith(" park"))
    lines = [*ROOT[:at], "[warn] thermal throttling of core 3", *ROOT[at:]]
    path.write_text("\n".join(lines), encoding="utf-8")
    run = imported(path)
    assert figures(run) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    words = "1 line among the tokens with more words than a token has, such as '[warn] thermal"
    assert any(words in note for note in run.notes)


def test_a_closing_line_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "fork_inference_n2.log").read_text(encoding="utf-8")
    found = re.search(r"ttftMs: ([\d.]+)", text)
    assert found
    path.write_text(text.replace(found.group(), f"{found.group()} (garbled)"), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "a closing line cannot be read: '" in str(cell.error)
    assert "ttftMs" in str(cell.error)


def test_blanks_that_an_editor_ran_together_are_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(re.sub(" +", " ", LOG), encoding="utf-8")
    run = imported(path)
    assert figures(run) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    assert run.notes[0] == (
        "root.log: blanks were run together by an editor: those of the text are lost"
    )


def test_a_models_absurd_size_is_no_name(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(LOG.replace("💡 Dim: 256", f"💡 Dim: {'9' * 4000}"), encoding="utf-8")
    assert imported(path).cells[0].model == "model"
