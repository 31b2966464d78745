"""The table of embeddings on rank 0: rows are read from the file as tokens ask for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dllama_engine.arrays import Floats
from dllama_engine.errors import ModelFileError
from dllama_engine.formats.model_file import ModelFile


class EmbeddingTable:
    """Float32 rows, (vocab, dim), mapped; each is looked at once."""

    def __init__(self, model: ModelFile) -> None:
        self._path = model.path
        self._rows: Floats = model.raw(model.specs[0]).view(np.float32)
        self._is_finite = bytearray(model.config.vocab_size)

    def copy_rows(self, token_ids: Sequence[int], x: Floats) -> None:
        """The rows of these tokens into x, float32 (tokens, dim).

        Raises:
            ModelFileError: a value that is not finite.
        """
        rows = self._rows
        for row, token_id in enumerate(token_ids):
            x[row] = rows[token_id]
            if not self._is_finite[token_id]:
                if not np.isfinite(x[row]).all():
                    raise ModelFileError(
                        f"{self._path}: tensor embedding: the row of token {token_id} "
                        "holds a value that is not finite; convert the model again"
                    )
                self._is_finite[token_id] = True

    def close(self) -> None:
        """No view keeps the file mapped."""
        self._rows = self._rows[:0].copy()
