"""Entries that are added and never changed: one small file each, written whole.

So concurrent writers lose nothing, and a process that is killed leaves the entry or none.
"""

from __future__ import annotations

import json
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import ValidationError

from pytest_dllama.files.user_files import RECORD_BYTES, read_text
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.record.base import Record

Entry = TypeVar("Entry", bound=Record)


class Ledger(Generic[Entry]):
    """The entries of one kind.

    Args:
        folder: of their files.
        kind: what an entry is; its `schema_version` tells which versions can be read.
    """

    def __init__(self, folder: Path, kind: type[Entry]) -> None:
        self._folder, self._kind = folder, kind

    def add(self, entry: Entry) -> Path:
        """Keep an entry behind all others.

        Raises:
            OSError: it cannot be written.
        """
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}-{secrets.token_hex(4)}.json"
        return write_whole(self._folder / name, entry.model_dump_json(indent=1) + "\n")

    def entries(self) -> list[Entry]:
        """All of them, the oldest first; a damaged file, or one of a later version, is passed."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(self._kind.model_validate(json.loads(read_text(path, RECORD_BYTES))))
            except (OSError, ValueError, ValidationError, RecursionError):
                continue
        return found
