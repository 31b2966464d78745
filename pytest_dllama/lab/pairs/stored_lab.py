"""A session against a stored run: measured as ever, each cell compared with the stored one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.config.baseline import Baseline
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.accepted import latest, stored
from pytest_dllama.history.keeping import history_folder
from pytest_dllama.history.run_files import RunFileError, read_run
from pytest_dllama.history.series import (
    WORK,
    SeriesKey,
    is_sound,
    not_slowed,
    series_of,
    work_digest,
    work_of,
)
from pytest_dllama.history.store import RunStore
from pytest_dllama.hosts.base import Progress
from pytest_dllama.lab import assembly
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.pairs.comparing import ComparingLab, missed_limits
from pytest_dllama.lab.pairs.verdict_file import Compared
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import (
    CellVerdict,
    MetricVerdict,
    PairStatus,
    label_of,
    worst,
)
from pytest_dllama.verdict.limits.thresholds import Thresholds
from pytest_dllama.verdict.stored import LEVEL, StoredSide, judge_stored


class StoredLab(ComparingLab):
    """Figures of now against figures of another time: weaker than pairs, and it says so.

    Args:
        config: what the user asked for.
        keys: the cells this session will read.
        thresholds: limits to judge by, and tolerances.
        engines: what is measured, and where.
        progress: where to tell how far it is.

    Raises:
        ConfigError: no such run, or one of other machines, of another request or of other cells.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        engines: Engines,
        progress: Progress,
    ) -> None:
        assert config.comparison is not None
        baseline = config.comparison.baseline
        labels = (baseline.text, assembly.engine_label(config))
        super().__init__(config, keys, thresholds, engines, progress, labels)
        self._stored = self._load(baseline)
        stored = f"{baseline.text} of {self._stored.created_utc}"
        self._labels = (
            label_of(stored, self._stored.request.inject),
            label_of(labels[1], config.inject),
        )
        self._check(baseline)
        self._base_cells = {cell.id: cell for cell in self._stored.cells}
        if not any(key.id in self._base_cells for key in keys):
            wanted, has = ", ".join(key.id for key in keys), ", ".join(self._base_cells) or "none"
            raise ConfigError(
                f"--baseline {baseline.text}: it has no cell of this run ({wanted}); it has {has}"
            )

    def _load(self, baseline: Baseline) -> RunRecord:
        if baseline.kind == "run":
            try:
                return read_run(Path(baseline.path))
            except RunFileError as error:
                raise ConfigError(f"--baseline {baseline.text}: {error}") from None
        store = RunStore(history_folder(self.config), self._cluster_id())
        entry = latest(store, "accepted", self.config.engine)
        found = stored(store, "accepted", self.config.engine)
        if entry is not None and entry.baseline:
            self._progress.settle(
                f"the accepted run can be measured again: --baseline {entry.baseline} takes pairs, "
                "which are surer"
            )
        if found is None:
            raise ConfigError(
                f"--baseline accepted: no run of the engine {self.config.engine} was accepted on "
                f"this cluster ({self._cluster_id()}); `pytest-dllama baseline accept` accepts one"
            )
        return found.run

    def _check(self, baseline: Baseline) -> None:
        """Other machines or another request: nothing could be compared."""
        mine, theirs = self._cluster_id(), self._stored.fingerprint
        if mine != theirs:
            raise ConfigError(
                f"--baseline {baseline.text}: it was measured on {theirs or 'unknown machines'}, "
                f"and these are {mine}: figures of other machines are not comparable"
            )
        asked = assembly.request_record(
            self.config, self._engines.backend.name, self._hosts.kind, None
        )
        other = [
            f"{name} is {getattr(self._stored.request, name)!r} there and {getattr(asked, name)!r} "
            "here"
            for name in WORK
            if (name != "seed" or asked.temperature)  # the best token is taken: nothing is drawn
            and getattr(self._stored.request, name) != getattr(asked, name)
        ]
        if other:
            raise ConfigError(
                f"--baseline {baseline.text}: it did other work: {'; '.join(other)}; give the same "
                "options"
            )

    @property
    def how_often(self) -> str:
        """How often each cell is measured, in words."""
        return f"{super().how_often} against the stored run {self._labels[0]}"

    def _measure(self, key: CellKey) -> CellRecord:
        since_s = time.monotonic()
        record = super()._measure(key)
        if record.status != "skipped":
            self._verdicts[key] = self._judge(key, record)
        self._took(since_s)
        return record

    def _judge(self, key: CellKey, record: CellRecord) -> CellVerdict:
        base = self._base_cells.get(key.id)
        metrics: tuple[MetricVerdict, ...] = ()
        status: PairStatus
        if record.error is not None:
            status, reasons = "ERROR", [record.error]
        elif base is None or (wrong := self._incomparable(base, record)):
            has = ", ".join(self._base_cells) or "none"
            missing = [f"the stored run has no cell {key.id}; it has {has}"]
            status, reasons = "INVALID", missing if base is None else wrong
        else:
            nights, tolerances = self._nights(key), self._tolerances(key)
            priors = self._priors()
            known = {m: priors.prior(m) if priors else None for m in tolerances}
            metrics = judge_stored(StoredSide(base, nights), record, tolerances, known)
            reasons = missed_limits(record)
            fixed: list[PairStatus] = ["FAIL"] if reasons else []
            status = worst([*(verdict.status for verdict in metrics), *fixed])
            if not metrics:
                status, reasons = "INVALID", ["no metric has two sessions on both sides"]
        return CellVerdict(
            model=key.model,
            nodes=key.nodes,
            workload=key.workload,
            status=status,
            reasons=tuple(reasons),
            metrics=metrics,
            same_tokens=_same_tokens(base, record),
        )

    def _incomparable(self, base: CellRecord, new: CellRecord) -> list[str]:
        """Why the two cells cannot be compared; empty where they can."""
        if unsound := _unsound("stored", base) or _unsound("new", new):
            return unsound
        other = self._other_work(base, new)
        return [f"the stored run did other work: {'; '.join(other)}"] if other else []

    def _other_work(self, base: CellRecord, new: CellRecord) -> list[str]:
        """In what the two cells' work differs: the request, the model's bytes, the tokens."""
        runs = self._stored, self.run_record()
        theirs, mine = (work_of(run, new.model) for run in runs)
        other = [
            f"{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here"
            for name in dict.fromkeys([*theirs, *mine])
            if theirs.get(name) != mine.get(name)
        ]
        digests = [_digest_of(run, new.model) for run in runs]
        if None not in digests and digests[0] != digests[1]:
            other.append(
                f"the bytes of {new.model}'s file are others (digest {digests[0]} there and "
                f"{digests[1]} here)"
            )
        tokens = {(s.n_input_tokens, s.n_output_tokens) for c in (base, new) for s in c.samples}
        if len(tokens) > 1:
            other.append(f"tokens in and out differ: {sorted(tokens, key=str)}")
        return other

    def _nights(self, key: CellKey) -> dict[str, list[float]]:
        """The medians of the same work in the history, metric by metric."""
        if not self.config.keeps_history:
            return {}
        store = RunStore(history_folder(self.config), self._cluster_id())
        work = work_digest(self.run_record(), key.model)
        metrics = tuple(self._tolerances(key))
        series = series_of(not_slowed(store.runs()), metrics)
        found = {m: series.get(SeriesKey(key.id, m, work), ()) for m in metrics}
        return {metric: [point.value for point in points] for metric, points in found.items()}

    def _about(self) -> Compared:
        return Compared(
            baseline=self._compared_with.baseline.text,
            base_label=self._labels[0],
            new_label=self._labels[1],
            fingerprint=self._cluster_id(),
            seed=0,
            looks=(),
            level=LEVEL,
            created=self._started,
        )


def _unsound(which: str, cell: CellRecord) -> list[str]:
    """Why a cell's figures are no reference and cannot be held against one."""
    if not is_sound(cell):
        reasons = cell.verdict.reasons if cell.verdict else ()
        return [f"the {which} cell is not sound: {'; '.join(reasons) or cell.error}"]
    if cell.output is not None and cell.output.status == "engine_fault":
        return [f"the {which} cell shows a fault of its engine, which is no reference"]
    return []


def _digest_of(run: RunRecord, model: str) -> str | None:
    """Of the model's file; None of a run that does not tell."""
    return next((record.digest for record in run.models if record.name == model), None)


def _same_tokens(base: CellRecord | None, new: CellRecord) -> bool | None:
    if base is None or base.output is None or new.output is None:
        return None
    return base.output.token_ids == new.output.token_ids
