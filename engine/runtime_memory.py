"""What a rank's process takes before it holds any weights: Python, its libraries, the kernels.

Measured in a process of its own, after the kernels have been compiled: a process that compiles
them itself takes about 100 MiB more.
"""

from __future__ import annotations

import json
import subprocess
import sys

from engine.errors import EngineError
from engine.procmem import resident_bytes
from engine.quants import FloatType
from engine.sharding import ShardPlan
from engine.warmup import warm_up

_TIMEOUT_S = 120.0


def runtime_bytes(plan: ShardPlan, kv_type: FloatType) -> int:
    """Resident memory of a rank of this plan without its weights, cache and buffers.

    Raises:
        EngineError: the measuring process failed.
    """
    warm_up(plan, kv_type)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "engine.runtime_memory"],
        input=json.dumps({"plan": plan.to_json(), "kv_type": int(kv_type)}),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError(f"the program's own memory cannot be measured: {done.stderr[-400:]}")
    return int(done.stdout)


def _main() -> None:
    import engine.root  # noqa: F401 - a rank has all of this loaded

    asked = json.load(sys.stdin)
    warm_up(ShardPlan.from_json(asked["plan"]), FloatType(asked["kv_type"]))
    print(resident_bytes())


if __name__ == "__main__":
    _main()
