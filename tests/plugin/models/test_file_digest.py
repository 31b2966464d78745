"""A file is read once: then its state says what is in it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from pytest_dllama.files import user_files
from pytest_dllama.models.file_digest import file_digest


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(user_files, "cache_folder", lambda: tmp_path / "cache")
    path = tmp_path / "m.m"
    path.write_bytes(b"weights" * 1000)
    return path


def of(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def test_it_is_read_once_and_again_once_it_changed(model: Path) -> None:
    assert file_digest(model) == of(b"weights" * 1000)
    (kept,) = (model.parent / "cache/model-digests").iterdir()
    kept.write_text("f" * 32)
    assert file_digest(model) == "f" * 32  # as remembered
    about = model.stat()
    model.write_bytes(b"WEIGHTS" * 1000)  # as many bytes, and the old time put back
    os.utime(model, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert file_digest(model) == of(b"WEIGHTS" * 1000)


def test_what_was_kept_is_not_believed_if_it_is_no_digest(model: Path) -> None:
    file_digest(model)
    (kept,) = (model.parent / "cache/model-digests").iterdir()
    kept.write_text("torn")
    assert file_digest(model) == of(b"weights" * 1000)


def test_without_a_folder_it_is_read_every_time(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_files, "cache_folder", lambda: Path("/proc/nowhere"))
    assert file_digest(model) == of(b"weights" * 1000)
    assert file_digest(model.with_name("none.m")) is None
