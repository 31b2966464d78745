"""The network that the options ask for, where local processes are to be put on one."""

from __future__ import annotations

from pathlib import Path

from pytest_dllama.config.values import ConfigError
from pytest_dllama.emulation.boards import Boards, parse_boards
from pytest_dllama.emulation.spec import LinkError
from pytest_dllama.emulation.topology import Topology, load_topology, of_boards, uniform


def boards_of(text: str, nodes: tuple[int, ...] | None) -> Boards | None:
    """What `--emulate` says; None without it.

    Args:
        text: its value.
        nodes: `--nodes`, where it is given at the same place; None: it is not.

    Raises:
        ConfigError: boards that cannot be, or other node counts.
    """
    if not text:
        return None
    try:
        found = parse_boards(text)
    except LinkError as error:
        raise ConfigError(str(error)) from None
    if nodes is not None and nodes != (found.nodes,):
        raise ConfigError(
            f"--emulate {text} and --nodes {','.join(map(str, nodes))} exclude each other: both "
            f"say how many nodes there are; leave --nodes out, it is {found.nodes}"
        )
    return found


def topology_of(
    link: str, links_file: Path | None, boards: Boards | None = None, *, has_hosts: bool
) -> Topology | None:
    """What `--link`, `--links` and `--emulate` say; None without any.

    Args:
        link: of every pair of nodes.
        links_file: of single pairs, ports and the switch.
        boards: of all of it, and of the nodes.
        has_hosts: whether the nodes are machines of `--hosts`.

    Raises:
        ConfigError: a link that cannot be, two that contradict each other, or hosts that have links
            of their own.
    """
    flags = {"--emulate": boards.text if boards else "", "--link": link, "--links": links_file}
    flag, *more = [f"{name} {value}" for name, value in flags.items() if value] or [""]
    if not flag:
        return None
    if has_hosts:
        raise ConfigError(
            f"{flag} and --hosts exclude each other: machines have links of their own, only "
            "processes of this machine are put on emulated ones; leave one out"
        )
    if boards is not None:
        if more:
            raise ConfigError(
                f"{flag} and {more[0]} exclude each other: both say what the links are; leave one "
                "out"
            )
        return of_boards(boards)
    try:
        return load_topology(links_file, link) if links_file else uniform(link)
    except LinkError as error:
        raise ConfigError(str(error)) from None
