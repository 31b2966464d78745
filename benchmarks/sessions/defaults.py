"""What the suites ask by default, for programs that take pairs of their own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import DEFAULT_PROMPT, parse_models


def suite_config(
    models: Sequence[str], nodes: Iterable[int], steps: int, folder: Path
) -> LabConfig:
    """A configuration of local cells; models as `--models` takes them."""
    return LabConfig(
        node_counts=tuple(nodes),
        models=parse_models(",".join(models)),
        steps=steps,
        prompt=DEFAULT_PROMPT,
        repeats=1,
        warmup=1,
        nthreads=1,
        buffer_float_type="q80",
        sync_mode="reduce",
        temperature=0.0,
        seed=12345,
        report_folder=folder,
        thresholds_file=None,
        request_timeout_s=300.0,
        explicit=True,
    )
