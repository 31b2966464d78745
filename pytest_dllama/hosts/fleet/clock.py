"""How far a host's clock is from ours, and how sure that is."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.ssh.agent_client import AgentClient

EXCHANGES = 8
ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """One question: our clock when it left, theirs, ours when the answer came. Seconds."""

    sent_s: float
    host_s: float
    received_s: float


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """Theirs minus ours; the true one is at most `error_s` away."""

    offset_s: float
    error_s: float


def offset_of(exchanges: Sequence[Exchange]) -> ClockOffset:
    """The offset by the exchange that took least (Cristian 1989).

    Their clock was read at some time between sending and receiving, so half of the round trip
    bounds the error, however unlike the two ways are.

    >>> offset_of([Exchange(10.0, 15.0, 14.0), Exchange(20.0, 22.125, 20.25)])
    ClockOffset(offset_s=2.0, error_s=0.125)
    """
    best = min(exchanges, key=lambda one: one.received_s - one.sent_s)
    middle_s = (best.sent_s + best.received_s) / 2
    return ClockOffset(best.host_s - middle_s, (best.received_s - best.sent_s) / 2)


def clock_offset(agent: AgentClient) -> ClockOffset:
    """Ask one running program of the host several times: its start is in no exchange.

    Raises:
        HostError: it does not answer.
    """
    channel = agent.connection.channel(shlex.join(agent.command("clock")))
    try:
        answers = channel.lines(ANSWER_S)
        found = []
        for _ in range(EXCHANGES):
            sent_s = time.time()
            channel.send(b"\n")
            host_s = float(next(answers))
            found.append(Exchange(sent_s, host_s, time.time()))
    except (StopIteration, ValueError):
        raise HostError(f"{agent.connection.where}: its clock does not answer") from None
    finally:
        channel.close()
    return offset_of(found)
