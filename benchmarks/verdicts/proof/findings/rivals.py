"""The same sessions through other judges: each says which blocks it calls slower.

Their own programs run as they are: pytest-benchmark's comparison of a stored run, and Apache
Otava's change points, which need `otava` on PATH (it pins its own numpy: give it an environment of
its own, `pipx install apache-otava`). Welch's t is scipy's.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.verdicts.proof.blocks import Block
from pytest_dllama.stats.unpaired import welch

METRIC = "tpot_ms"
LIMIT = "mean:5%"
WELCH_P = 0.05
PAST = 30  # base sessions before a block that Otava sees
_MS = 1e3
_TIMEOUT_S = 600.0
_ROWS = '''
"""One row of pytest-benchmark's table for each block; the seconds were measured earlier."""
import json, pathlib, pytest
from pytest_dllama.edge.benchmark_bridge import record_row

SIDES = json.loads(pathlib.Path(__file__).with_name("sides.json").read_text())


@pytest.mark.parametrize("name", SIDES["names"])
def test_block(name, benchmark, pytestconfig):
    record_row(benchmark, SIDES[pytestconfig.getoption("side")][name], "tpot", {}, trusted=True)
'''
_CONFTEST = """
def pytest_addoption(parser):
    parser.addoption("--side")
"""


class RivalFailed(RuntimeError):
    """Another tool that did not do its work; its own words."""


def by_pytest_benchmark(blocks: Sequence[Block], folder: Path) -> set[str]:
    """Blocks that `--benchmark-compare-fail=mean:5%` fails, the base side being the stored run.

    Raises:
        RivalFailed: pytest-benchmark broke off.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sides: dict[str, object] = {"names": [block.id for block in blocks]}
    for side in ("base", "new"):
        sides[side] = {
            block.id: [ms / _MS for ms in block.values(side, METRIC)] for block in blocks
        }
    (folder / "sides.json").write_text(json.dumps(sides))
    (folder / "test_rows.py").write_text(_ROWS)
    (folder / "conftest.py").write_text(_CONFTEST)
    storage = folder / "storage"
    shutil.rmtree(storage, ignore_errors=True)
    saved = _pytest(folder, "--side=base", "--benchmark-save=base")
    _expect_rows(saved, sorted(storage.rglob("*_base.json")), len(blocks))
    table = folder / "new.json"
    table.unlink(missing_ok=True)
    compared = _pytest(
        folder,
        *("--side=new", "--benchmark-compare=0001", f"--benchmark-compare-fail={LIMIT}"),
        f"--benchmark-json={table}",
    )
    _expect_rows(compared, [table], len(blocks))
    failed = set(
        re.findall(r"test_block\[(.+?)\].*has failed PercentageRegression", _all(compared))
    )
    if bool(failed) != bool(compared.returncode):
        raise RivalFailed(f"pytest-benchmark compared nothing: {_end(compared)}")
    return failed


def _expect_rows(
    ended: subprocess.CompletedProcess[str], files: Sequence[Path], count: int
) -> None:
    """A row that is not there is not compared, and nobody says so."""
    rows = [len(json.loads(file.read_text())["benchmarks"]) for file in files if file.exists()]
    if sum(rows) != count:
        raise RivalFailed(f"pytest-benchmark has {sum(rows)} of {count} rows: {_end(ended)}")


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:pytest_dllama.plugin"),
        *("-p", "no:cacheprovider", "-p", "no:xdist", "-W", "ignore", "-c", "/dev/null"),
        *(f"--rootdir={folder}", f"--benchmark-storage=file://{folder / 'storage'}"),
        *arguments,
        str(folder),
    ]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )


def _all(ended: subprocess.CompletedProcess[str]) -> str:
    return ended.stdout + ended.stderr


def _end(ended: subprocess.CompletedProcess[str]) -> str:
    return _all(ended).strip()[-500:]


def by_welch(blocks: Sequence[Block]) -> set[str]:
    """Blocks whose new side has a greater mean of ln, two-sided p below 0.05."""
    flagged = set()
    for block in blocks:
        found = welch(block.values("base", METRIC), block.values("new", METRIC))
        if found.p < WELCH_P and found.ratio.value > 1:
            flagged.add(block.id)
    return flagged


def otava_program() -> str | None:
    """Where Apache Otava's program is."""
    return shutil.which("otava") or shutil.which("otava", path=str(Path(sys.executable).parent))


def by_otava(
    program: str, blocks: Sequence[Block], pasts: Mapping[str, Sequence[float]], folder: Path
) -> set[str]:
    """Blocks at which `otava analyze -M 0.05` finds a change point upward.

    Each block's series is PAST base sessions that ran before it, then its new side's; a change
    point counts from the last of the past on.

    Args:
        program: of Otava.
        blocks: each with PAST values in `pasts`.
        pasts: TPOT of base sessions by block id, in ms.
        folder: for its files.

    Raises:
        RivalFailed: Otava broke off.
    """
    if not blocks:
        return set()
    folder.mkdir(parents=True, exist_ok=True)
    tests = {}
    for block in blocks:
        series = [*pasts[block.id], *block.values("new", METRIC)]
        path = folder / f"{block.id}.csv"
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["time", METRIC])
            writer.writerows(zip(_dates(len(series)), series, strict=True))
        tests[block.id] = {
            "type": "csv",
            "file": str(path),
            "time_column": "time",
            "metrics": {METRIC: {"column": METRIC, "direction": -1, "scale": 1}},
            "attributes": [],
        }
    config = folder / "otava.yaml"  # JSON is YAML
    config.write_text(json.dumps({"tests": tests}))
    command = [program, "analyze", "--config-file", str(config), "-M", "0.05", "--output", "json"]
    ended = subprocess.run(
        [*command, *tests], cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S,
        check=False,
    )  # fmt: skip
    found = _change_points(ended)
    if found.keys() != tests.keys():
        raise RivalFailed(f"{program} analyzed {len(found)} of {len(tests)} series: {_end(ended)}")
    return {name for name, points in found.items() if any(map(_is_slower_now, points))}


def _dates(days: int) -> list[str]:
    """A value a day up to yesterday: Otava leaves out old ones; when they ran plays no part."""
    today = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    return [f"{today - timedelta(days=days - day):%Y-%m-%d %H:%M:%S %z}" for day in range(days)]


def _change_points(ended: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = {}
    for line in ended.stdout.splitlines():
        if line.startswith("{"):
            found.update(json.loads(line))
    return found


def _is_slower_now(point: Mapping[str, object]) -> bool:
    changes = point["changes"]
    assert isinstance(changes, list)
    return any(
        int(change["index"]) >= PAST - 1 and float(change["forward_change_percent"]) > 0
        for change in changes
    )
