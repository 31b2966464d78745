"""Round-trip time and bandwidth of every pair of hosts, disjoint pairs side by side."""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.ssh.host import SshHost
from pytest_dllama.record.hosts import PairRecord


def measure_pairs(hosts: Sequence[SshHost]) -> tuple[PairRecord, ...]:
    """One record a pair; a pair that cannot talk says why.

    Raises:
        HostError: a host cannot serve.
    """
    key = secrets.token_hex(32)
    with ExitStack() as stack:
        ports = {host.name: _serve(host, key, stack) for host in hosts}

        def measure(pair: tuple[SshHost, SshHost]) -> PairRecord:
            return _measure(*pair, ports[pair[1].name], key)

        records: list[PairRecord] = []
        for pairs in rounds(hosts):
            with ThreadPoolExecutor(max(len(pairs), 1)) as pool:
                records += pool.map(measure, pairs)
    return tuple(records)


def rounds(hosts: Sequence[SshHost]) -> list[list[tuple[SshHost, SshHost]]]:
    """Every pair once, in rounds in which each host stands once (a tournament's circle)."""
    seats: list[SshHost | None] = [*hosts, *([None] if len(hosts) % 2 else [])]
    order = {id(host): n for n, host in enumerate(hosts)}
    found = []
    for _ in range(len(seats) - 1):
        half = len(seats) // 2
        pairs = []
        for a, b in zip(seats[:half], reversed(seats[half:]), strict=True):
            if a is not None and b is not None:
                pairs.append((a, b) if order[id(a)] < order[id(b)] else (b, a))
        found.append(pairs)
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return found


def _serve(host: SshHost, key: str, stack: ExitStack) -> int:
    agent = host.agent
    agent.ensure_open()
    channel = agent.connection.channel(shlex.join(agent.command("serve-links", agent.address)))
    stack.callback(channel.close)
    channel.send(f"{key}\n".encode())
    for line in channel.lines():
        answer = json.loads(line)
        if "error" in answer:
            raise HostError(
                f"{agent.connection.where}: cannot listen on {agent.address}: {answer['error']}; "
                "give the address of its network interface as `listen`"
            )
        return int(answer["port"])
    raise HostError(f"{agent.connection.where}: the link probe did not start")


def _measure(source: SshHost, target: SshHost, port: int, key: str) -> PairRecord:
    try:
        found = source.agent.ask("measure", address=target.address, port=port, key=key)
    except HostError as error:
        return PairRecord(source=source.name, target=target.name, error=str(error))
    return PairRecord(source=source.name, target=target.name, **found)
