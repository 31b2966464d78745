"""What a process ends with after a comparison, of every status."""

from __future__ import annotations

from typing import get_args

import pytest

from pytest_dllama.record.verdict import PairStatus
from pytest_dllama.verdict.exit_codes import bisect_code, exit_code

CODES = {  # of duet, of duet with --inconclusive fail, with --bisect
    "PASS": (0, 0, 0), "IMPROVED": (0, 0, 0), "INCONCLUSIVE": (0, 1, 125),
    "REGRESSED": (1, 1, 1), "FAIL": (1, 1, 1), "INVALID": (3, 3, 125), "ERROR": (3, 3, 125),
}  # fmt: skip


@pytest.mark.parametrize("status", get_args(PairStatus))
def test_every_status_has_its_codes(status: PairStatus) -> None:
    codes = exit_code(status, "warn"), exit_code(status, "fail"), bisect_code(status)
    assert codes == CODES[status]


def test_without_a_verdict_a_revision_cannot_be_tested() -> None:
    assert bisect_code(None) == 125
