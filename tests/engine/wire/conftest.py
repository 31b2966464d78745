"""Ranks whose links are connected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dllama_engine.wire.links import Links
from tests.engine.wire.meshes import Mesh, mesh


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


@pytest.fixture
def connect() -> Iterator[Mesh]:
    """Connects ranks with each other, and closes what is left of them."""
    made: list[Links] = []

    def connect_all(world_size: int, timeout_s: float) -> list[Links]:
        ranks = mesh(world_size, timeout_s)
        made.extend(ranks)
        return ranks

    yield connect_all
    for links in made:
        links.close()
