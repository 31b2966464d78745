"""The run files of one cluster: every run once, under the time when it began and its digest.

Nothing here is ever rewritten: a run is added whole or not at all, and leaves only by retention.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pytest_dllama.errors import ToldError
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.places import cluster_folder
from pytest_dllama.history.run_files import RunFileError, read_run, run_text
from pytest_dllama.record.run import RunRecord

STALE_S = 86_400.0  # a half-written file of a process that was killed is swept away after a day
NEWEST = 5  # runs of which the median says what time it is
TIME_FORMAT = "%Y%m%dT%H%M%SZ"  # of a run's beginning, at the beginning of its name
UNKNOWN = "unknown"  # the cluster of runs without a fingerprint


class HistoryError(ToldError, ValueError):
    """A history that cannot give what was asked for; the message says what there is."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How much of a history stays: both limits count, accepted runs and anchors always stay."""

    runs: int = 1000
    days: int = 730


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of the history."""

    name: str  # of the file, without its ending: sorts by time
    run: RunRecord


class RunStore:
    """The runs of one cluster.

    Args:
        folder: of all histories.
        fingerprint: of the machines.
    """

    def __init__(self, folder: Path, fingerprint: str | None) -> None:
        self.fingerprint = fingerprint or UNKNOWN
        self.cluster = cluster_folder(folder, self.fingerprint)
        self._folder = self.cluster / "runs"

    def add(self, run: RunRecord) -> str:
        """Keep a run; its name. The same run again is the same file.

        Raises:
            OSError: it cannot be written.
        """
        text = run_text(run)
        name = _name(run, text)
        path = self.path(name)
        if not path.exists():
            write_whole(path, text)
        return name

    def path(self, name: str) -> Path:
        """Of a run's file."""
        return self._folder / f"{name}.json"

    def names(self) -> list[str]:
        """Of all runs, the oldest first."""
        return sorted(path.stem for path in self._folder.glob("*.json"))

    def read(self, name: str) -> RunRecord:
        """A run of the history.

        Raises:
            RunFileError: damaged, or of a later version.
        """
        return read_run(self.path(name))

    def runs(self) -> Iterator[StoredRun]:
        """All runs that can be read, the oldest first; `unreadable` names the others."""
        for name in self.names():
            try:
                yield StoredRun(name, self.read(name))
            except RunFileError:
                continue

    def unreadable(self) -> list[str]:
        """Why runs cannot be read, a sentence each."""
        found = []
        for name in self.names():
            try:
                self.read(name)
            except RunFileError as error:
                found.append(str(error))
        return found

    def find(self, text: str) -> StoredRun:
        """The run that is meant by its name, a beginning of it that no other has, or `last`.

        Raises:
            HistoryError: no such run, or several.
            RunFileError: it cannot be read.
        """
        names = self.names()
        if not names:
            raise HistoryError(
                f"the history of {self.fingerprint} has no run ({self._folder}); "
                "`pytest suites/` adds one, --history DIR names another history"
            )
        found = names[-1:] if text == "last" else [n for n in names if n.startswith(text)]
        if text in names:
            found = [text]
        if len(found) != 1:
            what = "several runs begin" if found else "no run begins"
            shown = ", ".join((found or names)[-5:])
            raise HistoryError(
                f"{what} with {text!r} in the history of {self.fingerprint}: {shown}; "
                "`pytest-dllama history` lists all"
            )
        return StoredRun(found[0], self.read(found[0]))

    def prune(self, keep: Keep, protected: Collection[str]) -> list[str]:
        """Drop the oldest runs beyond what is kept; their names. Protected ones always stay.

        Age is counted from the runs' own times, not from this machine's clock: one that is years
        ahead for a session or two makes no run old.
        """
        self._sweep()
        names = self.names()
        oldest = _days_before(keep.days, names)
        newest = set(names[max(len(names) - keep.runs, 0) :])
        gone = [
            name
            for name in names
            if name not in protected and (name not in newest or name < oldest)
        ]
        for name in gone:
            self.path(name).unlink(missing_ok=True)
        return gone

    def _sweep(self) -> None:
        for path in self._folder.glob(".*"):
            try:
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink(missing_ok=True)
            except OSError:  # another process swept it
                continue


def name_of(run: RunRecord) -> str:
    """What a run is called where it is kept: its beginning and its digest."""
    return _name(run, run_text(run))


def _name(run: RunRecord, text: str) -> str:
    stamp = re.sub(r"[^0-9TZ]", "", run.created_utc) or "run"
    return f"{stamp}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"


def _days_before(days: int, names: Sequence[str]) -> str:
    """A time so long before the median of the newest runs, as names begin; "": none is known."""
    newest = names[-NEWEST:]
    if len(newest) < NEWEST:
        return ""
    try:
        until = datetime.strptime(newest[NEWEST // 2].partition("-")[0], TIME_FORMAT)
        return f"{until - timedelta(days=days):{TIME_FORMAT}}"
    except (ValueError, OverflowError):  # a name that no run gave, or before all calendars
        return ""
