"""The network that the options ask for, where local processes are to be put on one."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.config.values import ConfigError
from pytest_dllama.emulation.spec import LinkError
from pytest_dllama.emulation.topology import Topology, load_topology, uniform


def topology_of(link: str, links_file: Path | None, *, has_hosts: bool) -> Topology | None:
    """What `--link` and `--links` say; None without either.

    Args:
        link: of every pair of nodes.
        links_file: of single pairs, ports and the switch.
        has_hosts: whether the nodes are machines of `--hosts`.

    Raises:
        ConfigError: a link that cannot be, or hosts that have links of their own.
    """
    if not link and links_file is None:
        return None
    if has_hosts:
        flag = f"--link {link}" if link else f"--links {links_file}"
        raise ConfigError(
            f"{flag} and --hosts exclude each other: machines have links of their own, only "
            "processes of this machine are put on emulated ones; leave one out"
        )
    try:
        return load_topology(links_file, link) if links_file else uniform(link)
    except LinkError as error:
        raise ConfigError(str(error)) from None
