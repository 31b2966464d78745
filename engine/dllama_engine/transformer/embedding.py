"""The table of embeddings on rank 0: rows are read from the file as tokens ask for them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from dllama_engine.arrays import Bytes, Floats
from dllama_engine.errors import ModelFileError
from dllama_engine.formats.model_file import ModelFile


class EmbeddingTable:
    """Float32 rows, (vocab, dim), in the file.

    They are read, not mapped: what was looked up would count as this process's memory, in the end
    the whole table, and each first touch of a page would be a fault in the midst of a request.

    Attributes:
        descriptor: of the file, as long as the table is open.
        offset: where in it the rows begin.
        finite: uint8 (vocab,), 1 where a row was found to be finite.
    """

    def __init__(self, model: ModelFile) -> None:
        self._path, spec = model.path, model.specs[0]
        self.offset, self._row_bytes = spec.offset, spec.nbytes // model.config.vocab_size
        self._is_finite = bytearray(model.config.vocab_size)
        self.finite: Bytes = np.frombuffer(self._is_finite, np.uint8)  # the same
        self.descriptor = model.descriptor()

    def copy_rows(self, token_ids: Sequence[int], x: Floats) -> None:
        """The rows of these tokens into x, float32 (tokens, dim).

        Raises:
            ModelFileError: a value that is not finite; a file that cannot be read any more.
        """
        for row, token_id in enumerate(token_ids):
            self._read(token_id, x[row])
            if not self._is_finite[token_id]:
                if not np.isfinite(x[row]).all():
                    raise ModelFileError(
                        f"{self._path}: tensor embedding: the row of token {token_id} "
                        "holds a value that is not finite; convert the model again"
                    )
                self._is_finite[token_id] = True

    def _read(self, token_id: int, into: Floats) -> None:
        at = self.offset + token_id * self._row_bytes
        try:
            n_read = os.preadv(self.descriptor, (into.data,), at)
        except OSError as error:
            raise ModelFileError(f"{self._path}: {error.strerror or error}") from None
        if n_read != self._row_bytes:
            raise ModelFileError(
                f"{self._path}: tensor embedding: {n_read} of the {self._row_bytes} bytes of "
                f"token {token_id} could be read; the file was cut while it was in use"
            )

    def close(self) -> None:
        """Let go of the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
