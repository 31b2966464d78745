"""One request as a process: its printed text and its events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.engine.processes import read_events, run

Events = list[dict[str, Any]]


def request(folder: Path, arguments: list[object]) -> tuple[str, Events]:
    """Run a request; its printed text and its events."""
    events = folder / "events.jsonl"
    done = run(*arguments, "--events", events)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, read_events(events)


def of(events: Events, name: str) -> Events:
    """The events of one name."""
    return [event for event in events if event["event"] == name]
