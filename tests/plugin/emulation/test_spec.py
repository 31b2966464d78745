"""What a link is, from words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_dllama.emulation.spec import PRESETS, LinkError, LinkSpec, parse_link


def test_a_preset_and_what_changes_it() -> None:
    assert parse_link("1gbe") == PRESETS["1gbe"]
    changed = parse_link("1gbe, latency=0.3ms, seed=7")
    expected = replace(PRESETS["1gbe"], latency_ns=300_000, seed=7, nodes_per_core=None)
    assert changed == expected  # certified is the preset, not what was made of it


def test_all_keys_and_units() -> None:
    text = "latency=200us,jitter=0.05ms,rate=1.5gbit,loss-stall=0.01%:200ms,switch=2gbit,seed=3"
    assert parse_link(text) == LinkSpec(200_000, 50_000, 1.5e9, 1e-4, 200_000_000, 2e9, 3)


@pytest.mark.parametrize("name", PRESETS)
def test_words_of_a_link_say_the_same_link(name: str) -> None:
    spec = PRESETS[name]
    assert parse_link(spec.in_words) == replace(spec, nodes_per_core=None)
    assert spec.nodes_per_core is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1gb", "there is no preset '1gb'; did you mean 1gbe?"),
        ("token-ring", "there is no preset 'token-ring'; there are 1gbe, 100mbe"),
        ("1gbe,letency=1ms", "there is no 'letency'; did you mean latency?"),
        ("latency", "latency needs a value, as in latency=0.2ms"),
        ("latency=1ms,1gbe", "the preset 1gbe comes first"),
        ("latency=1", "latency=1: write a number with its unit (us, ms, s), as 0.2ms"),
        ("latency=-1ms", "write a number with its unit"),
        ("latency=11s", "the longest is 10s"),
        ("rate=940", "write a number with its unit (kbit, mbit, gbit), as 940mbit"),
        ("rate=1kbit", "rates are from 10kbit to 100gbit"),
        ("latency=1ms,latency=2ms", "latency is given twice"),
        ("latency=1ms,jitter=2ms", "jitter 2ms is more than the latency of 1ms"),
        ("loss-stall=1%", "write the share of packets that are lost"),
        ("loss-stall=60%:1ms", "up to 50%"),
        ("seed=-1", "a seed is a whole number"),
        ("", "there is no preset ''"),
    ],
)
def test_what_cannot_be_is_refused_with_the_remedy(text: str, message: str) -> None:
    with pytest.raises(LinkError) as error:
        parse_link(text)
    assert message in str(error.value)
