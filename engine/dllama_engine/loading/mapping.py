"""Weights mapped (mmap) from a model file on the same machine: nothing is sent.

A worker on the root's own machine that can open the very file maps it and packs its part from
there; so does the root with its own part while workers load what they keep.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dllama_engine.errors import EngineError
from dllama_engine.formats.model_file import FileIdentity, ModelFile
from dllama_engine.loading.pieces import cut, pieces
from dllama_engine.system.mapped_pages import drop_pages
from dllama_engine.transformer.weights import RankWeights


def open_same(file: FileIdentity | None) -> ModelFile | None:
    """The root's file, if this process can open it and finds it the same, in the same state."""
    if file is None:
        return None
    try:
        model = ModelFile.open(Path(file.path))
    except EngineError:
        return None
    if model.identity == file:
        return model
    model.close()
    return None


def map_weights(
    model: ModelFile, weights: RankWeights, meanwhile: Callable[[], object] = lambda: None
) -> None:
    """Take a rank's pieces from the file itself.

    `meanwhile` is called after each piece.

    Raises:
        EngineError: a value that is not finite.
    """
    for spec in model.specs:
        raw = model.raw(spec)
        for span in pieces(weights.plan, spec, weights.rank):
            weights.add(spec, cut(raw, spec, weights.plan, weights.rank, span), span.start)
            drop_pages(raw)
            meanwhile()
    weights.finish()
