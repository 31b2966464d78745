"""What a git checkout says of itself: the commit that a run was measured at."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pytest_dllama.record.run import Revision

TIMEOUT_S = 10.0
_FIELDS = "%H%x00%cI%x00%s"  # commit, its time, its subject
MAX_SUBJECT = 200  # characters: a subject is a line of a table


def revision_at(folder: Path) -> Revision | None:
    """Of the checkout that `folder` lies in; None without git, a checkout or a commit."""
    told = _git(folder, "log", "-1", f"--format={_FIELDS}")
    if told is None or told.count("\0") != 2:
        return None
    commit, committed, subject = told.strip("\n").split("\0")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    return Revision(
        commit=commit,
        committed_utc=committed,
        subject=subject[:MAX_SUBJECT],
        is_dirty=None if changed is None else bool(changed.strip()),
    )


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
