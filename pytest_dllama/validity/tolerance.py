"""How close two logits must be for rounding to explain that another token was chosen.

In reduce mode every rank rounds its partial sums to the buffer type before they are added, so
logits move a little with the node count and a near tie may go the other way. How much is *measured
on the pair of runs at hand*:

- Until the two runs part, both computed logits for the very same prefixes. Wherever their two best
  tokens are the same two, the change of the margin (best minus second) is one sample of what
  rounding does to a margin.
- tolerance = SPREAD_FACTOR * rms of these samples, pooled with PRIOR_SAMPLES samples of the buffer
  type's usual rms (so that two runs that part early are judged by what is usual, and two that part
  late by their own spread), and at most the buffer type's cap. Usual rms and cap are shares of the
  largest logit seen.

Measured with this engine on six models (Llama, Qwen 3, Qwen 3 MoE; 2 to 8 layers) at 2, 4 and 8
nodes: q80 rms 0.3 to 1.4 % of the largest logit (median 0.75 %), f32 rms 1.1e-7 to 2.7e-7 of it;
no sample of some 2700 lay beyond 3.4 times its run's rms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.events.request import Step
from pytest_dllama.events.trace import RequestTrace

SPREAD_FACTOR = 4.0
PRIOR_SAMPLES = 8
# Buffer type -> (usual rms of a margin's change, cap of the tolerance), shares of the largest logit
USUAL_RMS_AND_CAP: dict[str, tuple[float, float]] = {"q80": (0.01, 0.06), "f32": (5e-7, 1e-5)}


@dataclass(frozen=True, slots=True)
class Tolerance:
    """The margin under which rounding may turn the choice, and where it comes from."""

    margin: float
    n_samples: int = 0
    rms: float | None = None  # of the margins' changes; None without samples
    is_capped: bool = False

    def __str__(self) -> str:
        if self.margin == 0:
            return "none: this mode must give equal ids"
        spread = "none to measure" if self.rms is None else f"rms {self.rms:.3g}"
        capped = ", capped" if self.is_capped else ""
        return f"{self.margin:.3g} ({spread} on {self.n_samples} equal steps{capped})"


def measure_tolerance(
    oracle: RequestTrace, cell: RequestTrace, n_common: int, buffer_float_type: str, sync_mode: str
) -> Tolerance:
    """The tolerance for one pair of runs whose first `n_common` output tokens agree."""
    if sync_mode == "invariant":
        return Tolerance(0.0)
    pairs = list(zip(oracle.decode_steps, cell.decode_steps, strict=False))[:n_common]
    changes = [change for a, b in pairs if (change := _margin_change(a, b)) is not None]
    largest_logit = _largest_logit(oracle.decode_steps[: n_common + 1])
    usual_rms, cap = (share * largest_logit for share in USUAL_RMS_AND_CAP[buffer_float_type])
    squares = sum(change * change for change in changes)
    pooled = (squares + PRIOR_SAMPLES * usual_rms**2) / (len(changes) + PRIOR_SAMPLES)
    margin = SPREAD_FACTOR * math.sqrt(pooled)
    rms = math.sqrt(squares / len(changes)) if changes else None
    return Tolerance(min(margin, cap), len(changes), rms, margin > cap)


def _margin_change(oracle: Step, cell: Step) -> float | None:
    """How far the same two tokens' margin moved; None where the two best are not the same."""
    if not oracle.top or not cell.top or len(oracle.top) < 2 or len(cell.top) < 2:
        return None
    logits = dict(cell.top)
    (best, best_logit), (second, second_logit) = oracle.top[:2]
    if best not in logits or second not in logits:
        return None
    return (logits[best] - logits[second]) - (best_logit - second_logit)


def _largest_logit(steps: Sequence[Step]) -> float:
    return max((abs(logit) for step in steps for _, logit in step.top or ()), default=0.0)
