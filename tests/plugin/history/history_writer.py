"""A process that adds runs to a history until it is done, or killed: `FOLDER FIRST COUNT`."""

from __future__ import annotations

import sys
from pathlib import Path

from pytest_dllama.history.accepted import Acceptance, acceptances
from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import RunStore
from tests.data import REPORTS


def main(folder: str, first: int, count: int) -> None:
    run = read_run(REPORTS / "three_models.json")
    store = RunStore(Path(folder), "cluster")
    for n in range(first, first + count):
        created = f"2026-01-01T{n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}Z"
        name = store.add(run.model_copy(update={"created_utc": created, "wall_s": float(n)}))
        acceptances(store).add(
            Acceptance(kind="accepted", run=name, engine="embedded", decided_utc=created)
        )
        print(name, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
