"""`--link` in the suites: real processes, a real relay, and what the record says of it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from pytest_dllama.history.run_files import read_run
from tests.data import ROOT
from tests.plugin.real_runs import SMALL_MODEL, RealRun

pytestmark = pytest.mark.long

SUITE = [
    *(str(ROOT / "suites"), "--models", SMALL_MODEL, "--prompt", "hello", "--nodes", "3"),
    *("--warmup", "0", "--repeats", "1", "-k", "output or tpot"),
]
LATENCY_MS = 5


def test_tokens_take_what_the_links_do_and_everything_says_so(tmp_path: Path) -> None:
    run = RealRun(tmp_path, pages="md")
    file = tmp_path / "links.toml"
    file.write_text(
        f'link = "latency={LATENCY_MS}ms,rate=90mbit"\n[links]\n"1>2" = "latency=6ms"\n'
    )
    run.start([*SUITE, "--steps", "12", "--links", str(file)])
    run.finish()
    assert run.leftovers() == []
    record = read_run(run.report / "run.json")
    (cell,) = record.cells
    assert cell.output is not None, run.output
    assert cell.output.status in ("identical", "tie")
    # Two sums a layer, each of which waits for a message of every other node.
    n_layers = record.models[0].n_layers
    assert cell.metrics["tpot_ms"].value >= 2 * n_layers * LATENCY_MS * 0.95
    assert cell.links is not None
    links = {(link.source, link.target): link for link in cell.links.links}
    assert len(links) == 6
    assert links[1, 2].set_us == pytest.approx(6000, rel=0.01)
    assert links[2, 1].set_us == pytest.approx(LATENCY_MS * 1000, rel=0.01)
    assert all(link.median_us > 0.95 * link.set_us for link in links.values())
    assert cell.links.n_busy > 0
    # Of each token at least a message each way of each pair, in each of the sums.
    assert (cell.links.n_messages or 0) > 6 * 2 * n_layers * 5
    assert record.emulation is not None
    assert record.emulation.network.startswith("latency=5ms,rate=90mbit; 1>2:latency=6ms")
    assert record.fingerprint is not None
    assert record.fingerprint.startswith("local-emulated-")
    assert f"EMULATED links (links.toml (latency={LATENCY_MS}ms,rate=90mbit)" in run.output
    assert f"EMULATED links of {cell.id}: one-way delay" in run.output
    title = (run.report / "report.en.md").read_text().splitlines()[0]
    assert "EMULATED links: `links.toml" in title
    assert "EMULATED" in (run.report / "report.ko.md").read_text().splitlines()[0]
    assert cell.commands is not None
    workers = [word for word in cell.commands.root if word.startswith("127.0.0.1:")]
    ports = [worker[worker.index("--port") + 1] for worker in cell.commands.workers]
    assert {word.partition(":")[2] for word in workers}.isdisjoint(ports)


def test_a_relay_that_dies_makes_its_cell_an_error_that_says_so(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    often = ["--nodes", "3,2", "--steps", "40", "--retry-lost", "0"]
    run.start([*SUITE, *often, "--link", "latency=20ms"])
    run.wait_until(lambda: _speaks(run.report))
    (log,) = run.report.glob("logs/*/links.stdout.log")
    relay = json.loads(log.read_text().splitlines()[0])
    os.kill(relay["pid"], signal.SIGKILL)
    assert run.finish() == 1
    assert run.leftovers() == []
    cell, after = read_run(run.report / "run.json").cells
    assert cell.error is not None
    assert "the relay of the emulated links was killed by signal 9" in cell.error
    assert after.status == "ok"  # by a relay that was started anew
    assert after.links is not None


def _speaks(report: Path) -> bool:
    """Whether a root of three nodes is under way."""
    logs = [p for p in report.glob("logs/*/*-3*.root.stdout.log") if "oracle" not in p.name]
    return any(log.stat().st_size for log in logs)


def test_hosts_and_emulated_links_are_a_usage_error(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    run.start([*SUITE, "--link", "1gbe", "--hosts", "h.toml", "--collect-only"])
    assert run.finish() == 4
    assert "--link 1gbe and --hosts exclude each other" in run.output
