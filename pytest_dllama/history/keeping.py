"""A finished run goes to the history of its cluster, and what is too old leaves."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.accepted import protected
from pytest_dllama.history.places import default_folder
from pytest_dllama.history.store import Keep, RunStore
from pytest_dllama.record.run import RunRecord


def history_folder(config: LabConfig) -> Path:
    """Of all histories, as the options say."""
    return config.history_folder or default_folder()


def keep_run(run: RunRecord, config: LabConfig) -> Path:
    """Add a run, then drop those beyond `--history-keep`; where the run is kept.

    Raises:
        OSError: it cannot be written.
    """
    store = RunStore(history_folder(config), run.fingerprint)
    name = store.add(run)
    store.prune(Keep(*config.history_keep), {name, *protected(store)})
    return store.path(name)
