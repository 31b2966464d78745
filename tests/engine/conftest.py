"""Workers that serve all tests of a run, as they serve all roots of their life."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.processes import Node, start_worker


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Node]]:
    """Three workers on free ports; tests that harm a worker start their own."""
    folder = tmp_path_factory.mktemp("workers")
    nodes = [start_worker(folder, f"worker{rank}") for rank in (1, 2, 3)]
    yield nodes
    for node in nodes:
        assert node.stop() == 0, node.log
