"""A file is there whole or not at all, on file systems with nameless files and without."""

import os

import pytest

from dllama_engine.system.atomic_file import atomic_writer


@pytest.fixture(params=["nameless", "named"])
def folder(request, tmp_path, monkeypatch):
    if request.param == "named":
        monkeypatch.delattr(os, "O_TMPFILE")
    return tmp_path


def test_a_file_appears_when_it_is_whole(folder):
    with atomic_writer(folder / "file") as file:
        file.write(b"whole")
        assert not (folder / "file").exists()
    assert (folder / "file").read_bytes() == b"whole"
    assert os.listdir(folder) == ["file"]


def test_it_replaces_the_one_before_and_may_be_read_by_whom_the_umask_lets(folder):
    (folder / "file").write_bytes(b"before")
    with atomic_writer(folder / "file") as file:
        file.write(b"after")
    assert (folder / "file").read_bytes() == b"after"
    (folder / "plain").touch()
    assert (folder / "file").stat().st_mode == (folder / "plain").stat().st_mode


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_what_was_there(folder, error):
    def write(path):
        with atomic_writer(path) as file:
            file.write(b"half")
            file.flush()
            raise error

    (folder / "file").write_bytes(b"before")
    for name in ("file", "new"):
        with pytest.raises(error):
            write(folder / name)
    assert os.listdir(folder) == ["file"]
    assert (folder / "file").read_bytes() == b"before"


def test_a_leftover_of_a_killed_writer_is_written_over(folder):
    (folder / f".file.{os.getpid()}.tmp").write_bytes(b"left over, and longer")
    with atomic_writer(folder / "file") as file:
        file.write(b"whole")
    assert (folder / "file").read_bytes() == b"whole"


def test_a_missing_folder_is_an_error_at_once(folder):
    with pytest.raises(FileNotFoundError), atomic_writer(folder / "none" / "file") as file:
        file.write(b"")
