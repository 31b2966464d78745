"""The output check of engines that print text only."""

from __future__ import annotations

import pytest

from pytest_dllama.validity.faults import faults, repeat_faults
from pytest_dllama.validity.output import compare_output
from pytest_dllama.validity.text import compare_text
from tests.plugin.validity.text_traces import oracle, step, trace, whole


@pytest.mark.parametrize(
    ("pieces", "status", "words"),
    [
        (["On", "ce", " up"], "identical", "our own engine's one-node run"),
        (["", "Once", " up"], "identical", "compared by the printed text"),
        (["On", "ly", " if"], "tie", "output token 2 is 'ly'"),
        (["In", "ce", " up"], "different", "margin 10"),
        (["On", "ce", " a"], "different", "tolerance"),
        (["On", "ce"], "different", "2 output tokens and 3"),
    ],
)
def test_text_against_logits(pieces: list[str], status: str, words: str) -> None:
    output = compare_text(oracle(), trace(pieces), "q80")
    assert (output.status, output.token_ids) == (status, ())
    assert words in str(output.note)


def test_another_count_of_marks_for_invalid_utf8_is_no_difference() -> None:
    one = whole((step(0, "a"), step(1, "\ufffd\ufffd"), step(2, "b")), 6)
    output = compare_text(one, trace(["a", "", "\ufffdb\ufffd"]), "q80")
    assert output.status == "identical"
    assert "invalid UTF-8 counts as equal" in str(output.note)
    assert compare_text(one, trace(["a", "", "b"]), "q80").status != "identical"


def test_a_near_tie_is_recorded_with_its_margin() -> None:
    output = compare_text(oracle(), trace(["On", "ly", " if"]), "q80")
    parting = output.first_difference
    assert parting is not None
    assert (parting.position, parting.oracle_piece, parting.cell_piece) == (1, "ce", "ly")
    assert parting.oracle_margin == pytest.approx(0.3)
    assert parting.oracle_margin < parting.tolerance
    assert (parting.oracle_token_id, parting.cell_token_id) == (51, -1)


def test_f32_forgives_no_such_margin() -> None:
    assert compare_text(oracle(), trace(["On", "ly", " if"]), "f32").status == "different"


def test_another_prompt() -> None:
    output = compare_text(oracle(), trace(["On", "ce", " Up"], n_input_tokens=7), "q80")
    assert (output.status, output.note) == (
        "different",
        "the prompt became 7 tokens and 6 in our own engine's one-node run",
    )


def test_without_logits_a_parting_proves_nothing() -> None:
    output = compare_text(trace(["a", "b"]), trace(["a", "c"]), "q80")
    assert output.status == "unchecked"
    assert "without logits" in str(output.note)


def test_sampled_text_proves_nothing() -> None:
    output = compare_text(oracle(), trace(["In", "ce", " up"]), "q80", temperature=0.8)
    assert output.status == "unchecked"


def test_engines_of_text_take_this_road_and_their_repeats_must_agree() -> None:
    wrong = compare_output(
        oracle(), trace(["x", "y", "z"]), buffer_float_type="q80", sync_mode="reduce"
    )
    assert faults([trace(["x", "y", "z"])], wrong)[0].text.startswith(
        "output: output token 1 is 'x'"
    )
    (fault,) = repeat_faults([trace(["a"]), trace(["b"]), trace(["a"])])
    assert fault.text == "output: repeat 2 of 3 gave other tokens than repeat 1"


def test_at_the_first_token_only_logits_of_the_run_itself_make_a_tie() -> None:
    close = step(0, "On").model_copy(update={"token_id": 50, "top": ((50, 20.0), (9, 19.9))})
    output = compare_text(whole((close,), 6), trace(["In"]), "q80")
    assert output.status == "different"
    assert "at the first token a near tie cannot be claimed without logits" in str(output.note)
