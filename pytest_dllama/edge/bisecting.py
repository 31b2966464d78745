"""What pytest ends with under `--bisect`: a number that `git bisect run` understands.

It takes every status of 1 to 127 but 125 for a bad revision, so none of pytest's own may get
through: neither that of a usage error, nor that of a session without a verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from typing import TypeAlias

import pytest

from pytest_dllama.edge.stash import CONFIG_KEY, LAB_KEY

_KEY = "dllama_bisect"
Status: TypeAlias = int | pytest.ExitCode


class _Interruption:
    """Whether the session was stopped, or broke off because tests cannot be collected."""

    def __init__(self) -> None:
        self.is_pytests_own = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.is_pytests_own = isinstance(excinfo.value, pytest.Session.Interrupted)


def status_for_git(config: pytest.Config) -> Generator[None, Status, Status]:
    """Inside a wrapper of `pytest_cmdline_main`: the status by the verdict, whatever happens."""
    if not config.getoption(_KEY) and not config.getini(_KEY):
        return (yield)
    interruption = _Interruption()
    config.pluginmanager.register(interruption)
    try:
        status = yield
    except pytest.UsageError as error:
        if not _is_bisecting(config):
            raise
        print("\n".join(f"ERROR: {text}" for text in error.args), file=sys.stderr)
        status = pytest.ExitCode.USAGE_ERROR
    if not _is_bisecting(config):
        return status
    from pytest_dllama.verdict.exit_codes import BISECT_ABORT, bisect_code

    if status == pytest.ExitCode.INTERRUPTED and not interruption.is_pytests_own:
        return BISECT_ABORT
    lab = config.stash.get(LAB_KEY, None)
    found = lab.verdict() if lab is not None else None
    return bisect_code(found.status if found else None)


def _is_bisecting(config: pytest.Config) -> bool:
    """By what was read of all options, or by the flag alone where another cannot be read."""
    read = config.stash.get(CONFIG_KEY, None)
    if read is None:
        return bool(config.getoption(_KEY))
    return read.comparison is not None and read.comparison.is_bisect
