"""What a process ends with after a comparison."""

from __future__ import annotations

from pytest_dllama.record.verdict import PairStatus

EXIT_WORSE = 1  # REGRESSED or FAIL; INCONCLUSIVE too with --inconclusive fail
EXIT_NO_VERDICT = 3  # INVALID or ERROR
BISECT_SKIP = 125  # what `git bisect run` takes as "this revision cannot be tested"
BISECT_ABORT = 130  # above 127 it ends, and the user decides
_UNDECIDED = "INCONCLUSIVE"


def exit_code(status: PairStatus, inconclusive: str) -> int:
    """Of `pytest-dllama duet`.

    Args:
        status: of the whole comparison.
        inconclusive: "fail" or "warn".

    >>> exit_code("INCONCLUSIVE", "warn")
    0
    """
    if status in ("ERROR", "INVALID"):
        return EXIT_NO_VERDICT
    if status in ("REGRESSED", "FAIL") or (status == _UNDECIDED and inconclusive == "fail"):
        return EXIT_WORSE
    return 0


def bisect_code(status: PairStatus | None) -> int:
    """For `git bisect run`: 0 good, 1 bad, 125 cannot be tested; None: there is no verdict.

    >>> bisect_code("INCONCLUSIVE")
    125
    """
    if status in ("REGRESSED", "FAIL"):
        return EXIT_WORSE
    return 0 if status in ("PASS", "IMPROVED") else BISECT_SKIP
