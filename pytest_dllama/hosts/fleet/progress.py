"""How far the hosts of a session are with getting ready, in one line for all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_dllama.amounts import counted
from pytest_dllama.hosts.base import Progress
from pytest_dllama.hosts.fleet.provision import Ready


class ProgressLine:
    """Which host is at which step; each report replaces the line."""

    def __init__(self, names: Sequence[str], progress: Progress) -> None:
        self._steps = dict.fromkeys(names, "")
        self._progress = progress

    def report(self, host: str, step: str, state: str) -> None:
        """A host begins a step (`...`) or ends it (`ok`, or why not); called from its thread."""
        self._steps[host] = step if state in ("...", "ok") else f"{step} {state}"
        names: dict[str, list[str]] = {}
        for name, at in self._steps.items():
            names.setdefault(at or "waiting", []).append(name)
        text = "; ".join(f"{at}: {', '.join(who)}" for at, who in names.items())
        self._progress.detail(text)


def described(ready: Ready) -> str:
    """A host that is ready, in one line."""
    facts: Mapping[str, Any] = ready.facts
    known = [name for name in ("python", "numpy", "numba") if name in ready.versions]
    versions = "".join(f", {name} {ready.versions[name]}" for name in known)
    return (
        f"ready, {facts['board'] or facts['machine']}, {counted(facts['cores'], 'core')}{versions}"
    )
