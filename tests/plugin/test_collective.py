"""`--collective` and `--overlap` in the suites: from option to engine, record and page."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long


def test_auto_probes_once_a_cell_and_what_it_picked_is_in_the_record(tmp_path: Path) -> None:
    run = RealRun(tmp_path, "md")
    run.start(
        [
            *(str(ROOT / "suites"), "--models", SMALL_MODEL, "--prompt", "hello"),
            *("--warmup", "0", "--nodes", "1,3", "--steps", "16", "--repeats", "2"),
            *("--collective", "auto", "--overlap", "on", "-k", "output or wire"),
        ]
    )
    assert run.finish() == 0, run.output
    record = read_run(run.report / "run.json")
    assert "sync mode reduce, collective auto, overlap on" in run.output
    assert (record.request.collective, record.request.overlap) == ("auto", "on")
    (cell,) = (cell for cell in record.cells if cell.nodes == 3)
    assert cell.network is not None
    assert cell.network.payload_bytes == cell.network.expected_payload_bytes
    assert cell.commands is not None
    root = list(cell.commands.root)
    is_said = "--collective" in root  # of the last repeat; the mesh is the default
    served = root[root.index("--collective") + 1] if is_said else "mesh"
    assert served != "auto"
    assert root[root.index("--overlap") + 1] == "on"
    said = f"--collective auto picked {served}, used for all sessions of this cell"
    assert [note for note in record.notes if "auto" in note] == [said]
    assert f"note: {said}\n" in run.output
    page = (run.report / "report.en.md").read_text()
    assert "- Collective: `auto`\n" in page
    assert "- Halves of a batch overlap: `on`\n" in page
