"""The formatters' doctests, run as tests."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

from pytest_dllama import report

MODULES = [
    module.name
    for module in pkgutil.walk_packages(report.__path__, "pytest_dllama.report.")
    if not module.ispkg
]
# At least these explain themselves by examples.
EXPLAINED = {"numbers", "korean", "markdown", "shell", "base", "columns", "cell_detail"}


@pytest.mark.parametrize("name", MODULES)
def test_doctests(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0
    if name.rpartition(".")[2] in EXPLAINED and ".pages." not in name:
        assert results.attempted > 0, f"{name} has lost its examples"
