"""Where the data of tests lie: the only place that knows."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent  # of the repository
MODELS = Path(__file__).parent / "models"  # small ones, with what the real dllama computed
LOGS = Path(__file__).parent / "logs"  # that the real dllama printed
REPORTS = Path(__file__).parent / "reports"  # rendered whole, with their run files
RUNS = Path(__file__).parent / "runs"  # a run file of every version of the schema
VERDICTS = Path(__file__).parent / "verdicts"  # a verdict file of every version of the schema
