"""Whether the hosts have the program that the options name: asked before anything is sent there."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.base import Hosts, Progress


def check_programs(named: Mapping[str, Hosts], nodes: int, progress: Progress) -> None:
    """Refuse a program that a host lacks, by the option that names it.

    Connections stay open for the session, unless it is refused.

    Args:
        named: option, with its value -> the machines that shall run it.
        nodes: of the largest cell.
        progress: where to tell that hosts are looked at.

    Raises:
        ConfigError: a program that a host of those that can be reached does not have.
    """
    named = {option: hosts for option, hosts in named.items() if hosts.names_programs}
    if not named:
        return
    try:
        with progress.running():
            progress.stage("looking for the program on the hosts")
            for option, hosts in named.items():
                _check(option, hosts.missing_programs(nodes))
    except BaseException:
        for hosts in named.values():
            hosts.close()
        raise


def _check(option: str, missing: Mapping[str, str]) -> None:
    if not missing:
        return
    lacking = "; ".join(f"{host} has no program {path}" for host, path in missing.items())
    remedy = (
        "give the path that it has there, or dllama:CHECKOUT@REV, which each host builds"
        if option.startswith("--baseline")
        else "give the path that it has there, or name it in the hosts file: binary = PATH"
    )
    raise ConfigError(f"{option}: {lacking}, or it is not executable; {remedy}")
