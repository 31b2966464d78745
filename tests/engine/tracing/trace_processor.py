"""Perfetto's own trace processor, where it is installed: what it makes of a file."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAME = "trace_processor_shell"
TIMEOUT_S = 900.0  # only a failing test waits so long
# Of a slice that overlaps another: since 2026 it is moved to a track of its own.
_SPILT, _DROPPED = (f"slice_{how}_overlapping_complete_event" for how in ("spill", "drop"))
_QUERY = """
select 'slices' as name, count(*) as value from slice
union all select 'flows', count(*) from flow
union all select 'main threads', count(*) from slice s join thread_track t on s.track_id = t.id
  join thread using (utid) where is_main_thread
union all select name, value from stats where value > 0 and (
  severity in ('error', 'data_loss') or name glob 'flow_*' or name glob 'slice_*');
"""

needs_it = pytest.mark.skipif(shutil.which(NAME) is None, reason=f"Perfetto's {NAME} is not there")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Rows of its tables `slice` and `flow`, and what it counted as wrong."""

    slices: int
    flows: int
    on_main_threads: int  # slices
    errors: Counter[str]


def loaded(folder: Path, trace: dict[str, Any]) -> Loaded:
    """Let it load a trace.

    Raises:
        subprocess.CalledProcessError: it refuses the file as a whole.
    """
    (folder / "t.json").write_text(json.dumps(trace))
    (folder / "q.sql").write_text(_QUERY)
    asked = [NAME, "-q", str(folder / "q.sql"), str(folder / "t.json")]
    done = subprocess.run(
        asked, capture_output=True, encoding="utf-8", check=True, timeout=TIMEOUT_S
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith('"')]
    values = {name: int(value) for name, value in list(csv.reader(rows))[1:]}
    slices, flows, on_main = (values.pop(name) for name in ("slices", "flows", "main threads"))
    spilt = values.pop(_SPILT, 0)
    errors = Counter(values)
    errors[_DROPPED] += spilt
    return Loaded(slices - spilt, flows, on_main, +errors)
