"""Emulated links as a cluster has them: a relay, probes, and a watch over each request."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager

from pytest_dllama.hosts.base import HostError
from pytest_dllama.hosts.links.prober import Prober, ProbeSamples
from pytest_dllama.hosts.links.relay import LinkRelay

PATIENCE_S = 1.0  # for ranks to close their connections once the root has ended
MANY = 1 << 20


class Watch:
    """What is seen of the links beside one request; of none where they are real."""

    samples: ProbeSamples | None = None

    def probe(self, *, rates: bool = False) -> None:
        """Probe while no request runs."""

    def beside(self) -> AbstractContextManager[None]:
        """Probe while the body, a request, runs."""
        return contextlib.nullcontext()

    def lost(self) -> list[str]:
        """Why nothing goes through any more."""
        return []


NOT_WATCHED = Watch()


class LinkWatch(Watch):
    """The same of emulated links.

    Args:
        relay: what they go through.
        prober: probes between the nodes of the request.
    """

    def __init__(self, relay: LinkRelay, prober: Prober) -> None:
        self._relay, self._prober = relay, prober
        self.samples: ProbeSamples = ProbeSamples()

    def probe(self, *, rates: bool = False) -> None:
        """Probe while no request runs.

        Raises:
            HostError: the relay is gone, or a probe does not come through.
        """
        nodes = self._prober.nodes
        try:
            if rates:  # the first probe: what ended before belongs to another request
                self._relay.passed(MANY, 0.0)
            else:
                ways = nodes * (nodes - 1)
                passed = self._relay.passed(ways, PATIENCE_S)
                self.samples.messages, self.samples.late = passed
            self._prober.probe(self.samples, rates=rates)
        except HostError as error:
            raise HostError("; ".join([*self.lost(), str(error)])) from None

    def beside(self) -> AbstractContextManager[None]:
        """Probe now and then while the body, a request, runs."""
        return self._prober.beside(self.samples)

    def lost(self) -> list[str]:
        """That the relay has ended, if it has."""
        why = self._relay.lost()
        return [why] if why else []


class EmulatedNetwork:
    """The emulated links of one cluster.

    Args:
        relay: what they go through.
    """

    def __init__(self, relay: LinkRelay) -> None:
        self._relay = relay
        self._prober: Prober | None = None

    @property
    def lead_us(self) -> float:
        """Messages leave the relay so much earlier, for the last hop."""
        return self._relay.doors.lead_us

    @property
    def priority(self) -> str:
        """Of the relay: realtime, raised or normal."""
        return self._relay.doors.priority

    def ensure(self) -> None:
        """Have the relay up; raises HostError."""
        if self._relay.lost() is not None:
            self.close()
        self._relay.ensure()

    def route(self, node: int, host: str, port: int, session: int | None) -> str:
        """From now on a node is there; the address by which the others reach it."""
        return self._relay.route(node, host, port, session)

    def watched(self, nodes: int) -> Watch:
        """Probes between so many nodes, connected already when they were before.

        Raises:
            HostError: the relay does not take them.
        """
        if self._prober is not None and self._prober.nodes != nodes:
            self.close()
        if self._prober is None:
            prober = Prober(self._relay.topology, nodes, self._relay.doors.probe_port)
            prober.open()
            self._prober = prober
        return LinkWatch(self._relay, self._prober)

    def close(self) -> None:
        """Disconnect the probes; the relay's process is its cluster's to stop."""
        if self._prober is not None:
            self._prober.close()
            self._prober = None
