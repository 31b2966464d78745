"""What a session imports is there before its root comes."""

from __future__ import annotations

import re
from pathlib import Path

from tests.engine.processes import model_arguments, run, start_worker


def test_a_session_imports_nothing_that_a_waiting_worker_could_have(tmp_path: Path) -> None:
    """A root pays for what its workers import; a compiler is no part of a waiting worker."""
    worker = start_worker(tmp_path, "worker", PYTHONPROFILEIMPORTTIME="1")
    try:
        request = "inference", *model_arguments(), "--prompt", "a", "--steps", 4
        done = run(*request, "--workers", worker.address)
        assert done.returncode == 0, done.stderr
        worker.wait_log("Network is closed")
        waiting, session = worker.log.split("The root node has connected", 1)
    finally:
        worker.stop()
    assert "dllama_engine.cluster.worker_session" in waiting
    found = re.findall(r"import time:.*\| +(dllama_engine[\w.]+)", session)
    assert [name for name in found if "compile" not in name] == []
