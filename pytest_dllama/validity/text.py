"""The output check of an engine that prints text and tells neither token ids nor logits.

Where the oracle has logits (our own engine's one-node run of the same files), they decide: the text
may part from the oracle's only where its two best tokens were a near tie. Without any logits a
parting proves nothing, and says so. Knows nothing of pytest and starts nothing.
"""

from __future__ import annotations

import re

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.record.cell import OutputRecord, OutputStatus, TokenAlternative
from pytest_dllama.validity.tolerance import measure_tolerance


def compare_text(
    oracle: RequestTrace, cell: RequestTrace, buffer_float_type: str, temperature: float = 0.0
) -> OutputRecord:
    """Compare what a cell printed with the oracle's pieces of text."""
    has_logits = bool(oracle.token_ids)
    whose = "our own engine's one-node run" if has_logits else "the one-node run"
    if oracle.text == cell.text:
        return compared(oracle, cell, "identical", f"compared by the printed text with {whose}")
    if _valid_part(oracle.text) == _valid_part(cell.text):
        note = f"compared by the printed text with {whose}; invalid UTF-8 counts as equal"
        return compared(oracle, cell, "identical", note)
    said, expected = cell.request.n_input_tokens, oracle.request.n_input_tokens
    if said != expected:
        note = f"the prompt became {said} tokens and {expected} in {whose}"
        return compared(oracle, cell, "different", note)
    if len(oracle.pieces) != len(cell.pieces):
        note = f"{len(cell.pieces)} output tokens and {len(oracle.pieces)} in {whose}"
        return compared(oracle, cell, "different", note)
    at = next(i for i, (a, b) in enumerate(zip(oracle.pieces, cell.pieces, strict=True)) if a != b)
    what = f"output token {at + 1} is {cell.pieces[at]!r}, in {whose} {oracle.pieces[at]!r}"
    if temperature > 0:
        note = f"{what}; sampled at temperature {temperature:g}, so nothing is proven"
        return compared(oracle, cell, "unchecked", note)
    if not has_logits:
        note = f"{what}; without logits a near tie cannot be told from a fault: nothing is proven"
        return compared(oracle, cell, "unchecked", note)
    return _judged(oracle, cell, at, what, buffer_float_type)


def _valid_part(text: str) -> str:
    """Without the number of marks for invalid UTF-8, which is each decoder's own choice.

    One prints a mark for each byte, another for each sequence, and none for those at the end.
    """
    return re.sub("\ufffd+", "\ufffd", text).rstrip("\ufffd")


def _judged(
    oracle: RequestTrace, cell: RequestTrace, at: int, what: str, buffer_float_type: str
) -> OutputRecord:
    """A parting, by how close the oracle's two best tokens were."""
    tolerance = measure_tolerance(oracle, cell, at, buffer_float_type, "reduce")
    step = oracle.decode_steps[at]
    top = step.top or ()
    margin = top[0][1] - top[1][1] if len(top) > 1 else 0.0
    # Before any token agreed, nothing shows that both runs stood at the same place: only logits of
    # the run itself could tell a tie from another prompt.
    is_first = at == 0 and not cell.decode_steps[0].top
    is_tie = len(top) > 1 and margin < tolerance.margin and not is_first
    parting = TokenAlternative(
        position=at,
        oracle_token_id=-1 if step.token_id is None else step.token_id,
        oracle_piece=oracle.pieces[at],
        cell_token_id=-1,  # not told
        cell_piece=cell.pieces[at],
        oracle_margin=margin,
        tolerance=tolerance.margin,
    )
    verdict = "a near tie: " if is_tie else ""
    note = f"{what}; {verdict}margin {margin:.3g}, tolerance {tolerance}"
    if is_first and margin < tolerance.margin:
        note += "; at the first token a near tie cannot be claimed without logits of this run"
    return compared(oracle, cell, "tie" if is_tie else "different", note, parting)


def compared(
    oracle: RequestTrace,
    cell: RequestTrace,
    status: OutputStatus,
    note: str | None = None,
    first_difference: TokenAlternative | None = None,
) -> OutputRecord:
    """The record of a comparison, whatever it went by."""
    return OutputRecord(
        text=cell.text,
        token_ids=cell.token_ids,
        status=status,
        oracle_text=oracle.text,
        first_difference=first_difference,
        note=note,
    )
