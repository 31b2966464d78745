"""Emulated links that were not kept: the figures of their cell are not believed."""

from __future__ import annotations

import pytest

from pytest_dllama.emulation.topology import uniform
from pytest_dllama.hosts.links.accuracy import cell_links, set_us
from pytest_dllama.hosts.links.prober import ProbeSamples, rate_of
from pytest_dllama.validity.links import link_faults

LINK = uniform("latency=0.2ms,rate=100mbit")  # 64 bytes take 5.12 us


def _samples(
    delay_us: float = 205.0, mbps: float = 100.0, busy_us: float = 205.0, n_busy: int = 40
) -> ProbeSamples:
    ways = ((0, 1), (1, 0))
    return ProbeSamples(
        calm_ns={way: [round(delay_us * 1e3)] * 10 for way in ways},
        busy_ns=[(ways[i % 2], round(busy_us * 1e3)) for i in range(n_busy)],
        rates_bps={(0, 1): [mbps * 1e6]},
    )


def test_a_probe_should_take_the_latency_and_its_bytes() -> None:
    assert set_us(LINK, (0, 1)) == pytest.approx(205.12)
    assert set_us(uniform("latency=1ms"), (0, 1)) == 1000.0


def test_links_that_were_kept_are_no_fault() -> None:
    found = cell_links(LINK, 2, [_samples(), _samples(206.0)])
    assert found is not None
    assert link_faults(found) == []
    there, back = found.links
    assert (there.source, there.target, there.n) == (0, 1, 20)
    assert (there.median_us, there.p99_us) == (205.5, 206.0)
    assert (there.set_mbps, there.mbps) == (100.0, 100.0)
    assert back.mbps is None  # not measured
    assert found.n_busy == 80
    assert found.busy_median_error_us == pytest.approx(-0.12)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (_samples(delay_us=240), "0 to 1 took 240 us (the median of 10 probes), set are 205 us"),
        (_samples(delay_us=170), "0 to 1 took 170 us"),
        (_samples(mbps=97), "0 to 1 carried 97.0 Mbit/s, set are 100.0; 2% off are allowed"),
        (_samples(busy_us=300), "while requests ran, probes were off by +95 us (the median of 40"),
    ],
)
def test_links_that_were_not_kept_are_told(samples: ProbeSamples, message: str) -> None:
    faults = link_faults(cell_links(LINK, 2, [samples]))
    assert {fault.kind for fault in faults} == {"link"}
    assert any(message in fault.text for fault in faults), faults


def test_the_limits_are_five_percent_and_twenty_us_and_two_percent() -> None:
    assert link_faults(cell_links(LINK, 2, [_samples(delay_us=205.12 + 30.2)])) == []
    assert link_faults(cell_links(LINK, 2, [_samples(delay_us=205.12 + 30.4)])) != []
    assert link_faults(cell_links(LINK, 2, [_samples(mbps=98.1)])) == []


def test_messages_themselves_must_not_be_late() -> None:
    samples = _samples()
    samples.messages, samples.late = 1000, 500
    found = cell_links(LINK, 2, [samples, _samples()])
    assert found is not None
    assert (found.n_messages, found.n_late) == (1000, 500)
    assert link_faults(found) == []  # the median was in time
    samples.late = 501
    (fault,) = link_faults(cell_links(LINK, 2, [samples]))
    assert fault.text.startswith("link: 501 of 1000 messages of the cell came later than allowed")


def test_few_probes_during_requests_say_nothing() -> None:
    found = cell_links(LINK, 2, [_samples(busy_us=900, n_busy=4)])
    assert found is not None
    assert found.busy_median_error_us is None
    assert link_faults(found) == []
    assert cell_links(LINK, 2, []) is None
    assert link_faults(None) == []


def test_a_rate_does_not_mind_what_comes_late() -> None:
    """16 KiB each 1.394 ms are 94 Mbit/s; four of them waited for the processor."""
    marks = [(16384 * i, round(1_394_383 * i)) for i in range(1, 41)]
    assert rate_of(marks) == pytest.approx(94e6, rel=1e-4)
    late = [
        (n, max(ns, marks[13][1])) if 9 <= i < 13 else (n, ns) for i, (n, ns) in enumerate(marks)
    ]
    assert late != marks
    assert rate_of(late) == pytest.approx(94e6, rel=1e-4)
    assert rate_of([(n, 2 * ns) for n, ns in marks]) == pytest.approx(47e6, rel=1e-4)
    assert rate_of([(65536, 5)]) == 0.0
