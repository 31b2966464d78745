"""A session in pairs: all its cells are compared at once, on the first one's first use."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import replace

from pytest_dllama.config.settings import LabConfig
from pytest_dllama.events.trace import Picked
from pytest_dllama.hosts.base import Progress
from pytest_dllama.lab import assembly
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import model_needs
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.pairs.cell import PairedCell
from pytest_dllama.lab.pairs.comparing import ComparingLab, missed_limits
from pytest_dllama.lab.pairs.duet import Duet, Rules
from pytest_dllama.lab.pairs.side import Side
from pytest_dllama.lab.pairs.verdict_file import Compared
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.notes import picks_of_sides
from pytest_dllama.stats.looks import Plan
from pytest_dllama.verdict.cell import failed_cell
from pytest_dllama.verdict.limits.thresholds import Thresholds


class PairedLab(ComparingLab):
    """Base and new in turns; the records are of the new side's sessions.

    Args:
        config: what the user asked for.
        keys: the cells this session will read.
        thresholds: limits to judge by, and tolerances.
        progress: where to tell how far it is.
        sides: base and new.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        progress: Progress,
        sides: tuple[Side, Side],
    ) -> None:
        base, new = sides
        labels = (base.label, new.label)
        engines = Engines(new.backend, new.swept, new.hosts)
        super().__init__(config, keys, thresholds, engines, progress, labels)
        self._sides = sides
        self._plan = Plan(self._compared_with.looks)
        given = self._compared_with.order_seed
        self.seed = random.SystemRandom().randrange(10**6) if given is None else given
        self._cells: dict[CellKey, PairedCell] = {}
        self._of_sides: dict[CellKey, list[Sequence[Picked]]] = {}  # what `auto` picked for them
        self._prior_groups = 0

    @property
    def how_often(self) -> str:
        """How often each cell is measured, in words."""
        looks = ", ".join(map(str, self._plan.pairs))
        most = self._plan.pairs[-1]
        how = f"looks at {looks}, order by seed {self.seed}"
        return f"up to {most} pairs against {self._labels[0]} ({how})"

    def _measure(self, key: CellKey) -> CellRecord:
        if (why := self._why_skipped(key)) is not None:
            return failed_cell(key.model, key.nodes, why, workload=key.workload, skipped=True)
        if key not in self._cells:
            missing = [k for k in self.keys if k not in self._records]
            self._compare([k for k in missing if self._why_skipped(k) is None])
        cell = self._cells[key]
        record = self._record_of(cell)
        if record.verdict is not None and record.verdict.status == "INVALID":
            cell.invalid += [why for why in record.verdict.reasons if why not in cell.invalid]
        self._verdicts[key] = cell.verdict(missed_limits(record))
        return record

    def _compare(self, keys: Sequence[CellKey]) -> None:
        """Take the pairs of these cells; what is broken off from outside leaves none of them."""
        since_s = time.monotonic()
        counts = [key.nodes for key in keys]
        for side in self._sides:  # before a synthetic model is written
            needs = model_needs(side.config, keys)
            side.hosts.check(max(counts), min(counts), needs, self._progress)
        names = dict.fromkeys(key.model for key in keys)
        models = {name: self._models.of(name) for name in names}
        how = self._compared_with.requests, self._compared_with.is_calibration
        rules = Rules(self._plan, self._priors(), self.seed, self._tolerances, *how)
        duet = Duet(self._sides, models, keys, rules, self.logs, self._progress)
        try:
            duet.run()
        finally:
            self._took(since_s)
        self._cells |= {cell.key: cell for cell in duet.cells}
        self._of_sides |= {
            cell.key: [duet.sessions.picks_of(side, cell.key) for side in self._sides]
            for cell in duet.cells
        }
        self._prior_groups = max(self._prior_groups, duet.prior_groups)
        most = max((cell.pairs for cell in duet.cells), default=0)
        self.config = replace(self.config, repeats=max(most, 1), warmup=1)

    def _record_of(self, cell: PairedCell) -> CellRecord:
        """The record of the new side's sessions."""
        key, sessions = cell.key, cell.runs["new"]
        if cell.error is not None or not sessions:
            logs = assembly.relative(cell.log_files, self.config.report_folder)
            why = cell.error or "no pair was taken"
            failed = failed_cell(key.model, key.nodes, why, logs, workload=key.workload)
            return self._marked(cell, failed)
        runs = [session.run for session in sessions]
        record = self._record(key, runs, sessions[-1].workers, cell.outputs["new"])
        base, new = self._of_sides[key]
        probed = [trace.picked for session in cell.runs["base"] for trace in session.run.traces]
        self._engine_notes[key] += picks_of_sides(base, new, any(probed) and not base)
        workers = [worker for session in sessions for worker in session.workers]
        logs = assembly.logs_of(runs, workers, self.config.report_folder)
        return self._marked(cell, record.model_copy(update={"logs": logs}))

    def _picks_of(self, key: CellKey) -> Sequence[Picked]:
        """What `auto` picked for all sessions of the new side."""
        return self._of_sides[key][1]

    def _marked(self, cell: PairedCell, record: CellRecord) -> CellRecord:
        """With what was lost before a pair was taken anew."""
        lost = assembly.relative(cell.losses.log_files, self.config.report_folder)
        return cell.losses.marked(record, lost)

    def _about(self) -> Compared:
        return Compared(
            baseline=self._compared_with.baseline.text,
            base_label=self._labels[0],
            new_label=self._labels[1],
            fingerprint=self._cluster_id(),
            seed=self.seed,
            looks=self._plan.pairs,
            level=self._plan.level,
            created=self._started,
            prior_groups=self._prior_groups,
        )

    def stop(self) -> None:
        """Stop every process of the session; safe to call twice."""
        super().stop()
        base, new = self._sides
        if base.hosts is not new.hosts:
            for problem in base.hosts.close():
                self._progress.settle(problem)
