"""Which prompts the real dllama decodes from a stale token, and what becomes of such a cell.

The expected pieces were read from builds of v0.14.2 and v0.16.5 that print the id they feed.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from dllama_engine.formats.vocab import read_vocab
from pytest_dllama.backends.base import Backend, EngineRequest
from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.backends.dllama.versions import UNKNOWN, Engine
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.history.run_files import read_run
from pytest_dllama.lab.cells import Cell
from pytest_dllama.lab.requests.asked import check_work
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.lab.requests.oracle import Oracle, find_oracle, output_against
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.models import engine_facts
from pytest_dllama.record.cell import CellRecord, OutputRecord, Workload
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.validity.faults import faults
from pytest_dllama.validity.output import faulty_output
from pytest_dllama.verdict.judge import judge
from tests.data import MODELS, REPORTS
from tests.plugin.backends.requests import REQUEST
from tests.plugin.validity.text_traces import oracle, step, trace, whole

TINY = engine_facts.MODELS_FOLDER / "tiny.t"
STALE = Engine("current", (0, 16, 4), None)


def request(prompt: str, tokenizer: Path = TINY) -> EngineRequest:
    return replace(REQUEST, prompt=prompt, tokenizer_file=tokenizer)


@pytest.mark.parametrize(
    ("prompt", "taken"),
    [
        ("One", "ne"),
        ("One morning", "ing"),
        ("A", "\x00"),
        ("42", "\x00"),
        ("!!", "\x00"),
        ("한국", "\x00"),
        ("the", "e"),
        ("Tom and Mina", "a"),
        ("One morning, Mina", None),
        ("Hello world", None),
        ("Mina.", None),
        ("", None),
    ],
)
def test_what_is_taken_for_the_last_token_of_a_prompt(prompt: str, taken: str | None) -> None:
    found = engine_facts.stale_first_token(TINY, prompt)
    assert (None if found is None else found[0]) == taken


@pytest.mark.parametrize("prompt", ["One morning, Mina", "One", "Hello"])
def test_a_begin_id_of_1_leaves_no_merge_and_so_always_id_0(prompt: str) -> None:
    found = engine_facts.stale_first_token(MODELS / "bos1.t", prompt)
    assert found is not None
    assert found[0] == "\x00"


def test_only_versions_with_the_fault_are_said_to_have_it() -> None:
    def told(engine: Engine, prompt: str) -> str | None:
        return DllamaBackend("dllama", engine=engine).output_fault(request(prompt))

    assert "dllama's own fault: it decodes the first token from 'ne'" in str(told(STALE, "One"))
    assert told(STALE, "One morning, Mina") is None
    fork = Engine("current", (0, 16, 3), None, True, frozenset({"--collective"}))
    assert told(fork, "One") is None
    assert told(UNKNOWN, "One") is None


def faulty_cell() -> CellRecord:
    output = faulty_output(trace(["On", "ly", " if"]), "dllama's own fault: stale", oracle())
    return CellRecord(
        model="tiny",
        nodes=1,
        status="ok",
        output=output,
        verdict=judge(faults=faults([trace(["On", "ly", " if"])], output), output=output),
    )


def run_of(request_trace: RequestTrace) -> RequestRun:
    return cast(RequestRun, SimpleNamespace(trace=request_trace))


def of_pieces(*pieces: str, last_margin: float = 5.0) -> RequestTrace:
    """What our own engine gives: with logits, clear ones but for the last."""
    steps = tuple(
        step(i, piece).model_copy(update={"token_id": 70 + i, "top": ((70 + i, 9.0), (9, 9.0 - m))})
        for i, piece in enumerate(pieces)
        for m in (last_margin if i == len(pieces) - 1 else 5.0,)
    )
    return whole(steps, 6)


def judged(cell: RequestTrace, right: RequestTrace, stale: RequestTrace | None) -> OutputRecord:
    against = Oracle(run_of(right), faulty=run_of(stale) if stale else None)
    backend = DllamaBackend("dllama", engine=STALE)
    return output_against(against, run_of(cell), request("One"), backend)


def test_a_build_that_has_it_mended_is_not_accused() -> None:
    """The flags do not tell such a fork; its text does."""
    right, stale = of_pieces("a", "b", "c", last_margin=0.01), of_pieces("x", "y", "z")
    assert judged(trace(["a", "b", "c"]), right, stale).status == "identical"
    later = judged(trace(["a", "b", "d"]), right, stale)
    assert (later.status, "near tie" in str(later.note)) == ("tie", True)
    other = judged(trace(["a", "k", "d"]), right, stale)
    assert (other.status, other.oracle_text) == ("different", "abc")


def test_the_stale_tokens_own_text_proves_it() -> None:
    right, stale = of_pieces("a", "b", "c"), of_pieces("x", "y", "z", last_margin=0.01)
    assert judged(trace(["x", "y", "z"]), right, stale).status == "engine_fault"
    assert judged(trace(["x", "y", "w"]), right, stale).status == "engine_fault"  # by rounding
    undecided = of_pieces("x", last_margin=0.01)
    assert judged(trace(["w"]), of_pieces("a"), undecided).status == "engine_fault"
    assert judged(trace(["w"]), of_pieces("a"), of_pieces("x")).status == "different"
    assert judged(trace(["w"]), of_pieces("a"), None).status == "engine_fault"  # none was run


def test_its_own_run_on_one_node_is_no_witness() -> None:
    """Where the model does not fit our engine's one node, both texts have the fault."""
    same = trace(["x", "y"])
    assert judged(same, same, None).status == "engine_fault"


def test_the_faults_own_text_is_computed_by_our_engine() -> None:
    backend = DllamaBackend("dllama", reference=EmbeddedBackend(), engine=STALE)
    other = backend.faulty_reference(request("One"))
    assert other is not None
    command = other.root_command(request("One"), [], "stdin")
    assert command[command.index("--decode-from") + 1] == "349"  # "ne"
    assert "--decode-from" not in EmbeddedBackend().root_command(request("One"), [], "stdin")
    assert backend.faulty_reference(request("One morning, Mina")) is None
    mended = Engine("current", (0, 16, 3), None, True, frozenset({"--collective"}))
    assert (
        DllamaBackend("d", (), EmbeddedBackend(), mended).faulty_reference(request("One")) is None
    )
    alone = DllamaBackend("dllama", engine=STALE)
    assert alone.faulty_reference(request("One")) is None


def test_the_oracle_has_both_texts() -> None:
    asked: list[str] = []

    def run_by(engine: Backend) -> RequestRun:
        asked.append(engine.name)
        if len(asked) > 2:
            raise RequestFailed("no room", "OutOfMemory")
        return run_of(of_pieces(engine.name))

    backend = DllamaBackend("dllama", reference=EmbeddedBackend(), engine=STALE)
    found = find_oracle(backend, request("One"), run_by)
    assert asked == ["embedded", "embedded-from-349"]
    assert found.faulty is not None
    assert found.faulty.trace.text == "embedded-from-349"
    with pytest.raises(RequestFailed, match="no room"):
        find_oracle(EmbeddedBackend(), request("One"), run_by, must_run=True)


def test_a_begin_token_that_dllama_reads_from_an_unset_byte_is_its_fault(tmp_path: Path) -> None:
    """A tokenizer file of before v0.14.0 has no key add_bos."""
    old = tmp_path / "old.t"
    vocab = read_vocab(TINY)
    old.write_bytes(without_add_bos(TINY.read_bytes()))
    assert read_vocab(old).tokens == vocab.tokens
    backend = DllamaBackend("dllama", engine=STALE)
    asked = request("One morning, Mina", old)
    right = Oracle(run_of(of_pieces("a", "b", "c")))
    other = output_against(right, run_of(trace(["x"], 5)), asked, backend)
    assert other.status == "engine_fault"
    assert "has no key add_bos, and it reads an unset byte" in str(other.note)
    exact = Workload(prompt_tokens=4)
    with pytest.raises(
        RequestFailed, match=r"made 5 tokens of the prompt of 4; dllama's own fault"
    ):
        check_work(trace(["x"], 5), exact, asked, backend)
    with pytest.raises(RequestFailed, match=r"its tokenizer is not the one of the \.t file"):
        check_work(trace(["x"], 5), exact, asked, EmbeddedBackend())
    check_work(trace(["x"], 4), exact, asked, backend)
    same_prompt = output_against(right, run_of(trace(["x", "b", "c"], 6)), asked, backend)
    assert same_prompt.status == "different"
    assert backend.prompt_fault(request("One morning, Mina")) is None
    older = DllamaBackend("dllama", engine=Engine("current", (0, 13, 0), (0, 14, 0)))
    assert older.prompt_fault(asked) is None


def without_add_bos(data: bytes) -> bytes:
    """A .t file without that pair of its header: magic, size, then pairs of int32."""
    (size,) = struct.unpack_from("<i", data, 4)
    pairs = [data[i : i + 8] for i in range(8, size, 8)]
    kept = [pair for pair in pairs if struct.unpack("<ii", pair)[0] != 10]
    return data[:4] + struct.pack("<i", size - 8) + b"".join(kept) + data[size:]


def test_speed_is_judged_and_never_a_baseline() -> None:
    record = faulty_cell()
    assert record.verdict is not None
    assert (record.verdict.status, record.verdict.reasons) == (
        "PASS",
        ("dllama's own fault: stale",),
    )
    cell = Cell(record)
    cell.check_output()
    assert not cell.trusted
    right = record.model_copy(update={"output": OutputRecord(text="", token_ids=(), status="tie")})
    assert Cell(right).trusted


@pytest.mark.parametrize(("language", "words"), [("en", "engine fault"), ("ko", "엔진 결함")])
def test_reports_name_it(language: str, words: str) -> None:
    run = read_run(REPORTS / "one_model.json")
    assert words not in render(run, language)
    cell = run.cells[0].model_copy(update={"output": faulty_cell().output})
    page = render(run.model_copy(update={"cells": (cell, *run.cells[1:])}), language)
    assert words in page
    assert "dllama's own fault: stale" in page
