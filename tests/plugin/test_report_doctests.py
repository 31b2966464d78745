"""The formatters' doctests, run as tests."""

from __future__ import annotations

import doctest
import importlib

import pytest

MODULES = ("cells", "command", "detail", "format", "korean", "markdown", "sentences")


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    results = doctest.testmod(importlib.import_module(f"pytest_dllama.report_{name}"))
    assert results.attempted > 0
    assert results.failed == 0
