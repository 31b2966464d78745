"""Pairs on boards: another revision beside ours on every one of them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.verdict_files import read_verdict
from tests.data import ROOT
from tests.hosts.sshd import left_behind
from tests.plugin.real_runs import RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
PATIENCE_S = 900.0  # an environment is made here and on every board
# They are equal: on a busy machine two pairs in a hundred would say otherwise of such noise.
LIMITS = "[defaults]\n" + "".join(
    f'{metric} = {{ worse = "900%" }}\n' for metric in ("ttft_s", "tpot_ms", "rct_s")
)
WHO = ("-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.fixture(scope="module")
def other_revision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of this engine with one more commit, which changes a docstring."""
    checkout = tmp_path_factory.mktemp("other") / "checkout"
    (checkout / "engine").mkdir(parents=True)
    for name in ("engine/dllama_engine", "pyproject.toml"):
        subprocess.run(["cp", "-r", str(ROOT / name), str(checkout / name)], check=True)
    version = checkout / "engine/dllama_engine/version.py"
    version.write_text(version.read_text() + "\n# another revision\n")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "another revision"]):
        subprocess.run(["git", "-C", str(checkout), *WHO, *words], check=True)
    return checkout


@pytest.fixture(scope="module")
def compared(boards, other_revision: Path, tmp_path_factory: pytest.TempPathFactory) -> RealRun:
    run = RealRun(tmp_path_factory.mktemp("pairs"))
    (run.folder / "limits.toml").write_text(LIMITS)
    run.start(
        [
            *(SUITES, "--models", "tiny", "--steps", "16", "--nodes", "2", "--pairs", "2"),
            *("--hosts", str(boards.file), "--baseline", f"git:{other_revision}@HEAD"),
            *("--order-seed", "3", "--history", "history", "-k", "output or rct"),
            *("--thresholds", "limits.toml"),
        ]
    )
    assert run.finish(PATIENCE_S) == 0, run.output
    return run


def test_both_revisions_run_next_to_each_other(boards, compared: RealRun) -> None:
    found = read_verdict(compared.report / "verdict.json")
    (cell,) = found.cells
    assert cell.status not in ("ERROR", "INVALID"), cell.reasons
    assert len(cell.sessions) == 4
    assert cell.same_tokens
    assert found.base_label.startswith("HEAD (")
    how = f"up to 2 pairs against {found.base_label} (looks at 2, order by seed 3)"
    assert how in compared.output
    environments = sorted(boards.folder.glob("env-*/ready.json"))
    assert len(environments) >= 2  # ours and the base's
    logs = {p.name.partition(".worker1")[0] for p in compared.report.rglob("*worker1.stdout.log")}
    assert {"tiny-2.pair1.base", "tiny-2.pair1.new", "tiny-2.pair2.base"} <= logs


def test_the_run_is_of_the_new_side_on_these_hosts(compared: RealRun) -> None:
    record = read_run(compared.report / "run.json")
    found = read_verdict(compared.report / "verdict.json")
    assert record.fingerprint == found.fingerprint
    assert [host.name for host in record.hosts] == ["pi1", "pi2"]
    assert all(host.watch and host.watch.n_samples for host in record.hosts)
    assert record.request.repeats == 2


def test_nothing_is_left_running(boards, compared: RealRun) -> None:
    assert compared.leftovers() == []
    for server in boards.servers:
        assert left_behind(server.folder) == []
    assert not any((boards.folder / "run").glob("*"))  # every session cleared its own away
