"""Where a session's ranks run: this machine, or the hosts of `--hosts`, once or for two sides."""

from __future__ import annotations

import platform
from pathlib import Path

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.base import Hosts
from pytest_dllama.hosts.inventory import HostEntry, Inventory, InventoryError, load_inventory
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.hosts.packages.other_engine import OtherEngine

PORTS_APART = 100  # between the two sides' ports of a host whose file fixes one
DLLAMA_PORT = 9999  # where dllama's users let workers listen; it has no port 0


def hosts_of(config: LabConfig, nodes: int) -> Hosts:
    """The machines of a session.

    Raises:
        ConfigError: a hosts file that cannot be used, or has too few; `--keep-workers` without one.
    """
    if config.hosts_file is None:
        if config.keep_workers:
            raise ConfigError(
                "--keep-workers is for workers of other machines, which --hosts names; workers of "
                "this machine start in a second or two and end with pytest: leave it out"
            )
        return _here(config)
    return _remote(config, inventory_of(config, nodes))


def hosts_of_sides(
    base: LabConfig, new: LabConfig, nodes: int, other: OtherEngine | None
) -> tuple[Hosts, Hosts]:
    """Where base and new run: next to each other on the same machines.

    Args:
        base: options of the base side.
        new: of the new side.
        nodes: of the largest cell.
        other: the base's engine, where it is not the installed one.

    Raises:
        ConfigError: as `hosts_of`, or `--keep-workers`: pairs are of fresh workers.
    """
    if new.keep_workers:
        raise ConfigError(
            "--keep-workers and --baseline exclude each other: every pair has fresh workers on "
            "both sides; leave --keep-workers out"
        )
    if new.hosts_file is None:
        return _here(base, other.environment if other else None), _here(new)
    inventory = inventory_of(new, nodes)
    same = base.dllama_bin == new.dllama_bin  # and so the programs of the hosts file
    beside = apart(inventory, needs_ports=new.engine == "dllama", keeps_programs=same)
    return (
        _remote(base, beside, other=other, sides=2, measures_links=False),
        _remote(new, inventory, sides=2),
    )


def _here(config: LabConfig, environment: Path | None = None) -> Hosts:
    """Processes of this machine, on emulated links where those are asked for."""
    if config.topology is None:
        return LocalHosts(environment)
    from pytest_dllama.hosts.links.emulated import EmulatedHosts

    return EmulatedHosts(config.topology, environment)


def root_is_here(config: LabConfig) -> bool:
    """Whether rank 0 is a process of this machine; raises ConfigError."""
    return config.hosts_file is None or not inventory_of(config, 1).has_root


def names_of(config: LabConfig, nodes: int) -> list[str]:
    """What the machines of a session are called; raises ConfigError."""
    own = ["this machine", platform.node()]
    if config.hosts_file is None:
        return own
    inventory = inventory_of(config, nodes)
    return [entry.name for entry in inventory.first(nodes)] + ([] if inventory.has_root else own)


def inventory_of(config: LabConfig, nodes: int) -> Inventory:
    """The hosts file, enough of it; raises ConfigError."""
    assert config.hosts_file is not None
    try:
        inventory = load_inventory(config.hosts_file)
        if config.hosts_only:
            inventory = inventory.only(config.hosts_only)
        inventory.first(nodes)
        _check_threads(config, inventory)
    except InventoryError as error:
        raise ConfigError(str(error)) from None
    return inventory


def _check_threads(config: LabConfig, inventory: Inventory) -> None:
    """A host's own number of threads would stand in place of each that is to be compared."""
    own = [entry.name for entry in inventory.hosts if entry.nthreads]
    base = config.comparison.baseline if config.comparison else None
    if "nthreads" in dict(config.sweep):
        what = "--sweep nthreads"
    elif base is not None and "nthreads" in base.options:
        what = f"--baseline {base.text}"
    else:
        return
    if own:
        raise ConfigError(
            f"{what}: {', '.join(own)} of {inventory.file} set nthreads themselves, "
            "which wins over the command line; remove it there"
        )


def apart(inventory: Inventory, *, needs_ports: bool, keeps_programs: bool = False) -> Inventory:
    """The same hosts for a second engine beside the first, on ports of its own.

    Args:
        inventory: the hosts file.
        needs_ports: whether its engine cannot ask the system for any free port.
        keeps_programs: whether it is the program that the file names, with other options.
    """

    def moved(entry: HostEntry) -> HostEntry:
        port = entry.listen_port or (DLLAMA_PORT if needs_ports else 0)
        other = port - PORTS_APART if port + PORTS_APART > 65535 else port + PORTS_APART
        program = entry.binary if keeps_programs else None
        return entry.model_copy(update={"listen_port": port and other, "binary": program})

    return inventory.model_copy(update={"hosts": tuple(map(moved, inventory.hosts))})


def _remote(
    config: LabConfig,
    inventory: Inventory,
    *,
    other: OtherEngine | None = None,
    sides: int = 1,
    measures_links: bool = True,
) -> Hosts:
    from pytest_dllama.hosts.fleet.fleet import RemoteHosts
    from pytest_dllama.hosts.fleet.provision import Wanted
    from pytest_dllama.hosts.ssh.kept_token import kept_token

    wanted = Wanted(
        (),
        config.buffer_float_type,
        config.sync_mode,
        inventory.wheelhouse,
        other=other,
        sides=sides,
    )
    token = kept_token(inventory.file) if config.keep_workers else None
    return RemoteHosts(inventory, wanted, config.dllama_bin, token, measures_links=measures_links)
