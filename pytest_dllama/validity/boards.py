"""Emulated boards against what they were set to: a machine that is slower is no such board.

Computing a decoded token may take 5 % more than reading its weights and cache takes on the board.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.record.cell import Fault
from pytest_dllama.record.emulation import RankCompute

ALLOWED_SHARE = 0.05
_TOO_SLOW = (
    "this machine is too slow or too crowded to be so many of that board with this model; fewer "
    "nodes, or, where a token takes less than a millisecond, a larger model"
)
_TOO_FAST = "the engine did not keep the board's rate"


def board_faults(found: Sequence[RankCompute]) -> list[Fault]:
    """That some rank was no such board, the worst of them with what was set and achieved."""
    off = [(abs(one.off), one) for one in found if one.off is not None]
    off = [(share, one) for share, one in off if share > ALLOWED_SHARE]
    if not off:
        return []
    _, worst = max(off, key=lambda pair: pair[0])
    why = _TOO_SLOW if worst.ms > worst.set_ms else _TOO_FAST
    text = (
        f"board: computing took {worst.ms:.3f} ms a token on rank {worst.rank}, set are "
        f"{worst.set_ms:.3f} ms ({worst.read_bytes / 1e6:.2f} MB read); {ALLOWED_SHARE:.0%} off "
        f"are allowed, and {len(off)} of {len(found)} ranks are: {why}"
    )
    return [Fault(kind="board", text=text)]
