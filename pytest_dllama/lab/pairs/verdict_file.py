"""The verdict file of a comparison: put together from its cells, and written whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.history.run_files import VERDICT_FILE
from pytest_dllama.record.verdict import CellVerdict, VerdictFile, worst
from pytest_dllama.stats.intervals import holm


@dataclass(frozen=True, slots=True)
class Compared:
    """What was compared, and how."""

    baseline: str  # SPEC
    base_label: str
    new_label: str
    fingerprint: str
    seed: int
    looks: tuple[int, ...]
    level: float
    created: datetime
    prior_groups: int = 0  # variances that the prior rests on, the most of any metric


def verdict_file(
    compared: Compared,
    config: LabConfig,
    cells: Sequence[CellVerdict],
    *,
    wall_s: float,
) -> VerdictFile:
    """All cells, with the Holm-adjusted p of every metric of every one."""
    p_values = {
        f"{cell.id} {verdict.metric}": verdict.p_worse
        for cell in cells
        for verdict in cell.metrics
        if verdict.p_worse is not None
    }
    board = config.topology.board if config.topology else None
    adjusted: Sequence[float] = holm(list(p_values.values())).tolist() if p_values else ()
    return VerdictFile(
        created_utc=f"{compared.created:%Y-%m-%dT%H:%M:%SZ}",
        wall_s=wall_s,
        baseline=compared.baseline,
        base_label=compared.base_label,
        new_label=compared.new_label,
        fingerprint=compared.fingerprint,
        seed=compared.seed,
        looks=compared.looks,
        level=compared.level,
        prompt="" if config.prompt_tokens else config.prompt,
        steps=None if config.output_tokens else config.steps,
        inject=config.inject,
        emulated=config.topology.described if config.topology else "",
        emulated_board=board.name if board else "",
        prior_groups=compared.prior_groups,
        status=worst([cell.status for cell in cells]),
        holm_p={key: float(p) for key, p in zip(p_values, adjusted, strict=True)},
        cells=tuple(cells),
    )


def write_verdict(found: VerdictFile, folder: Path) -> Path:
    """Write it atomically; raises OSError."""
    text = found.model_dump_json(indent=1) + "\n"
    VerdictFile.model_validate_json(text)  # what cannot be read back must not be written
    return write_whole(folder / VERDICT_FILE, text)
