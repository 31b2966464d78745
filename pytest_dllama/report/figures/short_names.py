"""Names of models that are too long for a table, shortened alike in a run and its verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pytest_dllama.record.base import Record
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import VerdictFile

LONGEST_NAME = 48  # characters; a title, a table's row and a sentence still hold it
R = TypeVar("R", bound=Record)
_END = 12  # of a name, where builds and quantizations differ


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Each name that is too long -> its beginning and its end; no two become the same.

    >>> found = short_names(["tiny", "m" * 60 + "-q40", "m" * 61 + "-q40"])
    >>> list(found.values())[1]
    'mmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmmm…mmmmmmmm-q40 (2)'
    """
    known = dict.fromkeys(names)
    taken = {name for name in known if len(name) <= LONGEST_NAME}
    found: dict[str, str] = {}
    for name in known:
        if len(name) <= LONGEST_NAME:
            continue
        short = f"{name[: LONGEST_NAME - _END - 1].rstrip()}…{name[-_END:].lstrip()}"
        number, unlike = 1, short
        while unlike in taken:
            number += 1
            unlike = f"{short} ({number})"
        taken.add(unlike)
        found[name] = unlike
    return found


def with_short_names(
    run: RunRecord, verdict: VerdictFile | None
) -> tuple[RunRecord, VerdictFile | None]:
    """Both as they are, but for names that are too long."""
    names = [model.name for model in run.models] + [cell.model for cell in run.cells]
    names += [cell.model for cell in verdict.cells] if verdict else []
    short = short_names(names)
    if not short:
        return run, verdict
    models = tuple(_renamed(model, "name", short) for model in run.models)
    cells = tuple(_renamed(cell, "model", short) for cell in run.cells)
    run = run.model_copy(update={"models": models, "cells": cells})
    if verdict is not None:
        judged = tuple(_renamed(cell, "model", short) for cell in verdict.cells)
        verdict = verdict.model_copy(update={"cells": judged})
    return run, verdict


def _renamed(record: R, field: str, short: Mapping[str, str]) -> R:
    name = getattr(record, field)
    return record.model_copy(update={field: short[name]}) if name in short else record
