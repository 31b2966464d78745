"""What the pieces of a model's file are, by digest: computed once, then kept for the file's state.

A file in the same state (path, device, inode, size, times of its content's and its own last change)
is trusted to be the same: nobody writes into a file without changing its time of change, short of
setting the clock or the raw disk. Whatever a worker offers is compared with these digests.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dllama_engine.arrays import Bytes
from dllama_engine.errors import EngineError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.loading.entry import DIGEST_BYTES
from dllama_engine.loading.pieces import Layout, cut
from dllama_engine.loading.settings import default_folder
from dllama_engine.sharding.plan import ShardPlan
from dllama_engine.system.atomic_file import atomic_writer
from dllama_engine.system.mapped_pages import drop_pages
from dllama_engine.system.own_files import open_own, own_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

_KEPT = 64  # files of digests, of other models or plans
_MAGIC = b"dllama digests 1"
_LARGEST_BYTES = 1 << 26
_SETTLED_NS = 50_000_000  # what is written within a tick of the clock changes no time


def digests_folder() -> Path | None:
    """Where this user's are kept; None for a user without a home."""
    folder = default_folder()
    return None if folder is None else folder / "digests"


def state_of(model: ModelFile) -> str | None:
    """Names the file in its present state; None if it is being changed, or is another one now."""
    identity = model.identity
    try:
        found = os.stat(identity.path)
    except OSError:
        return None
    now = found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
    if now != (identity.device, identity.inode, identity.size, identity.modified_ns):
        return None
    if time.time_ns() - found.st_ctime_ns < _SETTLED_NS:
        return None
    described = repr((identity.path, *now, found.st_ctime_ns))
    return hashlib.sha256(described.encode()).hexdigest()[:24]


def find(state: str | None, layout: Layout) -> list[bytes] | None:
    """The digests of all pieces, if they are kept."""
    folder = digests_folder()
    if state is None or folder is None:
        return None
    with suppress(EngineError, OSError), open(open_own(_path(folder, state, layout)), "rb") as file:
        data = file.read(_LARGEST_BYTES)
        body = data[len(_MAGIC) + DIGEST_BYTES :]
        is_whole = data.startswith(_MAGIC + hashlib.sha256(body).digest())
        if is_whole and len(body) == DIGEST_BYTES * len(layout):
            return [body[at : at + DIGEST_BYTES] for at in range(0, len(body), DIGEST_BYTES)]
    return None


def keep(state: str | None, layout: Layout, digests: Sequence[bytes]) -> None:
    """Keep them for the next start; where that cannot be, they are computed again."""
    folder = digests_folder()
    if state is None or folder is None:
        return
    assert len(digests) == len(layout)
    body = b"".join(digests)
    with suppress(EngineError, OSError):
        own_folder(folder.parent)
        own_folder(folder)
        with atomic_writer(_path(folder, state, layout)) as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
        kept = sorted(folder.glob("*.digests"), key=lambda path: path.stat().st_mtime)
        for old in kept[:-_KEPT]:
            old.unlink(missing_ok=True)


def _path(folder: Path, state: str, layout: Layout) -> Path:
    return folder / f"{state}-{layout.key}.digests"


def compute(
    model: ModelFile,
    plan: ShardPlan,
    layouts: Mapping[int, Layout],
    n_pieces: Mapping[int, int],
    n_threads: int,
    meanwhile: Callable[[], object],
) -> dict[int, list[bytes]]:
    """Digests of the first pieces of some ranks, in one pass over the file.

    Args:
        model: the file.
        plan: the split.
        layouts: of each rank.
        n_pieces: how many are wanted, by rank.
        n_threads: that hash.
        meanwhile: called after each tensor.
    """
    from concurrent.futures import ThreadPoolExecutor

    futures: dict[int, list[Future[bytes]]] = {rank: [] for rank in n_pieces}
    with ThreadPoolExecutor(n_threads, "dllama-hashing") as pool:
        for spec in model.specs:
            raw = model.raw(spec)
            under_way: list[Future[bytes]] = []
            for rank, wanted in n_pieces.items():
                while len(mine := futures[rank]) < wanted:
                    piece = layouts[rank].pieces[len(mine)]
                    if piece.spec.index != spec.index:
                        break
                    under_way.append(pool.submit(digest, cut(raw, spec, plan, rank, piece.span)))
                    mine.append(under_way[-1])
            for future in under_way:
                future.result()
            drop_pages(raw)
            meanwhile()
    return {rank: [future.result() for future in mine] for rank, mine in futures.items()}


def digest(part: Bytes) -> bytes:
    """Of a piece, wherever its rows stand."""
    return hashlib.sha256(np.ascontiguousarray(part).data).digest()
