"""The whole road on boards behind SSH: check, suites on 2 and 4 nodes, leftovers, cleaning."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys

import pytest

from pytest_dllama.history.run_files import read_run
from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.fleet.fleet import RemoteHosts
from pytest_dllama.hosts.fleet.provision import Wanted
from pytest_dllama.hosts.inventory import load_inventory
from pytest_dllama.record.run import RunRecord
from tests.data import ROOT
from tests.hosts import sshd
from tests.plugin.real_runs import RealRun

pytestmark = pytest.mark.long

SUITES = str(ROOT / "suites")
SMALL = ("--models", "tiny", "--steps", "24", "--warmup", "0", "--repeats", "1")


@pytest.fixture(scope="module")
def suites(boards, tmp_path_factory) -> RealRun:
    run = RealRun(tmp_path_factory.mktemp("suites"), "md")
    run.start([SUITES, *SMALL, "--nodes", "2,4", "--hosts", str(boards.file)])
    assert run.finish() == 0, run.output
    return run


@pytest.fixture(scope="module")
def record(suites: RealRun) -> RunRecord:
    return read_run(suites.report / "run.json")


def test_the_first_check_makes_everything_ready(boards) -> None:
    done = boards.first_check
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ("connect", "facts", "upload", "venv", "install", "kernels"):
        assert f"pi1: {step}: ok" in done.stdout


def test_the_second_check_finds_everything_in_place(boards) -> None:
    before = sorted(boards.folder.glob("env-*/ready.json"))
    stamps = [file.stat().st_mtime_ns for file in before]
    done = boards.command("hosts", "check")
    assert done.returncode == 0, done.stdout + done.stderr
    for title in ("memory available", "its shard needs", "throttled", "round trip"):
        assert title in done.stdout
    assert "upload" not in done.stdout
    assert "install" not in done.stdout
    assert [file.stat().st_mtime_ns for file in before] == stamps
    assert len(before) == 1


def test_nothing_is_written_outside_the_working_folder(boards, suites) -> None:
    for server in boards.servers:
        assert list(server.home.rglob("*")) == []


def test_every_cell_passes(record: RunRecord) -> None:
    assert [(cell.nodes, cell.verdict and cell.verdict.status) for cell in record.cells] == [
        (2, "PASS"),
        (4, "PASS"),
    ]
    assert record.request.host_kind == "ssh"


def test_hosts_are_recorded_in_rank_order(boards, record: RunRecord) -> None:
    assert [(host.rank, host.name) for host in record.hosts] == [
        (rank, f"pi{rank + 1}") for rank in range(4)
    ]
    for host, server in zip(record.hosts, boards.servers, strict=True):
        assert host.address == server.address
        assert host.bits == 64
        assert host.needed_bytes
        assert host.versions["numpy"]
        assert "numba" not in host.versions  # its kernels came compiled
        assert host.watch
        assert host.watch.n_samples >= 1
        assert host.shares_with == ("pi1", "pi2", "pi3", "pi4")


def test_the_reports_tell_of_the_hosts(suites: RealRun) -> None:
    english = (suites.report / "report.en.md").read_text(encoding="utf-8")
    korean = (suites.report / "report.ko.md").read_text(encoding="utf-8")
    assert "pi1, pi2, pi3 and pi4 are one machine: its cores and its memory were shared" in english
    assert "pi1, pi2, pi3, pi4는 같은 기기여서" in korean
    for text, title in ((english, "Hosts"), (korean, "호스트")):
        hosts = text.partition(f"<summary>{title}</summary>")[2].partition("</details>")[0]
        assert hosts.count("| pi4 ") + hosts.count("pi4 |") >= 3
    assert "ways: round trip" in suites.output
    assert "host pi4: " in suites.output


def test_the_ways_between_all_pairs_are_measured(record: RunRecord) -> None:
    assert {(pair.source, pair.target) for pair in record.pairs} == {
        (f"pi{a}", f"pi{b}") for a in range(1, 5) for b in range(a + 1, 5)
    }
    for pair in record.pairs:
        assert pair.error is None
        assert pair.rtt_ms
        assert pair.bandwidth_mbps


def test_the_root_talks_to_the_boards_addresses(boards, record: RunRecord, network) -> None:
    commands = record.cells[1].commands
    assert commands
    workers = commands.root[commands.root.index("--workers") + 1 :][:3]
    addresses = [worker.rpartition(":")[0] for worker in workers]
    assert addresses == [server.address for server in boards.servers[1:]]
    if network:
        assert len(set(addresses)) == 3


def test_benchmarks_are_kept_by_the_hosts_and_compared_with_theirs(boards, tmp_path) -> None:
    command = [SUITES, *SMALL, "--nodes", "2", "--hosts", str(boards.file)]
    command += ["--rootdir", str(tmp_path), "-k", "latency or output", "-W", "error"]
    first = RealRun(tmp_path)
    first.start([*command, "--benchmark-save", "one"])
    assert first.finish() == 0, first.output
    (saved,) = tmp_path.glob(".benchmarks/*/*/0001_one.json")
    run = read_run(first.report / "run.json")
    assert saved.parent.parent.name == run.fingerprint
    assert run.fingerprint
    assert run.fingerprint.startswith(f"ssh-2h-{2 * run.hosts[0].cores}x-")
    machine = json.loads(saved.read_text())["machine_info"]
    assert [host["kernel"] for host in machine["hosts"]] == [run.hosts[0].kernel] * 2
    again = RealRun(tmp_path)
    again.start([*command, "--benchmark-compare"])
    assert again.finish() == 0, again.output
    assert "(0001_one)" in again.output
    assert "Can't compare" not in again.output


def test_logs_are_here(suites: RealRun) -> None:
    logs = [path.name for path in suites.report.glob("logs/*/*")]
    assert "tiny-4.repeat1.root.stdout.log" in logs
    assert {f"worker{n}.stdout.log" for n in (1, 2, 3)} <= set(logs)


def test_no_process_and_no_run_folder_is_left(boards, suites) -> None:
    assert sshd.left_behind(boards.folder) == []
    assert not (boards.folder / "run").exists()


def test_facts_as_json(boards) -> None:
    done = boards.command("hosts", "facts", "--json", "--hosts-only", "pi2,pi3")
    assert done.returncode == 0, done.stderr
    assert [host["name"] for host in json.loads(done.stdout)] == ["pi2", "pi3"]


def test_a_command_on_every_host(boards) -> None:
    done = boards.command("hosts", "run", "--hosts-only", "pi1,pi2", "--", "echo hello; exit 3")
    assert done.stdout.splitlines() == [
        *("== pi1: exit code 3", "hello", "== pi2: exit code 3", "hello"),
    ]
    assert done.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(boards, tmp_path, number: signal.Signals) -> None:
    run = RealRun(tmp_path)
    run.start([SUITES, *SMALL, "--nodes", "2", "--steps", "200", "--hosts", str(boards.file)])
    run.wait_until(
        lambda: any("dllama_engine.cli" in line for line in sshd.leftovers(boards.folder))
    )
    assert run.process
    run.process.send_signal(number)
    assert run.finish() == pytest.ExitCode.INTERRUPTED, run.output
    assert sshd.left_behind(boards.folder) == []


def test_a_killed_controller_leaves_what_clean_finds(boards, tmp_path) -> None:
    run = RealRun(tmp_path)
    run.start([SUITES, *SMALL, "--nodes", "2", "--repeats", "99", "--hosts", str(boards.file)])
    run.wait_until(
        lambda: any("dllama_engine.cli worker" in line for line in sshd.leftovers(boards.folder))
    )
    run.kill_everything()
    done = boards.command("hosts", "clean", "--hosts-only", "pi2")
    assert re.search(r"pi2: \w+-pi2/worker1: process \d+ stopped", done.stdout), done.stdout
    assert sshd.left_behind(boards.folder) == []
    again = boards.command("hosts", "clean")
    assert [line.partition(": ")[2] for line in again.stdout.splitlines()] == [
        "nothing is left"
    ] * 4


def test_the_memory_of_a_board_is_measured_by_its_engine(boards) -> None:
    hosts = RemoteHosts(load_inventory(boards.file), Wanted())
    hosts.choose(3, [])
    assert hosts.gather_facts() == {}
    assert hosts.provision(hosts.hosts, lambda host, step, state: None) == {}
    (site,) = hosts.memory_sites(3, 1)
    assert (site.hosts, site.ranks) == (("pi1", "pi2", "pi3"), (0, 1, 2))
    rates = site.probe([1, site.cores]).bytes_per_s
    assert sorted(rates) == sorted({1, site.cores})
    assert all(1e8 < rate < 1e12 for rate in rates.values())
    assert hosts.close() == []


def test_a_host_without_our_engine_has_no_roofline(make_sshd, inventory_of, tmp_path) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    hosts = RemoteHosts(inventory_of([make_sshd()], python=str(bare / "bin/python")), Wanted())
    hosts.choose(1, [])
    assert hosts.gather_facts() == {}
    (site,) = hosts.memory_sites(1, 1)
    with pytest.raises(HostError, match=r"its memory cannot be measured: .*No module named"):
        site.probe([1])
    assert hosts.close() == []
