"""The memory roofline: closed form, limit, floor, and what is too fast to be believed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pytest_dllama.backends.dllama.backend import DllamaBackend
from pytest_dllama.hosts.base import HostError, MemoryRates, MemorySite
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab.machines.roofline_probe import RooflineProbe
from pytest_dllama.lab.progress import Silent
from pytest_dllama.models import engine_facts
from pytest_dllama.record.cell import Estimate
from pytest_dllama.record.hosts import MemoryRecord
from pytest_dllama.validity.roofline import Machine, roofline, roofline_faults, share
from tests.data import MODELS as GOLDEN
from tests.plugin.validity.samples import sample

GB = 10**9


def _machine(
    ranks: tuple[int, ...] = (0,),
    cache_bytes: int | None = 0,
    rates: dict[int, float] | None = None,
) -> Machine:
    rates = {1: 10.0 * GB, 4: 20.0 * GB} if rates is None else rates
    memory = MemoryRecord(hosts=("pi",), cores=4, cache_bytes=cache_bytes, bytes_per_s=rates)
    return Machine(ranks, 1, memory)


@pytest.mark.parametrize("file", ["llama_q40.m", "llama_f32.m", "qwen3_q40.m", "llama31_q40.m"])
def test_ranks_together_read_the_whole_file_but_its_embedding(file: str) -> None:
    config = engine_facts.file_config(GOLDEN / file)
    (alone,) = engine_facts.token_bytes(config, 1, "q80", "reduce", 0)
    embedding = 4 * config.vocab_size * config.dim
    header = 1024
    size = (GOLDEN / file).stat().st_size
    assert size - embedding - header < alone <= size - embedding
    together = sum(engine_facts.token_bytes(config, 2, "q80", "reduce", 0))
    assert alone <= together < 1.05 * alone  # both hold the norms


def test_only_active_experts_count() -> None:
    config = engine_facts.file_config(GOLDEN / "qwen3moe_q40.m")
    (alone,) = engine_facts.token_bytes(config, 1, "q80", "reduce", 0)
    size = (GOLDEN / "qwen3moe_q40.m").stat().st_size
    embedding = 4 * config.vocab_size * config.dim
    assert alone < 0.95 * (size - embedding)


def test_the_cache_grows_with_the_position() -> None:
    config = engine_facts.file_config(GOLDEN / "llama_q40.m")
    few, many = (engine_facts.token_bytes(config, 1, "q80", "reduce", n)[0] for n in (0, 10))
    assert many - few == 10 * 2 * config.n_layers * config.n_kv_heads * config.head_dim * 4


def test_the_limit_is_the_time_of_the_slowest_machine() -> None:
    slow = _machine((1,), rates={1: 5.0 * GB, 4: 5.0 * GB})
    found = roofline([GB, GB], [_machine((0,)), slow])
    assert found.limit_ms == pytest.approx(200)
    assert found.floor_ms == pytest.approx(200)


def test_ranks_of_one_machine_share_its_memory() -> None:
    found = roofline([GB, GB], [_machine((0, 1))])  # two threads: the rate of four is the bound
    assert found.limit_ms == pytest.approx(max(2 / 20, 1 / 10) * 1e3)
    assert roofline([GB] * 4, [_machine((0, 1, 2, 3))]).limit_ms == pytest.approx(200)


def test_a_smaller_cell_uses_its_own_ranks_only() -> None:
    assert roofline([GB], [_machine((0, 1)), _machine((2,))]).limit_ms == pytest.approx(100)


def test_what_caches_hold_is_left_out_of_the_floor() -> None:
    found = roofline([GB], [_machine(cache_bytes=GB // 4)])
    assert found.limit_ms == pytest.approx(100)
    assert found.floor_ms == pytest.approx(75)
    assert roofline([GB], [_machine(cache_bytes=2 * GB)]).why_not == "cached"


def test_an_unmeasured_machine_gives_no_limit() -> None:
    found = roofline([GB], [_machine(rates={})])
    assert (found.limit_ms, found.why_not) == (None, "unmeasured")
    assert roofline_faults(found, [sample(0.001)]) == []


def test_a_share() -> None:
    found = roofline([GB], [_machine()])
    tpot = Estimate(value=200, minimum=125, maximum=400, n=3)
    assert share(found, tpot) == Estimate(value=0.5, minimum=0.25, maximum=0.8, n=3)
    assert share(found, None) is None


@pytest.mark.parametrize(("tpot_ms", "n_faults"), [(100, 0), (81, 0), (79, 1), (None, 0)])
def test_too_fast_is_what_beats_the_floor_by_more_than_the_margin(tpot_ms, n_faults) -> None:
    faults = roofline_faults(roofline([GB], [_machine()]), [sample(200), sample(tpot_ms)])
    assert len(faults) == n_faults
    if faults:
        assert (faults[0].kind, faults[0].repeat) == ("roofline", 2)
        assert faults[0].text.startswith(
            "roofline: repeat 2 took 79.000 ms a token, and memory alone"
        )
        assert "needs 100.000 ms: 1000.0 MB a token" in faults[0].text


class _Counted(LocalHosts):
    """This machine, really measured, with a small cache; how often is counted."""

    def __init__(self, fault: str = "", cpu_share: float = 1.0) -> None:
        self.n_probes, self._fault, self.cpu_share = 0, fault, cpu_share

    def memory_sites(self, nodes: int, nthreads: int) -> Sequence[MemorySite]:
        (site,) = super().memory_sites(nodes, nthreads)

        def probe(thread_counts: Sequence[int]) -> MemoryRates:
            self.n_probes += 1
            if self._fault:
                raise HostError(self._fault)
            return MemoryRates(site.probe(thread_counts).bytes_per_s, self.cpu_share)

        return [MemorySite(site.hosts, site.ranks, site.threads, site.cores, 1 << 20, probe)]


def test_this_machine_is_measured_once_a_session() -> None:
    hosts = _Counted()
    roof = RooflineProbe(hosts, 1, Silent())
    found = roof.of([GB], [sample(1e6)])
    roof.of([GB, GB], [sample(1e6)])
    assert hosts.n_probes == 1
    assert found.limit_ms
    assert 1 < found.limit_ms < 10_000  # between 1 TB/s and 0.1 GB/s
    (record,) = roof.records
    assert 1 in record.bytes_per_s
    assert record.cores in record.bytes_per_s


def test_a_figure_that_beats_memory_is_measured_again_before_it_is_told() -> None:
    hosts = _Counted()
    roof = RooflineProbe(hosts, 1, Silent())
    found = roof.of([GB], [sample(0.01)])
    assert hosts.n_probes == 2
    assert roofline_faults(found, [sample(0.01)])


def test_a_probe_that_others_disturbed_judges_nothing() -> None:
    hosts = _Counted(cpu_share=0.5)
    roof = RooflineProbe(hosts, 1, Silent())
    found = roof.of([GB], [sample(0.01)])
    assert found.limit_ms
    assert roofline_faults(found, [sample(0.01)]) == []
    assert roof.records[0].is_disturbed


def test_the_probe_tells_how_much_of_its_time_it_ran() -> None:
    (site,) = LocalHosts().memory_sites(1, 1)
    assert 0.0 < site.probe([1]).cpu_share < 1.2


def test_what_fits_the_cache_is_not_measured() -> None:
    hosts = _Counted()
    assert RooflineProbe(hosts, 1, Silent()).of([1000], [sample(1.0)]).why_not == "cached"
    assert hosts.n_probes == 0


def test_a_failed_probe_is_told_and_not_repeated() -> None:
    hosts = _Counted("no engine there")
    roof = RooflineProbe(hosts, 1, Silent())
    for _ in range(2):
        found = roof.of([GB], [sample(0.01)])
        assert (found.why_not, found.detail) == ("unmeasured", "this machine: no engine there")
    assert hosts.n_probes == 1


def test_pipeline_stages_have_another_closed_form() -> None:
    assert "roofline_share" in DllamaBackend("dllama", ["--pp-size", "2"]).cannot_give
    assert "roofline_share" not in DllamaBackend("dllama").cannot_give
