"""Rows of the table of embeddings come from the file, which is not mapped for them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from dllama_engine.errors import ModelFileError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.transformer.embedding import EmbeddingTable

IDS = [3, 0, 511, 3]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_synthetic("tiny-llama", tmp_path)[0]


def test_rows_are_those_of_the_file_also_when_the_model_is_closed(path: Path) -> None:
    with ModelFile.open(path) as model:
        table = EmbeddingTable(model)
        rows = model.raw(model.specs[0]).view(np.float32)[IDS].copy()
    x = np.zeros((len(IDS), rows.shape[1]), np.float32)
    table.copy_rows(IDS, x)
    table.close()
    table.close()
    assert np.array_equal(x, rows)


def test_a_file_that_is_cut_while_it_is_in_use_is_an_error_and_no_signal(path: Path) -> None:
    with ModelFile.open(path) as model:
        table, spec = EmbeddingTable(model), model.specs[0]
        row_bytes = spec.nbytes // model.config.vocab_size
        os.truncate(path, spec.offset + 2 * row_bytes + 8)
        x = np.zeros((1, row_bytes // 4), np.float32)
        table.copy_rows([1], x)
        said = f"tensor embedding: 8 of the {row_bytes} bytes of token 2 could be read"
        with pytest.raises(ModelFileError, match=re.escape(said)):
            table.copy_rows([2], x)
        table.close()


def test_a_closed_model_gives_no_descriptor(path: Path) -> None:
    model = ModelFile.open(path)
    model.close()
    with pytest.raises(ModelFileError, match="the file is closed"):
        EmbeddingTable(model)
