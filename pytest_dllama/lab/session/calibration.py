"""What a session of A/A pairs leaves: its noise, for later verdicts on this cluster."""

from __future__ import annotations

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.keeping import history_folder
from pytest_dllama.history.noise.calibrations import calibration_of, calibrations
from pytest_dllama.history.store import RunStore
from pytest_dllama.record.verdict import VerdictFile
from pytest_dllama.report.lists.noise import noise_lines


def keep_calibration(verdict: VerdictFile, config: LabConfig) -> list[str]:
    """Keep what A/A pairs teach; the text that shows it.

    Raises:
        DataError: no valid cell has pairs.
    """
    store = RunStore(history_folder(config), verdict.fingerprint)
    calibration = calibration_of(verdict, config.engine)
    calibrations(store).add(calibration)
    return ["\n".join(noise_lines(store, calibration))]
