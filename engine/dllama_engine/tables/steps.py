"""What the root's decode loop writes down of each step: int64 (steps, STEP_WIDTH).

Times are by `time.perf_counter_ns`: when the step began, when its logits were gathered, when its
token was taken of them; then what the links had spent (`links.SPENT_NS`). Logits are float32 bits.
"""

from __future__ import annotations

START, GATHERED_NS, TAKEN_NS, SPENT = range(4)
FIRST_ID, FIRST_LOGIT, SECOND_ID, SECOND_LOGIT = range(4, 8)
STEP_WIDTH = 8
