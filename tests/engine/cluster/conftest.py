"""A worker that a test may harm."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.processes import (
    Node,
    start_worker,
)


@pytest.fixture
def own_worker(tmp_path: Path) -> Iterator[Node]:
    node = start_worker(tmp_path, "own")
    yield node
    node.stop(signal.SIGKILL)
