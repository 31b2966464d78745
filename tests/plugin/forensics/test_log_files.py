"""Which files logs are read from, and what is said of others."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import ImportLogError
from pytest_dllama.forensics.logs.archives import LogTextError
from pytest_dllama.forensics.logs.log_text import read_log
from tests.plugin.forensics.log_shapes import (
    LOG,
    imported,
)


def test_only_whole_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(LogTextError, match="no regular file"):
        read_log(pipe)
    with pytest.raises(ImportLogError, match="no regular file"):
        imported(tmp_path)
    broken = tmp_path / "root.log.gz"
    broken.write_bytes(gzip.compress(LOG.encode())[:-30])
    with pytest.raises(LogTextError, match="a broken gzip file"):
        read_log(broken)


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dllama.forensics.logs.archives.MAX_LOG_BYTES", 1000)
    path = tmp_path / "root.log.gz"
    path.write_bytes(gzip.compress(b"a" * 1001))
    with pytest.raises(LogTextError, match="unpacked, more than"):
        read_log(path)
    path.write_bytes(b"a" * 1001)
    with pytest.raises(LogTextError, match="cut the repeated lines out"):
        read_log(path)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x28\xb5\x2f\xfd rest", "a zstd archive; unpack it"),
        (b"\x89PNG\r\n\x1a\n", "a picture; give the log as text"),
        (b"root.log" + b"\0" * 249 + b"ustar", "a broken tar file"),
        (b"BZh91AY&SY broken", "a broken bzip2 file"),
        (b"PK\x03\x04 broken", "a broken zip file"),
        (lzma.compress(b"log" * 500)[:60], "a broken xz file"),
    ],
)
def test_files_that_are_no_text_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_bytes(data)
    with pytest.raises(ImportLogError, match=words):
        imported(path)


@pytest.mark.parametrize("packed", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_the_logs_in_it(packed: str, tmp_path: Path) -> None:
    names = ("root.log", "two/root.log", "__MACOSX/._root.log")
    texts = (LOG, LOG.replace("One morning, Mina", "Another prompt"), "\0junk")
    path = tmp_path / "logs"
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in zip(names, texts, strict=True):
                archive.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz" if packed == "tar.gz" else "w") as tar:
            for name, text in zip(names, texts, strict=True):
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    run = imported(path)
    assert run.request.prompt == "One morning, Mina | Another prompt"
    assert [cell.status for cell in run.cells] == ["ok", "ok"]
    assert any("unpacked: 2 files" in note for note in run.notes)


def test_an_archive_of_many_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65):
            archive.writestr(f"{number}.log", "")
    with pytest.raises(ImportLogError, match="zip with 65 files; unpack it and give the logs in"):
        imported(path)
