"""The models of a session: each is opened, or written, when the first cell needs it."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.config.values import ModelSpec
from pytest_dllama.hosts.base import Progress
from pytest_dllama.models.model_files import ModelUnderTest, open_model
from pytest_dllama.record.run import ModelRecord


class OpenedModels:
    """Models under test, by the names that cells call them.

    Args:
        specs: what the options ask for.
        progress: where to tell that one is written.
    """

    def __init__(self, specs: Sequence[ModelSpec], progress: Progress) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._progress = progress
        self._opened: dict[str, ModelUnderTest] = {}

    def of(self, name: str) -> ModelUnderTest:
        """The model of this name; raises ConfigError of files that cannot be used or written."""
        if name not in self._opened:
            self._progress.stage(f"{name}: opening the model")
            self._opened[name] = open_model(self._specs[name], self._progress.transfer)
        return self._opened[name]

    @property
    def records(self) -> tuple[ModelRecord, ...]:
        """Of those that were opened, in the options' order."""
        return tuple(self._opened[name].record for name in self._specs if name in self._opened)
