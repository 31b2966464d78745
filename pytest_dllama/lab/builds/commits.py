"""What a git checkout says of itself: the commit that a run was measured at."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from pytest_dllama.record.run import Revision

TIMEOUT_S = 10.0
_FIELDS = "%H%x00%cI%x00%s"  # commit, its time, its subject
MAX_SUBJECT = 200  # characters: a subject is a line of a table
MOST_COMMITS = 100  # of those between two nights
_OF_HOOKS = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR")
_HASH = re.compile(r"[0-9a-f]{7,64}")


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


def commits_between(folder: Path, old: str, new: str) -> tuple[str, ...]:
    """`HASH subject` of each commit that `new` has and `old` lacks, the newest first.

    Nothing where the checkout of `folder` does not know both, or where there is no checkout.
    """
    if not all(_HASH.fullmatch(commit) for commit in (old, new)):
        return ()  # a run file may come from anywhere: no option of git hides in it
    told = _git(folder, "log", f"--max-count={MOST_COMMITS}", "--format=%h %s", f"{old}..{new}")
    return tuple(line[:MAX_SUBJECT] for line in (told or "").splitlines())


def own_repository() -> dict[str, str]:
    """The environment without what a hook of git hands on, which names another repository.

    Words of git in English, for they are looked at.
    """
    ours = {name: value for name, value in os.environ.items() if name not in _OF_HOOKS}
    return ours | {"LC_ALL": "C"}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), "--no-optional-locks", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, env=own_repository())
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
