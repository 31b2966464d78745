"""The short form of the campaign: each kind of fault in each phase.

`python -m tests.engine.faults` runs all of it and holds every end to the deadline.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.faults.campaign import TIMEOUT_S, Scenario, run_scenario

pytestmark = pytest.mark.long

# A busy machine may take long; a process that waits for something else than the timeout, longer.
PATIENT_S = TIMEOUT_S + 180

SHORT = [
    Scenario(0, "Socket[1]: connecting", victim=1, fault="kill"),
    Scenario(1, "NodeIndex", victim=2, fault="kill"),  # between handshake and mesh
    Scenario(2, "Socket[1]: connecting", victim=1, fault="stop"),
    Scenario(2, "Socket[1]: connecting", victim=1, fault="cut"),
    Scenario(1, "Network is initialized", victim=0, fault="stop"),
    Scenario(0, "Loading weights", victim=2, fault="cut"),
    Scenario(1, "Weights loaded", victim=1, fault="stop"),  # its weights have arrived
    Scenario(0, "Eval ", victim=1, fault="cut"),
    Scenario(0, "Pred ", victim=2, fault="stop"),
    Scenario(0, "Pred ", victim=0, fault="stop"),
    Scenario(0, "👱 User", victim=2, fault="kill", chat=True),
    Scenario(0, "👱 User", victim=1, fault="stop", chat=True),
    Scenario(0, "👱 User", victim=0, fault="stop", chat=True),
    Scenario(0, "Evaluation", victim=1, fault="kill"),
]


@pytest.mark.parametrize("scenario", SHORT, ids=str)
def test_a_fault_ends_the_request_and_names_the_rank(tmp_path: Path, scenario: Scenario) -> None:
    run_scenario(tmp_path, scenario, PATIENT_S)
