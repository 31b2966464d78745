"""Rooflines: the memory of a session's machines, measured once and only where it limits a cell."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dllama.backends.base import EngineRequest
from pytest_dllama.hosts.base import HostError, Hosts, MemorySite, Progress
from pytest_dllama.models import engine_facts
from pytest_dllama.models.model_files import ModelUnderTest
from pytest_dllama.record.cell import RooflineRecord, Sample
from pytest_dllama.record.hosts import MemoryRecord
from pytest_dllama.validity.roofline import Machine, is_too_fast, mean_positions, merged, roofline


class RooflineProbe:
    """Rooflines of cells.

    Args:
        hosts: the machines.
        nthreads: of each node, where a host has no number of its own.
        progress: where to tell that something is measured.
    """

    def __init__(self, hosts: Hosts, nthreads: int, progress: Progress) -> None:
        self._hosts, self._nthreads, self._progress = hosts, nthreads, progress
        self._known: dict[tuple[str, ...], MemoryRecord] = {}

    @property
    def records(self) -> tuple[MemoryRecord, ...]:
        """What was measured."""
        return tuple(self._known.values())

    def of(self, read_bytes: Sequence[int], samples: Sequence[Sample]) -> RooflineRecord:
        """The roofline of a cell; one that a repeat beats is measured again before it is told."""
        sites = self._hosts.memory_sites(len(read_bytes), self._nthreads)
        found = roofline(read_bytes, self._machines(sites, read_bytes))
        if is_too_fast(found, samples):
            found = roofline(read_bytes, self._machines(sites, read_bytes, again=True))
        return found

    def _machines(
        self, sites: Sequence[MemorySite], read_bytes: Sequence[int], *, again: bool = False
    ) -> list[Machine]:
        machines = []
        for site in sites:
            empty = MemoryRecord(hosts=site.hosts, cores=site.cores, cache_bytes=site.cache_bytes)
            machine = Machine(site.ranks, site.threads, self._known.get(site.hosts, empty))
            if machine.is_streaming(read_bytes) and (again or site.hosts not in self._known):
                record = self._measured(site, machine.memory)
                self._known[site.hosts] = record
                machine = Machine(site.ranks, site.threads, record)
            machines.append(machine)
        return machines

    def _measured(self, site: MemorySite, so_far: MemoryRecord) -> MemoryRecord:
        self._progress.stage(f"measuring the memory of {', '.join(site.hosts)}")
        threads = sorted({min(site.threads, site.cores), site.cores})
        try:
            found = site.probe(threads)
            return merged(so_far, found.bytes_per_s, found.cpu_share)
        except HostError as error:
            return so_far.model_copy(update={"why_not": str(error)})


def read_bytes(
    model: ModelUnderTest, nodes: int, request: EngineRequest, samples: Sequence[Sample]
) -> tuple[int, ...]:
    """What each rank had to read for a decoded token, by the closed form of the model's file."""
    return engine_facts.token_bytes(
        engine_facts.file_config(model.model_file),
        nodes,
        request.buffer_float_type,
        request.sync_mode,
        request.context_depth + mean_positions(samples),
        request.kv_type,
    )


class Rooflines:
    """Rooflines of a session's cells, whatever number of threads each has."""

    def __init__(self, hosts: Hosts, progress: Progress) -> None:
        self._hosts, self._progress = hosts, progress
        self._probes: dict[int, RooflineProbe] = {}  # by threads of a rank

    def of(
        self, model: ModelUnderTest, nodes: int, request: EngineRequest, samples: Sequence[Sample]
    ) -> RooflineRecord:
        """By the closed form of the model's file."""
        read = read_bytes(model, nodes, request, samples)
        threads = request.nthreads
        if threads not in self._probes:
            self._probes[threads] = RooflineProbe(self._hosts, threads, self._progress)
        return self._probes[threads].of(read, samples)

    @property
    def records(self) -> tuple[MemoryRecord, ...]:
        """What the memory of each machine delivers, whatever numbers of threads probed it."""
        found: dict[tuple[str, ...], MemoryRecord] = {}
        for record in (record for probe in self._probes.values() for record in probe.records):
            rates = found.get(record.hosts, record).bytes_per_s | record.bytes_per_s
            found[record.hosts] = record.model_copy(update={"bytes_per_s": rates})
        return tuple(found.values())
