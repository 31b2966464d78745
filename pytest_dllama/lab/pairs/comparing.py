"""A session whose cells are compared with a base: a run of the new side, a verdict beside it."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from pytest_dllama.config.baseline import Comparison
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.history.keeping import history_folder
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.history.run_files import VERDICT_FILE
from pytest_dllama.hosts.base import Progress
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.lab import Lab
from pytest_dllama.lab.pairs.verdict_file import Compared, verdict_file, write_verdict
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import CellVerdict, VerdictFile
from pytest_dllama.verdict.limits.limit import explain
from pytest_dllama.verdict.limits.thresholds import Thresholds


class ComparingLab(Lab, ABC):
    """What every kind of comparison has.

    Args:
        config: what the user asked for.
        keys: the cells this session will read.
        thresholds: limits to judge by, and tolerances.
        engines: the new side's, and its machines.
        progress: where to tell how far it is.
        labels: of base and new, for people.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        engines: Engines,
        progress: Progress,
        labels: tuple[str, str],
    ) -> None:
        super().__init__(config, keys, thresholds, engines, progress)
        assert config.comparison is not None
        self._compared_with: Comparison = config.comparison
        self._labels = labels
        self._verdicts: dict[CellKey, CellVerdict] = {}
        self._comparing_s = 0.0

    def comparison(self, key: CellKey) -> CellVerdict | None:
        """How the cell compares with the base's; None before it was measured."""
        return self._verdicts.get(key)

    def verdict(self) -> VerdictFile | None:
        """All cells that were compared so far."""
        cells = [self._verdicts[key] for key in self.keys if key in self._verdicts]
        if not cells:
            return None
        return verdict_file(self._about(), self.config, cells, wall_s=self._comparing_s)

    def save(self) -> RunRecord:
        """Write the run file and the verdict beside it."""
        run = super().save()
        if (found := self.verdict()) is not None:
            folder = self.config.report_folder
            self.files.write(folder / VERDICT_FILE, lambda: write_verdict(found, folder))
        return run

    def give_up(self, key: CellKey, why: str) -> CellRecord:
        """Make a cell an ERROR whose measurement was broken off from outside."""
        if key not in self._records:
            self._verdicts[key] = CellVerdict(
                model=key.model,
                nodes=key.nodes,
                workload=key.workload,
                status="ERROR",
                reasons=(why,),
            )
        return super().give_up(key, why)

    @abstractmethod
    def _about(self) -> Compared:
        """What was compared, and how."""

    def _cluster_id(self) -> str:
        """The fingerprint, without a progress line of its own: one may be drawn already."""
        return self._identity.before()

    def _priors(self) -> NoisePriors | None:
        """What is known of this cluster's noise; None where no history is kept."""
        if not self.config.keeps_history:
            return None
        return NoisePriors(history_folder(self.config), self._cluster_id())

    def _tolerances(self, key: CellKey) -> Mapping[str, float]:
        """Metric -> relative change that is tolerated, of a cell."""
        return self._thresholds.tolerances_of(key.model, key.nodes, key.workload)

    def _took(self, since_s: float) -> None:
        self._comparing_s += time.monotonic() - since_s


def missed_limits(record: CellRecord) -> list[str]:
    """A sentence for each fixed limit that a cell misses."""
    return [explain(result) for result in record.thresholds if not result.passed]
