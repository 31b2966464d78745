"""What a second engine beside the first needs on hosts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.fleet.preflight import Need, _memory
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.lab.checks import cell_keys
from pytest_dllama.lab.machines.choice import apart, hosts_of_sides
from pytest_dllama.lab.progress import Silent
from pytest_dllama.lab.session.making import make_lab
from pytest_dllama.verdict.limits.thresholds import Thresholds
from tests.hosts.sshd import Sshd
from tests.plugin.backends.stand_in_program import write_program
from tests.plugin.lab.pairs.stated_times import config


def test_the_second_engine_has_ports_of_its_own(
    pis: list[Sshd], inventory_of: Callable[..., Inventory]
) -> None:
    fixed = inventory_of(pis[:2], listen_port=9998, binary="/opt/dllama")
    beside = apart(fixed, needs_ports=False)
    assert [host.listen_port for host in beside.hosts] == [10098, 10098]
    assert [host.binary for host in beside.hosts] == [None, None]
    same = apart(fixed, needs_ports=False, keeps_programs=True)  # as for --baseline self
    assert [host.binary for host in same.hosts] == ["/opt/dllama", "/opt/dllama"]
    free = inventory_of(pis[:2])
    assert [host.listen_port for host in apart(free, needs_ports=False).hosts] == [0, 0]
    assert [host.listen_port for host in apart(free, needs_ports=True).hosts] == [10099, 10099]
    high = inventory_of(pis[:1], listen_port=65500)
    assert apart(high, needs_ports=False).hosts[0].listen_port == 65400


def test_kept_workers_are_refused(tmp_path: Path) -> None:
    kept = replace(config(tmp_path), keep_workers=True)
    with pytest.raises(ConfigError, match="every pair has fresh workers on both sides"):
        hosts_of_sides(kept, kept, 2, None)


def test_memory_is_checked_for_both() -> None:
    one = Need(100_000_000, 100_000_000)
    assert list(_memory(150_000_000, one)) == []
    both = replace(one, own_bytes=200_000_000, machine_bytes=200_000_000, sides=2)
    (finding,) = _memory(150_000_000, both)
    assert finding.text.startswith("its shards of both versions need 200 MB and 150 MB of memory")
    shared = replace(both, sharing=("pi1", "pi2"))
    (finding,) = _memory(150_000_000, shared)
    assert "pi1, pi2 are one machine: their shards of both versions together need" in finding.text


@pytest.mark.parametrize("baseline", ["", "dllama:{base}"])
def test_a_program_that_a_host_lacks_is_a_usage_error(
    baseline: str, pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    """Of either side, before anything is sent there."""
    here, nowhere = write_program(tmp_path / "dllama"), tmp_path / "nope"
    options = {
        "engine": "dllama",
        "nodes": "2",
        "models": "tiny",
        "hosts": str(inventory_of(pis[:2]).file),
        "history": "off",
        "baseline": baseline.format(base=nowhere),
        "dllama-bin": str(here if "{base}" in baseline else nowhere),
    }
    if not baseline:
        del options["baseline"]
    asked = LabConfig.of_texts(options, tmp_path)
    with pytest.raises(ConfigError) as error:
        make_lab(asked, cell_keys(asked), Thresholds(), Silent())
    option = f"--baseline dllama:{nowhere}" if "{base}" in baseline else f"--dllama-bin {nowhere}"
    lacking = f"pi1 has no program {nowhere}; pi2 has no program {nowhere}"
    assert str(error.value).startswith(f"{option}: {lacking}, or it is not executable; give the ")


def test_a_program_of_the_hosts_file_is_looked_for_in_its_place(
    pis: list[Sshd], inventory_of: Callable[..., Inventory], tmp_path: Path
) -> None:
    own = write_program(tmp_path / "dllama-of-this-host")
    hosts = hosts_of_sides(
        *[replace(config(tmp_path), hosts_file=inventory_of(pis[:1], binary=str(own)).file,
                  dllama_bin="/nowhere", engine="dllama")] * 2, 1, None,
    )  # fmt: skip
    assert [side.missing_programs(1) for side in hosts] == [{}, {}]
    own.chmod(0o644)
    assert [side.missing_programs(1) for side in hosts] == [{"pi1": str(own)}] * 2
    for side in hosts:
        assert side.close() == []
