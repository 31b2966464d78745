"""Grouping of imported runs: which are repeats of the same prompt and length by the same build."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_dllama.backends.dllama.printed.run import LoggedRun
from pytest_dllama.forensics.imported_run import Session

# Kinds of lines that versions began or ceased to print, whatever the model and the node count.
_SIGNS_OF_VERSIONS = ("loading", "loaded_bytes", "rope_cache", "rope_cache_size")
_Work = tuple[object | None, ...]  # None: this run does not tell


def told_apart(sessions: Sequence[Session]) -> list[Session]:
    """Runs of other work (prompt, tokens, build) get a model name of their own, `NAME #2`.

    A run that failed tells no work: it stays with the first of its model and node count.
    """
    works: dict[str, list[_Work]] = {}
    named = []
    for session in sessions:
        work = _work(session.run, session.nodes)
        number = _number(work, works.setdefault(session.model, [])) if work else 1
        name = session.model if number == 1 else f"{session.model} #{number}"
        named.append(replace(session, model=name))
    return named


def _number(work: _Work, known: list[_Work]) -> int:
    """Its place among the works of a model, from 1 on; a new one is added."""
    for i, other in enumerate(known):
        if all(a == b or a is None or b is None for a, b in zip(work, other, strict=True)):
            known[i] = tuple(b if a is None else a for a, b in zip(work, other, strict=True))
            return i + 1
    known.append(work)
    return len(known)


def _work(run: LoggedRun, nodes: int) -> _Work | None:
    """What a whole run did, and what tells its build; None where it did not come to its end."""
    if run.prediction is None or not run.prediction.has_rate:
        return None
    n_prompt = run.evaluation.n_tokens if run.evaluation else -1
    is_wall = any(step.wall_ms is not None for step in run.steps)
    what = (run.prompt, n_prompt, run.prediction.n_tokens, run.variant, run.is_old, is_wall)
    return (*what, *_build(run, nodes))


def _build(run: LoggedRun, nodes: int) -> _Work:
    """How its head is printed: versions differ in it, and their speeds are no repeats."""
    if not run.header:
        return (None,) * 4
    unit = "MB" if run.required_mb is not None else "kB" if run.required_kb is not None else None
    connects = ("connecting" in run.signs) if nodes > 1 else None
    signs = tuple(sign in run.signs for sign in _SIGNS_OF_VERSIONS)
    return (tuple(sorted(run.header)), unit, connects, signs)
