"""Which link is between which nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_dllama.config.links import topology_of
from pytest_dllama.config.values import ConfigError
from pytest_dllama.emulation.certified import too_crowded
from pytest_dllama.emulation.spec import PRESETS, LinkError
from pytest_dllama.emulation.topology import load_topology, uniform

FILE = """
link = "1gbe"
switch = "2gbit"
seed = 7
[ports]
3 = "94mbit"
[links]
"0-3" = "wifi5"
"2>1" = "latency=1ms,rate=50mbit"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "links.toml"
    path.write_text(FILE)
    return path


def test_a_file_names_ways_ports_and_the_switch(file: Path) -> None:
    found = load_topology(file)
    assert found.way(0, 1) == found.link == PRESETS["1gbe"]
    assert found.way(0, 3) == found.way(3, 0) == PRESETS["wifi5"]
    assert found.way(2, 1).latency_ns == 1_000_000
    assert found.way(1, 2) == PRESETS["1gbe"]
    assert found.port_bps(3) == 94e6
    assert found.port_bps(0) == 940e6
    assert found.expected_bps(1, 3) == 94e6  # the narrowest on the way
    assert found.expected_bps(2, 1) == 50e6
    assert (found.seed, found.switch_bps) == (7, 2e9)
    assert load_topology(file, "100mbe").link == PRESETS["100mbe"]  # --link beside it


def test_the_relay_is_told_in_ns_and_picoseconds(file: Path) -> None:
    found = json.loads(load_topology(file).network_text(4))
    assert found["switch_ps"] == 4000  # 2 Gbit/s: 4 ns a byte
    assert found["nodes"][3] == [85106, 85106]
    links = {(a, b): rest for a, b, *rest in found["links"]}
    assert len(links) == 12
    assert links[2, 1] == [1_000_000, 0, 160_000, 0, 0, 70_000]
    assert links[0, 3][3:5] == [round(1e-4 * 2**31), 30_000_000]


def test_words_tell_networks_apart(file: Path) -> None:
    first = load_topology(file).in_words
    assert first == load_topology(file).in_words
    file.write_text(FILE.replace("94mbit", "95mbit"))
    assert load_topology(file).in_words != first
    assert uniform("1gbe").in_words == "latency=0.1ms,jitter=0.01ms,rate=940mbit"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('lnik = "1gbe"', "there is no 'lnik'; did you mean link?"),
        ("seed = 1", 'link is missing; write link = "1gbe"'),
        ('link = "1gbe"\nseed = "x"', "seed = 'x' is no whole number"),
        ('link = "1gbe"\nlinks = 3', "links is no table"),
        ('link = "1gbe"\n[links]\n"0:3" = "wifi5"', "names no pair"),
        ('link = "1gbe"\n[links]\n"1-1" = "wifi5"', "names no pair"),
        ('link = "1gbe"\n[links]\n"0-1" = "wifi5"\n"1>0" = "wifi4"', "1>0 is named twice"),
        ('link = "1gbe"\n[links]\n"0-99" = "wifi5"', "'99' is no node"),
        ('link = "1gbe"\n[ports]\n1 = 94', "ports.1 = 94 is no text"),
        ("link = ", "cannot be read"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "links.toml"
    path.write_text(text)
    with pytest.raises(LinkError, match=r"--links .*links\.toml") as error:
        load_topology(path)
    assert message in str(error.value)


def test_more_nodes_than_certified_are_told_beforehand() -> None:
    assert too_crowded(None, 8, 2) is None
    assert too_crowded(uniform("latency=1ms"), 64, 1) is None  # nobody certified that
    assert too_crowded(uniform("wifi4"), 8, 2) is None
    found = too_crowded(uniform("wifi4"), 9, 2)
    assert found is not None
    assert "certified for 4 nodes a core: 8 nodes on 2 cores" in found
    assert "cells come out INVALID; fewer --nodes" in found


def test_hosts_have_links_of_their_own() -> None:
    assert topology_of("", None, has_hosts=True) is None
    with pytest.raises(ConfigError, match="--link 1gbe and --hosts exclude each other"):
        topology_of("1gbe", None, has_hosts=True)
    with pytest.raises(ConfigError, match="--link '1gb': there is no preset"):
        topology_of("1gb", None, has_hosts=False)
