"""What a rank has loaded, beside the slices of the file itself."""

from __future__ import annotations

import numpy as np

from dllama_engine.formats.model_file import ModelFile
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.sharding.slices import slice_tensor
from dllama_engine.transformer.weights import RankWeights


def check_weights(model: ModelFile, plan: ShardPlan, rank: int, weights: RankWeights) -> None:
    """Against whole slices of the file, to the bit."""
    whole = RankWeights(plan, rank)
    for spec in model.specs[1:]:
        part = slice_tensor(model.raw(spec), spec, plan, rank)
        if part is not None:
            whole.add(spec, part)
    for key, linear in whole.linears.items():
        for a, b in zip(linear.packed, weights.linears[key].packed, strict=True):
            assert np.array_equal(a, b), key
    for norm, values in whole.norms.items():
        assert np.array_equal(values, weights.norms[norm])
