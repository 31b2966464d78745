"""For all tests: neither the background nor several processes at once make a difference.

`make test` runs three processes (pytest-xdist), since much of the time is waiting; `pytest tests/`
runs one. So what belongs to the machine (ports, namespaces, folders) is each process's own.
"""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Generator
from importlib import import_module
from typing import Any

import pytest
from hypothesis import settings

# Shells start background jobs with SIGINT ignored, and every process below inherits that: tests of
# Ctrl-C would then fail for a reason that is not theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A pytest that a test starts is no part of this run: pytest-benchmark would measure nothing in it.
for _name in ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID"):
    os.environ.pop(_name, None)

# No run of a test may enter the history of whoever runs the tests.
if "PYTEST_DLLAMA_TEST_HOME" not in os.environ:
    os.environ["PYTEST_DLLAMA_TEST_HOME"] = tempfile.mkdtemp(prefix="pytest-dllama-history-")
    atexit.register(shutil.rmtree, os.environ["PYTEST_DLLAMA_TEST_HOME"], True)
os.environ["XDG_DATA_HOME"] = os.environ["PYTEST_DLLAMA_TEST_HOME"]

# Environments of tests live for a few programs: pip would compile all of numpy and scipy for them.
os.environ["PIP_COMPILE"] = "0"

# An example that took long says that the machine is busy, no more (as hypothesis' profile for CI).
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")

# Its tests share the fixture `boards`, which takes half a minute, and so run in one process.
BOARDS = "tests/hosts/boards/"


def pytest_configure(config: pytest.Config) -> None:
    """A pytest that a test starts needs no plugins of our own tests: hypothesis takes a second."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        os.environ["PYTEST_ADDOPTS"] = "-p no:hypothesispytest -p no:xdist"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """A pytester run forgets what it imported, and compiled modules cannot be loaded twice."""
    if "pytester" in getattr(item, "fixturenames", ()):
        for name in ("scipy.stats", "scipy.optimize"):
            import_module(name)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """All that is collected stays: to look for garbage in it takes a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files marked `long` begin first, so that no process is left alone with one at the end."""
    for item in items:
        if "boards" in getattr(item, "fixturenames", ()) and BOARDS not in item.path.as_posix():
            raise pytest.UsageError(f"{item.nodeid} uses the boards: move it into {BOARDS}")
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object | None:
    """With `--dist loadfile`: a file's tests stay together, and so do the files of the boards.

    Marks of `--dist loadgroup` would do, but pytest-xdist 3.8 loses them with pytest 9.2.
    """
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = _file(nodeid)
            return "boards" if BOARDS in file else file

    return Scheduling(config, log)
