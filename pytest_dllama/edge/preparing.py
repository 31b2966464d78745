"""Once tests are selected: the cells that they read, a folder for results, a lab to measure in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dllama.edge.capture import progress_of, uncaptured
from pytest_dllama.edge.stash import CONFIG_KEY, FOLDER_KEY, WARNINGS_KEY
from pytest_dllama.files.report_folder import ReportFolder, check_file

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.lab.cells import CellKey
    from pytest_dllama.lab.lab import Lab


def all_keys(config: pytest.Config) -> list[CellKey]:
    """Every cell that the options ask for."""
    from pytest_dllama.lab.checks import cell_keys

    return cell_keys(config.stash[CONFIG_KEY])


def hold_folder(config: pytest.Config) -> None:
    """Results have a place, and no other session's are there: found out before it measures."""
    if (csv_file := config.stash[CONFIG_KEY].csv_file) is not None:
        check_file("--dllama-csv", csv_file)
    folder = ReportFolder(config.stash[CONFIG_KEY].report_folder)
    folder.hold()
    config.stash[FOLDER_KEY] = folder
    config.add_cleanup(folder.release)


def make_lab_of(config: pytest.Config, keys: list[CellKey]) -> Lab:
    """The session's lab; raises ConfigError or ThresholdError."""
    from pytest_dllama.lab.session.making import make_lab, thresholds_of, warnings_of

    lab_config = config.stash[CONFIG_KEY]
    thresholds, unmatched = thresholds_of(lab_config, all_keys(config))
    config.stash[WARNINGS_KEY].extend([*unmatched, *warnings_of(lab_config, keys)])
    with uncaptured(config):
        return make_lab(
            lab_config,
            keys,
            thresholds,
            progress_of(config),
            only_collects=config.option.collectonly,
        )
