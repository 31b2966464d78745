"""Locks that processes wait for: held while the block runs, and by whoever asks for the path."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from dllama_engine.system import locks as engine
from pytest_dllama.files import locks as plugin

Locked = Callable[[Path], AbstractContextManager[None]]


def is_free(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


@pytest.mark.parametrize("locked", [engine.locked, plugin.locked])
def test_a_folder_or_a_new_file_is_held_until_the_end(locked: Locked, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "one.lock"):
        with locked(path):
            assert not is_free(path)
        assert is_free(path)
        with pytest.raises(RuntimeError), locked(path):
            raise RuntimeError
        assert is_free(path)


def test_where_there_can_be_no_lock_nobody_waits(tmp_path: Path) -> None:
    lock = tmp_path / "folder" / "one.lock"
    with engine.locked_if_possible(lock, 0o700) as is_held:
        assert is_held
        assert not is_free(lock)
    assert lock.parent.stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with engine.locked_if_possible(tmp_path / "file" / "one.lock") as is_held:
        assert not is_held
    with pytest.raises(OSError, match="of the block"), engine.locked_if_possible(lock):
        raise OSError("of the block")
