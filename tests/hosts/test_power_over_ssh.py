"""The meter of a machine behind SSH, read by its agent until somebody closes it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pytest_dllama.hosts.fleet.fleet import RemoteHosts
from pytest_dllama.hosts.fleet.provision import Wanted
from pytest_dllama.hosts.power import PowerLog
from tests.hosts import sshd
from tests.hosts.board import Board
from tests.plugin.hosts.rails import RAILS, WATTS


@pytest.fixture
def server(make_sshd, tmp_path: Path) -> sshd.Sshd:
    board = Board(tmp_path / "board")
    board.write("rails", RAILS)
    board.vcgencmd(f"cat {board.root}/rails")
    made: sshd.Sshd = make_sshd(PATH=f"{board.bin}:/usr/local/bin:/usr/bin:/bin")
    return made


def test_the_rails_of_a_board_are_read_over_ssh(server: sshd.Sshd, inventory_of) -> None:
    hosts = RemoteHosts(inventory_of([server]), Wanted())
    hosts.choose(1, [])
    assert hosts.gather_facts() == {}
    (site,) = hosts.power_sites(1)
    assert (site.hosts, site.ranks) == (("pi1",), (0,))
    assert abs(site.clock_offset_s) < 60.0  # it is this very machine
    log = PowerLog(site)
    found = log.record()
    assert (found.source, found.detail, found.why_not) == ("pmic", "12 rails", None)
    until_s = time.monotonic() + 180
    while len(log.curve().times_s) < 3:
        assert time.monotonic() < until_s
        time.sleep(0.05)
    curve = log.curve()
    seconds = curve.times_s[-1] - curve.times_s[0]
    assert curve.joules[-1] / seconds == pytest.approx(WATTS, abs=1e-3)
    log.close()
    assert hosts.close() == []
    assert sshd.left_behind(server.folder) == []


def test_names_of_one_machine_are_read_once(make_sshd, inventory_of) -> None:
    """Both servers are this machine, as the root is where the file has none."""
    inventory = inventory_of([make_sshd(), make_sshd()])
    hosts = RemoteHosts(inventory, Wanted())
    hosts.choose(2, [])
    assert hosts.gather_facts() == {}
    (site,) = hosts.power_sites(2)
    assert (site.hosts, site.ranks) == (("pi1", "pi2"), (0, 1))
    (site,) = hosts.power_sites(1)
    assert site.ranks == (0,)
    assert hosts.close() == []
    workers = [host.model_copy(update={"role": "worker"}) for host in inventory.hosts]
    hosts = RemoteHosts(inventory.model_copy(update={"hosts": tuple(workers)}), Wanted())
    hosts.choose(3, [])
    assert hosts.gather_facts() == {}
    (site,) = hosts.power_sites(3)
    assert (site.hosts, site.ranks) == (("this machine",), (0, 1, 2))
    assert hosts.close() == []
