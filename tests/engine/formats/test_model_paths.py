"""From the command line's name of a model to its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from dllama_engine.errors import ModelFileError, TokenizerError
from dllama_engine.formats import paths


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shipped"
    folder.mkdir()
    for name in ("tiny.m", "tiny.t", "bare.m"):
        (folder / name).touch()
    monkeypatch.setattr(paths, "SHIPPED", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def test_a_shipped_model_brings_its_tokenizer(shipped: Path) -> None:
    path = paths.model_path("tiny")
    assert path == shipped / "tiny.m"
    assert paths.tokenizer_path(None, path) == shipped / "tiny.t"
    assert paths.tokenizer_path("tiny", path) == shipped / "tiny.t"


def test_a_file_comes_before_a_shipped_name(shipped: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny").touch()
    assert paths.model_path("tiny") == Path("tiny")
    assert paths.tokenizer_path("other.t", Path("x.m")) == Path("other.t")


def test_what_is_missing_is_named(shipped: Path) -> None:
    with pytest.raises(
        ModelFileError, match="huge: no such model file; shipped models: bare, tiny"
    ):
        paths.model_path("huge")
    with pytest.raises(ModelFileError, match="folder/tiny: no such"):
        paths.model_path("folder/tiny")
    with pytest.raises(TokenizerError, match=r"bare\.t: no such tokenizer file; .*--tokenizer"):
        paths.tokenizer_path(None, paths.model_path("bare"))
