"""Which tests read which cells: only tests that mean our fixtures count.

Other projects may well have a `cell` or a `scaling` of their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_dllama.lab.cells import CellKey

FIXTURES_MODULE = "pytest_dllama.fixtures"


def parametrize(metafunc: pytest.Metafunc, keys: Sequence[CellKey]) -> None:
    """One test a cell, or one for the node counts of a model and a workload."""
    if means_ours(metafunc, "cell"):
        ids = [key.id for key in keys]
        metafunc.parametrize("cell", keys, indirect=True, scope="session", ids=ids)
    elif means_ours(metafunc, "scaling"):
        alike = {key.apart_from_nodes: key for key in keys}
        groups = {name: (name, [k for k in keys if k.apart_from_nodes == name]) for name in alike}
        metafunc.parametrize(
            "scaling", list(groups.values()), indirect=True, scope="session", ids=list(groups)
        )


def means_ours(metafunc: pytest.Metafunc, name: str) -> bool:
    """Whether a test's fixture of this name is ours."""
    if name not in metafunc.fixturenames:
        return False
    return _comes_from_us(metafunc._arg2fixturedefs.get(name))


def cells_of(item: pytest.Item) -> list[CellKey]:
    """The cells that a test reads through our fixtures."""
    params = getattr(getattr(item, "callspec", None), "params", {})
    keys: list[CellKey] = [params["cell"]] if _reads(item, params, "cell") else []
    return [*keys, *params["scaling"][1]] if _reads(item, params, "scaling") else keys


def keys_of(items: Sequence[pytest.Item]) -> set[CellKey]:
    """The cells that these tests read."""
    return {key for item in items for key in cells_of(item)}


def _reads(item: pytest.Item, params: dict[str, Any], name: str) -> bool:
    info = getattr(item, "_fixtureinfo", None)
    return name in params and info is not None and _comes_from_us(info.name2fixturedefs.get(name))


def _comes_from_us(definitions: Any) -> bool:
    """Whether the fixture definition that wins is ours."""
    return bool(definitions) and definitions[-1].func.__module__ == FIXTURES_MODULE
