"""The machines of a session, from an inventory: provisioned once, cleared away at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pytest_dllama.backends import embedded
from pytest_dllama.hosts import Host, HostError, LocalHost, Stages
from pytest_dllama.remote.inventory import Inventory
from pytest_dllama.remote.provision import Ready, Wanted, provision_each
from pytest_dllama.remote.ssh_host import SshHost


class RemoteHosts:
    """Hosts behind SSH; the root runs on this machine unless the inventory has one.

    Args:
        inventory: the hosts file.
        wanted: what the engine's processes will be asked for; models come with `prepare`.
        binaries: a program named on the command line -> in the inventory it is `binary`.
    """

    kind: Literal["local", "ssh"] = "ssh"

    def __init__(self, inventory: Inventory, wanted: Wanted, dllama_bin: str = "") -> None:
        self._inventory = inventory
        self._wanted = wanted
        self._dllama_bin = dllama_bin
        self.hosts: tuple[SshHost, ...] = ()
        self.ready: dict[str, Ready] = {}
        self.notes: tuple[str, ...] = ()

    def prepare(
        self, nodes: int, needed: int, models: Sequence[Path], progress: Stages
    ) -> Sequence[Host]:
        """Connect to and provision the hosts of `nodes` nodes, each once a session.

        Raises:
            HostError: one of the first `needed` is not ready; each host's result.
        """
        if not self.hosts:
            self.hosts = tuple(
                SshHost(entry, self._inventory, dllama_bin=self._dllama_bin)
                for entry in self._inventory.first(nodes)
            )
        self._wanted.configs = [embedded.file_config(model).to_json() for model in models]
        self._provision(progress, needed)
        own_root: list[Host] = [] if self._inventory.has_root else [LocalHost()]
        hosts = [*own_root, *self.hosts]
        for model in models if self._inventory.has_root else ():
            self._place(self.hosts[0], model, progress)
        return hosts

    def _provision(self, progress: Stages, needed: int) -> None:
        missing = [host for host in self.hosts if host.name not in self.ready]
        if not missing:
            return
        progress.stage(f"provisioning {', '.join(host.name for host in missing)}")
        board = StepBoard([host.name for host in missing], progress)
        ready, faults = provision_each(missing, self._wanted, board.report)
        self.ready |= ready
        for name in ready:
            progress.settle(f"{name}: {described(ready[name])}")
        n_first = needed if self._inventory.has_root else needed - 1
        hit = [host.name for host in self.hosts[:n_first] if host.name in faults]
        if hit:
            raise HostError(
                "; ".join(f"{host.name}: {faults.get(host.name, 'ready')}" for host in self.hosts)
            )

    def _place(self, host: SshHost, model: Path, progress: Stages) -> None:
        """The model goes to the root's host before anything is measured."""
        progress.stage(f"{model.name} to {host.name}")
        host.report_upload = progress.bar
        host.place(model)

    def close(self) -> list[str]:
        """Clear the session's folders away and close the connections."""
        problems = [host.close() for host in self.hosts]
        return [problem for problem in problems if problem is not None]


class StepBoard:
    """Which host is at which step, in one line."""

    def __init__(self, names: Sequence[str], progress: Stages) -> None:
        self._steps = dict.fromkeys(names, "")
        self._progress = progress

    def report(self, host: str, step: str, state: str) -> None:
        """Told by each host's thread."""
        self._steps[host] = step if state == "..." else f"{step} {state}"
        self._progress.stage(
            "provisioning " + ", ".join(f"{h}: {s}" for h, s in self._steps.items())
        )


def described(ready: Ready) -> str:
    """A host that is ready, in one line."""
    facts: Mapping[str, Any] = ready.facts
    what = facts["board"] or facts["machine"]
    versions = ", ".join(
        f"{name} {ready.versions[name]}"
        for name in ("python", "numpy", "numba")
        if name in ready.versions
    )
    return f"ready, {what}, {facts['cores']} cores{', ' if versions else ''}{versions}"
