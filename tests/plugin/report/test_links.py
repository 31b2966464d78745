"""Links that retransmit, are full or lose packets: when it is said, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dllama.record.cell import RankRecord, Sample
from pytest_dllama.record.emulation import CellLinks, LinkAccuracy
from pytest_dllama.record.hosts import HostRecord, NicRecord, PairRecord
from pytest_dllama.record.links import LinkTimes, NicTraffic, TcpLink
from pytest_dllama.record.run import RunRecord
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.language import load_words, templates_folder
from pytest_dllama.report.pages.markdown import render
from pytest_dllama.report.rules.resources import about_links_of_cells
from pytest_dllama.report.sentences.links import InterfaceErrors, LinkRetransmits, LinkSaturated
from pytest_dllama.report.tables.cells import link_times_table
from tests.plugin.report.report_runs import cell, network, run

HOST: dict[str, Any] = {
    "board": None, "kernel": "6.6", "machine": "aarch64", "bits": 64, "cores": 4,
    "memory_bytes": None, "available_bytes": None, "swap_bytes": None, "swap_used_bytes": None,
    "disk_free_bytes": 1, "governor": None, "max_mhz": None, "mhz": None, "temperature_c": None,
    "load_1min": 0.1, "clock_offset_ms": None,
}  # fmt: skip


SAMPLE = Sample(
    n_input_tokens=4, n_output_tokens=2, ttft_s=0.5, tpot_ms=9.0, rct_s=1.0, tokens_per_s=2.0,
    prefill_tokens=3, prefill_s=0.4, decode_tokens=2, decode_s=0.5,
)  # fmt: skip
REPEATS = 3


def rank(number: int, sync_s: float = 0.9) -> RankRecord:
    return RankRecord(
        rank=number, role="worker" if number else "root", address=f"pi{number}",
        hostname=f"pi{number}", peak_rss_bytes=None, peak_pss_bytes=None, weight_bytes=None,
        kv_cache_bytes=None, compute_s=0.2, sync_s=sync_s,
    )  # fmt: skip


def tcp(again: int, segments: int, **fields: Any) -> TcpLink:
    known: dict[str, Any] = {
        "rank": 2, "peer": 0, "interface": "wlan0", "rtt_ms": 2.1, "rttvar_ms": 0.4,
        "min_rtt_ms": 1.2, "delivery_mbps": 61.0,
    }  # fmt: skip
    return TcpLink(**{**known, **fields}, retransmits=again, segments=segments)


def nic(sent: int, *, errors: int = 0, name: str = "eth0", number: int = 1) -> NicTraffic:
    return NicTraffic(
        rank=number, name=name, sent_bytes=2 * sent, recv_bytes=sent, sent_errors=0,
        recv_errors=errors, own_sent_bytes=sent, own_recv_bytes=sent // 2,
    )  # fmt: skip


def measured(
    *, links: tuple[TcpLink, ...] = (), nics: tuple[NicTraffic, ...] = (), wireless: bool = True
) -> RunRecord:
    """A cell on three hosts; rank 1 is 0.8 s in exchanges, links carry 94 Mbit/s."""
    made = cell(
        "tiny",
        3,
        network=network(tcp=links, nics=nics),
        ranks=(rank(0), rank(1, sync_s=0.8), rank(2)),
        samples=(SAMPLE,) * REPEATS,
    )
    hosts = tuple(
        HostRecord(
            name=f"pi{n}",
            rank=n,
            address=f"pi{n}",
            nics=(NicRecord(name="wlan0", speed_mbps=None, duplex=None, wireless=wireless),),
            **HOST,
        )
        for n in range(3)
    )
    pairs = (PairRecord(source="pi0", target="pi1", rtt_ms=0.2, bandwidth_mbps=94.0),)
    return run([made]).model_copy(update={"hosts": hosts, "pairs": pairs})


@pytest.mark.parametrize(
    ("again", "segments", "said"),
    [(3, 3000, True), (2, 100, False), (3, 3001, False), (0, 0, False)],
)
def test_retransmits_are_told_from_three_of_three_thousand_on(
    again: int, segments: int, said: bool
) -> None:
    found = about_links_of_cells(RunView.of(measured(links=(tcp(again, segments),))))
    assert bool(found) is said


def test_loopback_loses_nothing() -> None:
    view = RunView.of(measured(links=(tcp(80, 1000, interface="lo"),)))
    assert about_links_of_cells(view) == []


def test_the_one_that_retransmits_is_named_with_its_interface() -> None:
    view = RunView.of(measured(links=(tcp(8, 1000), tcp(0, 900, rank=0, peer=2))))
    (found,) = about_links_of_cells(view)
    assert found == LinkRetransmits("tiny-3", 2, 0, "wlan0", True, 0.008, 8, 1000)


@pytest.mark.parametrize(("sent", "said"), [(6_600_000, True), (6_500_000, False)])
def test_a_full_link_is_told_by_its_bytes_at_the_measured_rate(sent: int, said: bool) -> None:
    found = about_links_of_cells(RunView.of(measured(nics=(nic(sent * REPEATS),))))
    assert [type(one) for one in found] == ([LinkSaturated] if said else [])
    if said:
        (full,) = found
        assert isinstance(full, LinkSaturated)
        assert (full.rank, full.mbps, full.exchange_s) == (1, 94.0, 0.8)
        assert full.share == pytest.approx(sent * 8 / 94e6 / 0.8)


def test_loopback_is_no_link_that_can_be_full() -> None:
    found = about_links_of_cells(RunView.of(measured(nics=(nic(10**9, name="lo"),))))
    assert found == []


def test_an_emulated_link_can_be_full_though_it_is_loopback() -> None:
    accuracy = LinkAccuracy(
        source=0, target=1, set_us=200, n=9, median_us=201, p99_us=230, set_mbps=94.0, mbps=93.5
    )
    record = measured(nics=(nic(6_600_000 * REPEATS, name="lo"),))
    links = CellLinks(links=(accuracy,), n_busy=0)
    emulated = record.cells[0].model_copy(update={"links": links})
    (full,) = about_links_of_cells(RunView.of(record.model_copy(update={"cells": (emulated,)})))
    assert isinstance(full, LinkSaturated)
    assert (full.rank, full.mbps) == (1, 93.5)


def test_an_interface_that_loses_packets_is_told() -> None:
    found = about_links_of_cells(RunView.of(measured(nics=(nic(0, errors=12, number=2),))))
    assert found == [InterfaceErrors("tiny-3", 2, "eth0", 12)]


WORDS = {
    "en": (
        "tiny-3: rank 2's link to rank 0 (wlan0, Wi-Fi) retransmits 0.8% of its segments "
        "(8 of 1,000); each can hold all ranks up for 200 ms or more: use a cable",
        "tiny-3: rank 1's link is full:",
        "tiny-3: eth0 of rank 2 damaged or dropped 12 packets",
    ),
    "ko": (
        "tiny-3: 랭크 2에서 랭크 0으로 가는 링크 (wlan0, Wi-Fi)의 세그먼트 재전송률 0.8% "
        "(1,000개 중 8개). 한 번마다 모든 랭크가 200 ms 이상 멈출 수 있음: 유선으로 연결할 것",
        "tiny-3: 랭크 1의 링크가 가득 참.",
        "tiny-3: 랭크 2의 eth0에서 손상되거나 버려진 패킷 12개",
    ),
}


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_page_says_it_in_the_readers_language(language: str) -> None:
    record = measured(links=(tcp(8, 1000),), nics=(nic(10**8), nic(0, errors=12, number=2)))
    page = render(record, language)
    for words in WORDS[language]:
        assert words in page


@pytest.mark.parametrize(
    ("wireless", "interface", "words"),
    [(False, "wlan0", "check the cable"), (True, "eth9", "Wi-Fi, or a bad cable?")],
)
def test_the_remedy_fits_what_is_known(wireless: bool, interface: str, words: str) -> None:
    record = measured(links=(tcp(8, 1000, interface=interface),), wireless=wireless)
    assert words in render(record, "en")


def test_the_table_has_every_link_and_a_dash_where_the_kernel_is_silent() -> None:
    times = {
        "n": 900, "p50_ms": 0.21, "p90_ms": 0.3, "p99_ms": 1.5, "max_ms": 9.0,
        "waited_p50_ms": 0.1, "waited_p99_ms": 1.25, "waited_max_ms": 8.0, "waited_s": 0.12,
    }  # fmt: skip
    links = tuple(LinkTimes(rank=a, peer=b, **times) for a, b in ((0, 2), (2, 0)))
    made = cell("tiny", 3, network=network(times=links, tcp=(tcp(8, 1000),)))
    table = link_times_table(made)
    assert table is not None
    shared = ("900", "0.210", "1.500", "9.000", "0.100", "1.250", "0.12")
    assert table.rows == (
        ("0", "2", *shared, "-", "-", "-"),
        ("2", "0", *shared, "2.100", "8", "61"),
    )
    page = render(run([made]), "en")
    assert load_words("en", templates_folder())["text"]["link_times"].split(".")[0] in page
    assert link_times_table(cell("tiny", 1)) is None
