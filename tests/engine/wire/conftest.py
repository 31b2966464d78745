"""Two ranks whose links are connected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import mesh


@pytest.fixture
def pair() -> Iterator[tuple[Links, Links]]:
    left, right = mesh(2)
    yield left, right
    left.close()
    right.close()


@pytest.fixture
def impatient() -> Iterator[tuple[Links, Links]]:
    """Who waits for the other one gives it up soon."""
    left, right = mesh(2, timeout_s=0.3)
    yield left, right
    left.close()
    right.close()
