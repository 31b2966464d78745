"""What facts mean: each refusal and warning with its remedy."""

from __future__ import annotations

import dataclasses
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from pytest_dllama.hosts.agent.facts import facts
from pytest_dllama.hosts.base import HostError, ModelNeed
from pytest_dllama.hosts.fleet import cooling, fleet
from pytest_dllama.hosts.fleet.clock import ClockOffset, Exchange, offset_of
from pytest_dllama.hosts.fleet.link_probe import rounds
from pytest_dllama.hosts.fleet.preflight import Need, decode_throttled, findings
from pytest_dllama.hosts.fleet.provision import Wanted
from pytest_dllama.hosts.fleet.records import watched
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.packages.wheel import engine_wheel
from pytest_dllama.hosts.packages.wheelhouse import download_command
from pytest_dllama.models import engine_facts

GOOD = {
    "bits": 64,
    "machine": "aarch64",
    "available_bytes": 4 << 30,
    "disk_free_bytes": 20 << 30,
    "swap_used_bytes": 0,
    "governor": "performance",
    "throttled": 0,
    "temperature_c": 45.0,
    "load_1min": 0.1,
    "cores": 4,
    "links": [{"name": "eth0", "speed_mbps": 1000, "duplex": "full"}],
}

IN_STEP = ClockOffset(0.0, 0.001)


def test_a_good_board_gives_no_finding() -> None:
    assert findings(GOOD, Need(1 << 30, 1 << 30), IN_STEP) == []


@pytest.mark.parametrize(
    ("change", "level", "expected"),
    [
        ({"bits": 32, "machine": "armv7l"}, "refusal", "install the 64-bit Raspberry Pi OS"),
        ({"available_bytes": 1 << 29}, "refusal", "shard needs 1074 MB and 537 MB of memory"),
        ({"disk_free_bytes": 1 << 28}, "warning", "268 MB of disk are free"),
        ({"swap_used_bytes": 5_000_000}, "warning", "5 MB of swap are in use"),
        ({"governor": "ondemand"}, "warning", "the governor is 'ondemand'"),
        ({"throttled": 0x50000}, "warning", "under-voltage since boot, throttled since boot"),
        ({"temperature_c": 81.2}, "warning", "81 °C: a Pi slows down"),
        ({"load_1min": 2.0}, "warning", "load 2.00 on 4 cores"),
        (
            {"links": [{"name": "eth0", "speed_mbps": 100, "duplex": "half"}]},
            "warning",
            "eth0 runs at half duplex",
        ),
    ],
)
def test_findings(change, level, expected) -> None:
    found = findings({**GOOD, **change}, Need(1 << 30, 1 << 30), IN_STEP)
    assert found[0].level == level
    assert expected in found[0].text


def test_shards_of_one_machine_add_up() -> None:
    need = Need(2 << 30, 5 << 30, ("pi1", "pi2"))
    (found,) = findings(GOOD, need, IN_STEP)
    assert found.level == "refusal"
    assert found.text.startswith(
        "pi1, pi2 are one machine: their shards together need 5369 MB and 4295 MB of memory are"
    )


def test_what_an_earlier_session_left_is_told() -> None:
    (found,) = findings(GOOD, None, IN_STEP, ["kept-pi1/worker"])
    assert "kept-pi1/worker of an earlier session runs there" in found.text


def test_a_wrong_clock() -> None:
    (found,) = findings(GOOD, None, ClockOffset(-3600.0, 0.1))
    assert "its clock is -3600.0 s off" in found.text
    assert findings(GOOD, None, ClockOffset(1.5, 0.6)) == []  # it may be one of 0.9 s


def test_the_offset_has_a_bound_that_no_exchange_breaks() -> None:
    """Their clock is 3 s ahead; the ways there and back are as unlike as can be."""
    ways = [(0.5, 0.1), (0.02, 0.0), (0.0, 0.3)]
    exchanges = [Exchange(t, t + out + 3.0, t + out + back) for t, (out, back) in enumerate(ways)]
    found = offset_of(exchanges)
    assert found.error_s == pytest.approx(0.01)
    assert abs(found.offset_s - 3.0) <= found.error_s + 1e-9


def test_all_throttled_bits_have_words() -> None:
    assert len(decode_throttled(0xF000F)) == 8
    assert decode_throttled(0) == ()
    assert decode_throttled(None) is None


def test_this_machine_tells_its_facts(tmp_path) -> None:
    found = facts({"folder": str(tmp_path / "not/yet/there")})
    assert found["cores"] >= 1
    assert found["disk_free_bytes"] > 0
    findings(found, None, IN_STEP)


def test_flags_that_rose_while_watched() -> None:
    samples = [
        {"temperature_c": 60.0, "mhz": 2400.0, "throttled": 0x10000, "sample_ms": 1.0},
        {"temperature_c": 82.0, "mhz": 1500.0, "throttled": 0x50004, "sample_ms": 3.0},
    ]
    seen = watched(samples, 0x10000)
    assert seen
    assert seen.throttled == ("throttled now", "throttled since boot")
    assert (seen.max_temperature_c, seen.min_mhz, seen.sample_ms) == (82.0, 1500.0, 2.0)
    assert watched([], 0) is None


def test_flags_that_nobody_can_read_are_not_none_at_all() -> None:
    sample = {"temperature_c": 60.0, "mhz": 2400.0, "throttled": None, "sample_ms": 1.0}
    seen = watched([sample], None)
    assert seen
    assert seen.throttled is None
    well = watched([sample | {"throttled": 0}], None)
    assert well
    assert well.throttled == ()


@pytest.mark.parametrize("n", [2, 3, 4, 7, 8])
def test_every_pair_meets_once_and_nobody_twice_a_round(n: int) -> None:
    hosts = [f"pi{i}" for i in range(n)]
    found = rounds(hosts)
    pairs = [pair for one in found for pair in one]
    assert len(set(pairs)) == len(pairs) == n * (n - 1) // 2
    for one in found:
        names = [name for pair in one for name in pair]
        assert len(names) == len(set(names))


def test_the_wheel_is_the_same_for_the_same_sources() -> None:
    wheel = engine_wheel()
    engine_wheel.cache_clear()
    assert engine_wheel() == wheel
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_wheelhouse_is_for_a_platform(tmp_path) -> None:
    command = download_command("aarch64", "3.11", tmp_path)
    assert "manylinux2014_aarch64" in command
    assert "--only-binary=:all:" in command
    assert any(word.startswith("numba") for word in command)


class _Spoken:
    """What a session tells."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def stage(self, text: str) -> None:
        self.texts.append(text)

    detail = settle = stage

    def bar(self, done: float, total: float) -> None:
        raise AssertionError

    def running(self) -> AbstractContextManager[None]:
        raise AssertionError


def test_a_warm_board_is_waited_for(monkeypatch) -> None:
    degrees = iter([72.0, 66.0, 59.0])

    class Board:
        """Cools down a little at every look."""

        name = "pi1"

        @property
        def agent(self) -> Board:
            return self

        def ask(self, what: str) -> dict[str, float]:
            assert what == "sample"
            return {"temperature_c": next(degrees)}

    monkeypatch.setattr(cooling, "POLL_S", 0.0)
    inventory = Inventory(file=Path("hosts.toml"), hosts=())
    hosts = fleet.RemoteHosts(inventory, Wanted())
    hosts.hosts = (Board(),)  # type: ignore[assignment]
    spoken = _Spoken()
    hosts.cool_down(60.0, spoken)
    assert spoken.texts == [
        "cooling down to 60 °C: pi1 72 °C",
        "cooling down to 60 °C: pi1 66 °C",
    ]


def test_a_machine_that_cannot_hold_all_its_ranks_is_refused_before_anything_is_sent(
    make_sshd, inventory_of, monkeypatch
) -> None:
    servers = [make_sshd(), make_sshd()]
    hosts = fleet.RemoteHosts(inventory_of(servers, provision=True), Wanted())
    base = engine_facts.shape_config("llama-13b")
    available = facts({"folder": "/"})["available_bytes"]
    together = sum(engine_facts.shard_bytes(base, 2, "q80", "reduce"))
    n_layers = round(base.n_layers * 1.4 * available / together)  # fits alone, not twice
    config = dataclasses.replace(base, n_layers=n_layers)
    monkeypatch.setattr(engine_facts, "file_config", lambda file: config)
    with pytest.raises(HostError, match=r"pi1: refusal: pi1, pi2 are one machine: .* together"):
        hosts.prepare(2, 2, [Path("model.m")], _Spoken())
    assert hosts.close() == []
    for server in servers:
        assert [path.name for path in (server.folder / "work").iterdir()] == ["agent"]


def test_the_cache_of_the_cells_decides_before_a_model_is_written(make_sshd, inventory_of) -> None:
    """Llama 3.1-8B on two hosts: 131072 positions do not fit, those of a request do."""
    servers = [make_sshd(), make_sshd()]
    hosts = fleet.RemoteHosts(inventory_of(servers, provision=True), Wanted())
    config = dataclasses.replace(engine_facts.shape_config("llama3.1-8b"), n_layers=2)
    available = facts({"folder": "/"})["available_bytes"]
    small = sum(engine_facts.shard_bytes(config, 2, "q80", "reduce", 64))
    assert small < available
    config = dataclasses.replace(config, seq_len=config.seq_len * (available // small + 1) * 8)
    hosts.check(2, 2, [ModelNeed(config, 64, "f32")], _Spoken())
    assert hosts.close() == []
    hosts = fleet.RemoteHosts(inventory_of(servers, provision=True), Wanted())
    with pytest.raises(HostError, match=r"pi1: refusal: pi1, pi2 are one machine: .* together"):
        hosts.check(2, 2, [ModelNeed(config, config.seq_len, "f32")], _Spoken())
    assert hosts.close() == []
    for server in servers:
        assert [path.name for path in (server.folder / "work").iterdir()] == ["agent"]
