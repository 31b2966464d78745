"""The machines of a session, from an inventory: provisioned once, cleared away at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pytest_dllama.hosts.base import (
    Host,
    HostError,
    MemorySite,
    ModelNeed,
    PowerSite,
    Progress,
)
from pytest_dllama.hosts.fleet.cooling import cool_down
from pytest_dllama.hosts.fleet.link_probe import measure_pairs
from pytest_dllama.hosts.fleet.machines import (
    Machine,
    machines_of,
    memory_needs,
    memory_sites,
    power_sites,
)
from pytest_dllama.hosts.fleet.preflight import Need
from pytest_dllama.hosts.fleet.progress import ProgressLine, described
from pytest_dllama.hosts.fleet.provision import (
    Ready,
    Report,
    Wanted,
    gather_facts,
    make_each,
    on_each,
)
from pytest_dllama.hosts.fleet.records import host_record, versions_of, watched
from pytest_dllama.hosts.inventory import Inventory
from pytest_dllama.hosts.local import LocalHost
from pytest_dllama.hosts.memory_probe import local_memory
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.models import engine_facts
from pytest_dllama.record.hosts import HostRecord, PairRecord

if TYPE_CHECKING:
    from pytest_dllama.models.engine_facts import ModelConfig


class RemoteHosts:
    """Hosts behind SSH; the root runs on this machine unless the inventory has one.

    Args:
        inventory: the hosts file.
        wanted: what the engine's processes will be asked for; models come with `prepare`.
        dllama_bin: a program that commands name; a host with a `binary` runs that instead.
        kept_token: token of workers that stay for the next session; None: none stays.
        measures_links: whether the links between hosts are of interest.
    """

    kind: Literal["local", "ssh"] = "ssh"
    network = ""

    def __init__(
        self,
        inventory: Inventory,
        wanted: Wanted,
        dllama_bin: str = "",
        kept_token: str | None = None,
        *,
        measures_links: bool = True,
    ) -> None:
        self.kept_token = kept_token
        self._measures_links = measures_links
        self._inventory = inventory
        self._wanted = wanted
        self._dllama_bin = dllama_bin
        self.hosts: tuple[SshHost, ...] = ()
        self.seen: dict[str, Ready] = {}
        self.pairs: tuple[PairRecord, ...] = ()
        self._found: dict[str, HostRecord] = {}
        self._remarks: list[str] = []
        self._nodes = 0
        self._configs: tuple[ModelConfig, ...] = ()
        self._models: tuple[ModelNeed, ...] = ()  # with the caches that cells want, if told

    def identify(self, nodes: int) -> Sequence[HostRecord | None]:
        """What the hosts of `nodes` nodes are; None for one that cannot be reached."""
        if not self.hosts:
            self.choose(nodes, [])
        self.gather_facts()
        return [
            host_record(host, rank, self.seen[host.name], None) if host.name in self.seen else None
            for rank, host in self._by_rank()
        ]

    @property
    def names_programs(self) -> bool:
        """Whether the hosts run a dllama that is there; one from source is built there."""
        is_built = self._wanted.other is not None and bool(self._wanted.other.source)
        return bool(self._dllama_bin) and not is_built

    def missing_programs(self, nodes: int) -> Mapping[str, str]:
        """The dllama that commands name, where a host has none."""
        if not self.hosts:
            self.choose(nodes, [])
        self.gather_facts()
        found, _ = on_each(
            [host for host in self.hosts if host.name in self.seen],
            lambda host: host.missing_program(),
        )
        return {name: program for name, program in found.items() if program}

    def check(
        self, nodes: int, needed: int, models: Sequence[ModelNeed], progress: Progress
    ) -> None:
        """Connect to the hosts of `nodes` nodes and gather facts; nothing is sent yet.

        Raises:
            HostError: one of the first `needed` is unfit; each host's result.
        """
        self.choose(nodes, [need.config for need in models])
        self._models = tuple(models)
        line = ProgressLine([host.name for host in self.hosts], progress)
        progress.stage(f"looking at {', '.join(host.name for host in self.hosts)}")
        self._check(needed, self.gather_facts(line.report) | self.preflight(progress))

    def prepare(
        self, nodes: int, needed: int, models: Sequence[Path], progress: Progress
    ) -> Sequence[Host]:
        """Connect to, check and provision the hosts of `nodes` nodes, each once a session.

        Raises:
            HostError: one of the first `needed` is not ready; each host's result.
        """
        self.choose(nodes, [engine_facts.file_config(model) for model in models])
        line = ProgressLine([host.name for host in self.hosts], progress)
        progress.stage(f"looking at {', '.join(host.name for host in self.hosts)}")
        faults = self.gather_facts(line.report) | self.preflight(progress)
        self._check(needed, faults)
        fit = [host for host in self.hosts if host.name not in faults]
        missing = [host for host in fit if not self.seen[host.name].is_made]
        progress.stage(f"provisioning {', '.join(host.name for host in missing) or 'nothing'}")
        faults |= self.provision(fit, line.report)
        for host in missing:
            if host.name not in faults:
                progress.settle(f"{host.name}: {described(self.seen[host.name])}")
        self._check(needed, faults)
        self.measure_links(progress)
        if not self._inventory.has_root:
            other = self._wanted.other
            return [LocalHost(environment=other.environment if other else None), *self.hosts]
        for model in models:
            self._place(self.hosts[0], model, progress)
        return self.hosts

    def _check(self, needed: int, faults: Mapping[str, str]) -> None:
        n_first = needed if self._inventory.has_root else needed - 1
        if any(host.name in faults for host in self.hosts[:n_first]):
            raise HostError(
                "; ".join(f"{host.name}: {faults.get(host.name, 'ready')}" for host in self.hosts)
            )

    def choose(self, nodes: int, configs: Sequence[ModelConfig]) -> None:
        """The hosts of a cluster of `nodes`, and the models it shall run."""
        self._nodes, self._configs = nodes, tuple(configs)
        self._wanted.configs = [config.to_json() for config in configs]
        if not self.hosts:
            self.hosts = tuple(
                SshHost(entry, self._inventory, self._dllama_bin, keeps=bool(self.kept_token))
                for entry in self._inventory.first(nodes)
            )

    def gather_facts(self, report: Report = lambda host, step, state: None) -> dict[str, str]:
        """Connect to hosts and read what they are, each once; tells who cannot be reached."""
        missing = [host for host in self.hosts if host.name not in self.seen]
        seen, faults = gather_facts(missing, report)
        self.seen |= seen
        return {name: str(fault) for name, fault in faults.items()}

    def provision(self, hosts: Sequence[SshHost], report: Report) -> dict[str, str]:
        """Make hosts ready that are not; tells why some cannot be."""
        faults = make_each(hosts, self.seen, self._wanted, report)
        return {name: str(fault) for name, fault in faults.items()}

    def preflight(self, progress: Progress) -> dict[str, str]:
        """What the facts of the hosts mean; tells who cannot take part."""
        needs = self._needs()
        refused: dict[str, str] = {}
        for rank, host in self._by_rank():
            if host.name not in self.seen:
                continue
            if host.name not in self._found:
                record = host_record(host, rank, self.seen[host.name], needs.get(host.name))
                shared = next(m.names for m in self._machines() if host.name in m.names)
                if len(shared) > 1:
                    record = record.model_copy(update={"shares_with": shared})
                self._found[host.name] = record
                for finding in record.findings:
                    progress.settle(f"{host.name}: {finding.level}: {finding.text}")
                for remark in host.agent.connection.remarks:
                    progress.settle(f"{host.name}: warning: {remark}")
            findings = self._found[host.name].findings
            refusals = [finding.text for finding in findings if finding.level == "refusal"]
            if refusals:
                refused[host.name] = f"refusal: {'; '.join(refusals)}"
        return refused

    def measure_links(self, progress: Progress) -> None:
        """Round trip and bandwidth between hosts that were made ready, once."""
        present = [h for h in self.hosts if h.name in self.seen and self.seen[h.name].is_made]
        if not self._measures_links or self.pairs or len(present) < 2:
            return
        progress.stage("measuring the links between the hosts")
        self.pairs = measure_pairs(present)
        for pair in self.pairs:
            if pair.error:
                progress.settle(f"warning: {pair.source} to {pair.target}: {pair.error}")

    def _by_rank(self) -> Iterator[tuple[int, SshHost]]:
        return enumerate(self.hosts, start=0 if self._inventory.has_root else 1)

    def _machines(self) -> list[Machine]:
        return machines_of(self._by_rank(), self.seen)

    def _needs(self) -> dict[str, Need]:
        """What each host must have room for, over all models."""
        wanted = self._wanted
        models = self._models or tuple(ModelNeed(c, c.seq_len, "f32") for c in self._configs)
        tables = [
            engine_facts.shard_bytes(
                need.config,
                self._nodes,
                wanted.buffer_float_type,
                wanted.sync_mode,
                need.max_seq_len,
                need.kv_type,
            )
            for need in models
        ]
        return memory_needs(self._machines(), tables, wanted.sides)

    def _place(self, host: SshHost, model: Path, progress: Progress) -> None:
        """The model goes to the root's host before anything is measured."""
        progress.stage(f"{model.name} to {host.name}")
        host.report_upload = progress.transfer
        host.place(model)

    def memory_sites(self, nodes: int, nthreads: int) -> Sequence[MemorySite]:
        """Each machine once, with all its ranks; this one if the root runs here."""
        here = [] if self._inventory.has_root else [local_memory((0,), nthreads)]
        return [*here, *memory_sites(self._machines(), nodes, nthreads)]

    def power_sites(self, nodes: int) -> Sequence[PowerSite]:
        """Each machine once, with all its ranks; this one too if the root runs here."""
        return power_sites(self._machines(), nodes, root_is_here=not self._inventory.has_root)

    def cool_down(self, limit_c: float, progress: Progress) -> None:
        """Wait until all are as cool as that; a host that stays warmer is told and measured."""
        remark = cool_down(self.hosts, limit_c, self._inventory.cooling_s, progress)
        if remark is not None:
            self._remarks.append(remark)

    def records(self) -> tuple[HostRecord, ...]:
        """The hosts as they were found, and what was seen of them since."""
        found = []
        for host in self.hosts:
            if record := self._found.get(host.name):
                samples = [sample for process in host.processes for sample in process.samples]
                seen = self.seen[host.name]
                late = {
                    "watch": watched(samples, seen.facts["throttled"]),
                    "versions": versions_of(seen),
                }
                found.append(record.model_copy(update=late))
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """Hosts that were measured warmer than they should have been."""
        return tuple(self._remarks)

    def close(self) -> list[str]:
        """Clear the session's folders away and close the connections."""
        problems, _ = on_each(self.hosts, lambda host: host.close())
        return [problem for problem in problems.values() if problem is not None]
