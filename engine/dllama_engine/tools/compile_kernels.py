"""Compile and cache the kernels of models that are not here yet.

`python -m dllama_engine.tools.compile_kernels`, for a controller that makes hosts ready.

Reads a JSON object from standard input: `configs` (as ModelConfig.to_json gives them; the shipped
model's if empty), `buffer_float_type`, `sync_mode`, `kv_type`. Prints the CPU's name in JSON.
"""

from __future__ import annotations

import json
import sys

from dllama_engine.system import process


def main() -> int:
    """Warm up for each config; returns the exit code."""
    process.prepare()
    from dllama_engine.cluster.setup.warmup import warm_up
    from dllama_engine.formats.config import ModelConfig
    from dllama_engine.formats.model_file import ModelFile
    from dllama_engine.formats.paths import model_path
    from dllama_engine.formats.quants import FloatType
    from dllama_engine.kernels.cpu import cpu_label
    from dllama_engine.sharding.plan import SyncMode, make_plan

    request = json.load(sys.stdin)
    configs = [ModelConfig.from_json(data) for data in request.get("configs", ())]
    if not configs:
        with ModelFile.open(model_path("tiny")) as model:
            configs = [model.config]
    for config in configs:
        plan = make_plan(
            config,
            1,
            buffer_type=FloatType.parse(request.get("buffer_float_type", "q80")),
            sync_mode=SyncMode(request.get("sync_mode", "reduce")),
        )
        warm_up(plan, FloatType.parse(request.get("kv_type", "f32")))
    print(json.dumps({"cpu": cpu_label()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
