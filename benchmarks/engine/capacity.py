"""Is there room for a shape here, on the disk and in memory? Known before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path

from dllama_engine.formats.model_file import model_bytes
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import ROOT_RUNTIME_BYTES, rank_memory
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.system.process_memory import available_bytes
from dllama_engine.system.sizes import format_bytes

_CONTEXT, _BATCH = 512, 128
_SPARE_DISK_BYTES = 1 << 30


def too_large(shape: str, folder: Path, nodes: list[int], with_gguf: bool) -> str | None:
    """What is missing, with the figures; None where the shape fits.

    Memory: all nodes run on this host, and llama.cpp, if asked for, beside the engine.
    """
    config = parse_shape(shape)
    folder.mkdir(parents=True, exist_ok=True)
    files = model_bytes(config) * (1 + with_gguf) - _there(shape, folder)
    free = free_bytes(folder)
    if files > free:
        return f"its files take {format_bytes(files)} more, {folder} has {format_bytes(free)} free"
    processes = (
        sum(
            rank_memory(
                plan, rank, batch_size=_BATCH, max_seq_len=_CONTEXT, kv_type=FloatType.F32
            ).total_bytes
            for rank in range(plan.world_size)
        )
        for plan in (make_plan(config, n) for n in (1, *nodes))
    )
    needed = ROOT_RUNTIME_BYTES + max(processes) + with_gguf * model_bytes(config)
    available = available_bytes()
    if needed > available:
        return (
            f"it needs {format_bytes(needed)} of memory on this machine, "
            f"{format_bytes(available)} are available"
        )
    return None


def free_bytes(folder: Path) -> int:
    """Room on the folder's disk, some of it left alone."""
    return shutil.disk_usage(folder).free - _SPARE_DISK_BYTES


def _there(shape: str, folder: Path) -> int:
    """Bytes of the shape's files that have been written already."""
    files = (folder / f"synthetic-{shape}{suffix}" for suffix in (".m", ".gguf"))
    return sum(path.stat().st_size for path in files if path.exists())
