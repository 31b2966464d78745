"""What is known of a cell so far: its pairs, what speaks against them, and the verdict on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.pairs.sessions import Session
from pytest_dllama.lab.pairs.side import NAMES, Name
from pytest_dllama.lab.requests.losses import Losses
from pytest_dllama.metrics.catalog import METRICS, cell_metrics
from pytest_dllama.metrics.samples import sample_of, session_sample
from pytest_dllama.record.cell import OutputRecord, Sample
from pytest_dllama.record.verdict import (
    CellVerdict,
    ExactChange,
    MetricVerdict,
    Prospect,
    SideSession,
    worst,
)
from pytest_dllama.validity.faults import faults

EXACT = tuple(name for name, metric in METRICS.items() if metric.better == "exact")


@dataclass(frozen=True, slots=True)
class PairTaken:
    """One measured pair, for whoever keeps every single one."""

    key: CellKey
    sessions: tuple[SideSession, SideSession]  # in the order they ran
    samples: Mapping[Name, Sample]
    invalid: tuple[str, ...]  # why the cell is not to be believed, this pair included


@dataclass(slots=True)
class PairedCell:
    """One cell; `sessions`, `samples` and `runs` of a side stand in the order of the pairs."""

    key: CellKey
    judged: tuple[str, ...]  # metrics
    sessions: list[SideSession] = field(default_factory=list)
    samples: dict[Name, list[Sample]] = field(default_factory=lambda: {"base": [], "new": []})
    runs: dict[Name, list[Session]] = field(default_factory=lambda: {"base": [], "new": []})
    outputs: dict[Name, OutputRecord] = field(default_factory=dict)  # the latest, or a wrong one
    verdicts: tuple[MetricVerdict, ...] = ()
    invalid: list[str] = field(default_factory=list)
    error: str | None = None
    is_disturbed: bool = False  # the machine is busier than the prior's, at the latest look
    pairs_s: float = 0.0  # what the pairs took, starts included
    log_files: tuple[Path, ...] = ()  # of what broke off
    work: set[tuple[int | None, int]] = field(default_factory=set)  # tokens in, tokens out
    requests: int = 1  # of a session
    prospects: tuple[Prospect, ...] = ()  # that these were chosen from
    further_s: float | None = None  # one more request of one side
    losses: Losses = field(default_factory=lambda: Losses(0))  # pairs that were taken anew

    @property
    def is_decided(self) -> bool:
        """Whether more pairs would change nothing."""
        return (
            self.error is not None
            or bool(self.invalid)
            or (bool(self.verdicts) and all(v.status != "INCONCLUSIVE" for v in self.verdicts))
        )

    @property
    def pairs(self) -> int:
        """Whole pairs that were taken."""
        return min(len(self.runs[name]) for name in NAMES)

    def paired(self, metric: str, requests: int | None = None) -> tuple[list[float], list[float]]:
        """Values of base and new, one a pair that has both, in the order of the pairs.

        Args:
            metric: which.
            requests: only so many of each session's first; None: all of them.
        """
        found: dict[int, dict[str, float]] = {}
        for session in self.sessions:
            if (value := session.value(metric, requests)) is not None:
                found.setdefault(session.pair, {})[session.side] = value
        whole = [both for _, both in sorted(found.items()) if len(both) == len(NAMES)]
        return [both["base"] for both in whole], [both["new"] for both in whole]

    def note(
        self, side: Name, session: Session, outputs: Sequence[OutputRecord], *, is_first: bool
    ) -> None:
        """Take a session in: its figures, its work, and what speaks against it.

        Args:
            side: whose it is.
            session: with one trace a request.
            outputs: of each request, against the oracle.
            is_first: whether it was the pair's first.
        """
        traces = session.run.traces
        samples = [sample_of(trace) for trace in traces]
        pair = len(self.runs[side]) + 1
        self.runs[side].append(session)
        self.samples[side].append(session_sample(traces))
        self.work |= {(sample.n_input_tokens, sample.n_output_tokens) for sample in samples}
        wrong = [output for output in outputs if output.status == "different"]
        if side not in self.outputs or self.outputs[side].status != "different":
            self.outputs[side] = (*wrong, *outputs)[0]
        figures = [self._figures([t], [s]) for t, s in zip(traces, samples, strict=True)]
        self.sessions.append(
            SideSession(
                pair=pair,
                side=side,
                is_first=is_first,
                metrics=self._figures(traces, samples),
                requests=tuple(figures) if len(figures) > 1 else (),
            )
        )
        found = faults(traces, self.outputs[side] if wrong else outputs[0])
        self.invalid += [f"{side}, pair {pair}: {fault.text}" for fault in found]

    def _figures(
        self, traces: Sequence[RequestTrace], samples: Sequence[Sample]
    ) -> dict[str, float | None]:
        """Of the metrics that are compared, the median over these requests."""
        found = cell_metrics(traces, samples)
        return {name: found[name].value for name in (*self.judged, *EXACT) if name in found}

    def latest(self) -> PairTaken:
        """The pair that was taken last."""
        first, second = self.sessions[-2:]
        samples = {name: self.samples[name][-1] for name in NAMES}
        return PairTaken(self.key, (first, second), samples, tuple(self.invalid))

    def compare_work(self) -> None:
        """Both sides must have done the same, and show the same fault of the engine if any."""
        if len(self.work) > 1:
            listed = sorted(self.work, key=lambda item: (item[0] or 0, item[1]))
            self.invalid.append(f"the sides did different work: {listed} tokens in, out")
        self.invalid += _fault_of_one_side(self.outputs)

    def verdict(self, missed: Sequence[str] = ()) -> CellVerdict:
        """The cell's verdict.

        Args:
            missed: a sentence for each fixed limit that the new side misses.
        """
        if self.error is not None:
            status, reasons = "ERROR", [self.error]
        elif self.invalid:
            status, reasons = "INVALID", list(dict.fromkeys(self.invalid))
        else:
            fixed = ["FAIL"] if missed else []
            status = worst([*(verdict.status for verdict in self.verdicts), *fixed])  # type: ignore[list-item]
            reasons = list(missed)
        return CellVerdict.model_validate(
            {
                "model": self.key.model,
                "nodes": self.key.nodes,
                "workload": self.key.workload,
                "status": status,
                "reasons": reasons,
                "metrics": self.verdicts,
                "exact_changes": tuple(self._exact_changes()),
                "same_tokens": self._same_tokens(),
                "sessions": self.sessions,
                "pairs_s": self.pairs_s or None,
                "requests": self.requests,
                "further_s": self.further_s,
                "prospects": self.prospects,
                "retried": "; ".join(self.losses.reasons) or None,
            }
        )

    def _exact_changes(self) -> list[ExactChange]:
        """Of the latest pair: one sample tells an exact figure."""
        found = []
        for metric in EXACT:
            base, new = self.paired(metric)
            if base and base[-1] != new[-1]:
                found.append(ExactChange(metric=metric, base=base[-1], new=new[-1]))
        return found

    def _same_tokens(self) -> bool | None:
        if any(name not in self.outputs for name in NAMES):
            return None
        return self.outputs["base"].token_ids == self.outputs["new"].token_ids


def _fault_of_one_side(outputs: dict[Name, OutputRecord]) -> list[str]:
    """A known fault of an engine must be on both sides, with the same tokens, to be passed over."""
    notes = {
        name: output.note for name, output in outputs.items() if output.status == "engine_fault"
    }
    if not notes or len(outputs) < len(NAMES):
        return []
    if len(notes) == 1:
        ((name, note),) = notes.items()
        return [f"only {name} shows a fault of its engine, so the work differs: {note}"]
    if notes["base"] != notes["new"]:
        return [
            f"the sides show different faults of their engines: base: {notes['base']}; "
            f"new: {notes['new']}"
        ]
    if outputs["base"].token_ids != outputs["new"].token_ids:
        return [f"both sides show a fault of the engine, and with other tokens: {notes['new']}"]
    return []
