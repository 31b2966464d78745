"""Files of results; one that cannot be written costs no cell and no table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pytest_dllama.history.run_files import RUN_FILE, archive_previous, write_run
from pytest_dllama.record.run import RunRecord


class ResultFiles:
    """What a session writes as it grows.

    Args:
        folder: of the run file.
    """

    def __init__(self, folder: Path) -> None:
        self.run_file = folder / RUN_FILE
        self.unsaved: dict[Path, str] = {}  # what cannot be written, and why
        self._archived = False

    def write(self, path: Path, write: Callable[[], object]) -> None:
        """Write a file by `write`; that it cannot be is remembered until it can."""
        try:
            write()
        except OSError as error:
            self.unsaved[path] = error.strerror or str(error)
        else:
            self.unsaved.pop(path, None)

    def write_run(self, run: RunRecord) -> None:
        """Write the run file; the first time, an older run moves out of the way."""
        self.write(self.run_file, lambda: self._write_run(run))

    def _write_run(self, run: RunRecord) -> None:
        if not self._archived:
            archive_previous(self.run_file.parent)
            self._archived = True
        write_run(run, self.run_file)
