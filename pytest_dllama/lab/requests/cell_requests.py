"""The requests of one cell on its cluster, one after the other, told to the progress line."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pytest_dllama.amounts import counted
from pytest_dllama.backends.base import Backend, EngineRequest
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.events.request import Step
from pytest_dllama.events.session import Progress as LoadProgress
from pytest_dllama.events.stream import Event
from pytest_dllama.hosts.base import Hosts, Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.requests.asked import check_work, engine_request
from pytest_dllama.lab.requests.cluster import Cluster
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.lab.requests.losses import Losses
from pytest_dllama.lab.requests.oracle import Oracle, find_oracle
from pytest_dllama.lab.requests.picks import Picks
from pytest_dllama.lab.requests.runner import RequestRun, run_request
from pytest_dllama.models.model_files import ModelUnderTest

_PHASES = {"fill": "filling the context", "cache": "weights from the workers' caches"}


@dataclass(frozen=True, slots=True)
class CellRequests:
    """Runs them.

    Attributes:
        config: what the user asked for.
        key: the cell.
        model: the cell's.
        cluster: with enough nodes for the cell.
        hosts: the session's machines, which are let cool down where that was asked for.
        losses: what the cell has lost so far.
        progress: where to tell how far it is.
        picks: what `auto` picked for the session's cells so far.
    """

    config: LabConfig
    key: CellKey
    model: ModelUnderTest
    cluster: Cluster
    hosts: Hosts
    losses: Losses
    progress: Progress
    picks: Picks

    @property
    def request(self) -> EngineRequest:
        """What a root of the cell is asked."""
        return engine_request(self.config, self.model, self.key.workload)

    def run(
        self, what: str, log: str, engine: Backend | None = None, *, traced: bool = False
    ) -> RequestRun:
        """One request.

        Args:
            what: it is, for the progress line.
            log: of its root, beside the cell's name.
            engine: another than the cluster's, on one node.
            traced: whether it tells its spans.

        Raises:
            RequestFailed: it gave no trace, or ran other work.
        """
        self.progress.stage(f"{self.key}: {what}")
        if self.config.cooldown_c > 0:
            self.hosts.cool_down(self.config.cooldown_c, self.progress)
        self.progress.detail("starting")
        run = run_request(
            self.cluster,
            replace(self.picks.asked(self.key, self.request), trace=traced),
            self.key.nodes,
            f"{self.key.id}.{self.losses.prefix}{log}.root",
            self._tell,
            engine,
        )
        used = engine or self.cluster.backend
        check_work(run.trace, self.key.workload, self.request, used)
        self.picks.learn(self.key, run.trace, used)
        return run

    def oracle(self, measured: Backend) -> Oracle:
        """The cell's work on one node, by the engine that has logits or else by the measured one.

        Raises:
            HostError: a host that is not ready.
        """
        alone = replace(self, key=CellKey(self.key.model, 1, self.key.workload))

        def run_by(engine: Backend) -> RequestRun:
            log = "oracle" if engine is measured else f"oracle.{engine.name}"
            try:
                return alone.run("reference output", log, engine)
            except RequestFailed as error:
                if not self.losses.allow(error):
                    raise
                return alone.run("reference output", log, engine)

        return find_oracle(measured, alone.request, run_by)

    def _tell(self, event: Event) -> None:
        if isinstance(event, LoadProgress):
            self.progress.detail(_PHASES.get(event.phase, f"{event.phase}ing"))
            tell = self.progress.transfer if event.unit == "bytes" else self.progress.bar
            tell(event.done, event.total)
        elif isinstance(event, Step):
            is_prompt = event.phase != "decode"
            what = "reading the prompt" if is_prompt else counted(event.index + 1, "token")
            self.progress.detail(what)
