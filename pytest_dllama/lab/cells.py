"""A cell as tests see it: its record, and the checks that fail a test with a full sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pytest_dllama.metrics.catalog import ENERGY, METRICS
from pytest_dllama.metrics.samples import cannot_be
from pytest_dllama.record.cell import CellRecord, FaultKind, ThresholdResult, Workload
from pytest_dllama.record.verdict import CellVerdict, PairStatus
from pytest_dllama.report.terminal.verdict import explained
from pytest_dllama.validity.output import explain_difference
from pytest_dllama.verdict.limits.limit import FOR_ANOTHER, TOLERANCES, Threshold, explain
from pytest_dllama.verdict.limits.scaling import ScalingLimit


@dataclass(frozen=True, slots=True)
class CellKey:
    """One model on one node count with one workload; `nodes` counts the root."""

    model: str
    nodes: int
    workload: Workload = Workload()  # noqa: RUF009 - frozen

    @property
    def id(self) -> str:
        """As in test ids and log names."""
        return f"{self.model}-{self.nodes}{self.workload.suffix}"

    @property
    def apart_from_nodes(self) -> str:
        """What cells of different node counts have in common; the same of one series."""
        return f"{self.model}{self.workload.suffix}"

    def __str__(self) -> str:
        """As its test is called, so that a line of the terminal leads to it."""
        return self.id


FAILING: tuple[PairStatus, ...] = ("REGRESSED", "INCONCLUSIVE")  # the second if it is asked for


class CheckFailed(AssertionError):
    """A check that a cell did not stand."""


class Cell:
    """One measured cell; its checks raise `CheckFailed`.

    Attributes:
        record: everything that was measured.
        cannot_give: metrics that the engine never tells, with the reason.
        comparison: how it compares with a base's; None: it is not compared.
        key: which model and node count.
    """

    def __init__(
        self,
        record: CellRecord,
        cannot_give: Mapping[str, str] | None = None,
        comparison: CellVerdict | None = None,
        *,
        inconclusive_fails: bool = False,
    ) -> None:
        self.record = record
        self.comparison = comparison
        self._failing = FAILING if inconclusive_fails else FAILING[:1]
        self._cannot_give = cannot_give or {}
        self.key = CellKey(record.model, record.nodes, record.workload)

    def why_without(self, metric: str) -> str | None:
        """Why the metric cannot exist here; None where it was measured or should have been.

        A lone root has no network and no workers, one output token has no TPOT, and an engine may
        not tell everything.
        """
        known = METRICS.get(metric)
        if self.key.nodes == 1 and known is not None and known.needs_peers:
            return f"{self.key} has no {metric}"
        if metric not in self.record.metrics and metric in self._cannot_give:
            return f"{self.key}: {metric}: {self._cannot_give[metric]}"
        if (reason := self._why_no_energy(metric)) is not None:
            return f"{self.key}: {metric}: {reason}"
        if metric not in self.record.metrics and (why := cannot_be(self.record.samples)):
            return f"{self.key}: {metric}: {why[metric]}" if metric in why else None
        return None

    def _why_no_energy(self, metric: str) -> str | None:
        """Why a machine could not tell its power; None where a limit wants it all the same."""
        energy = self.record.energy
        if metric not in ENERGY or energy is None or metric in self.record.metrics:
            return None
        if any(result.metric == metric for result in self.record.thresholds):
            return None
        reasons = (f"{', '.join(m.hosts)}: {m.why_not}" for m in energy.machines if m.why_not)
        return next(reasons, None)

    def check_metric(self, metric: str, more: Sequence[Threshold] = ()) -> None:
        """Fail unless the metric was measured and keeps every limit set for it.

        Args:
            metric: one of METRICS.
            more: limits beside the thresholds file's, as a marker gives them.
        """
        __tracebackhide__ = True
        estimate = self.record.metrics.get(metric)
        if estimate is None:
            raise CheckFailed(f"{self.key}: {metric} was not measured")
        results: list[ThresholdResult] = [t for t in self.record.thresholds if t.metric == metric]
        results += [limit.check(estimate) for limit in more if limit.metric == metric]
        missed = [f"{self.key}: {explain(result)}" for result in results if not result.passed]
        found = [*self._against_base(metric), *missed]
        if found:
            raise CheckFailed("\n".join(found))

    def _against_base(self, metric: str) -> list[str]:
        """Why the metric's test fails by the comparison."""
        found = self.comparison
        if found is None:
            return []
        verdicts = [v for v in found.metrics if metric in (v.metric, FOR_ANOTHER.get(v.metric))]
        if found.status in ("ERROR", "INVALID"):
            if not verdicts and metric not in TOLERANCES:
                return []  # a metric that nobody compares
            return [f"{self.key}: {found.status} against the base: {'; '.join(found.reasons)}"]
        failing = [verdict for verdict in verdicts if verdict.status in self._failing]
        return [f"{self.key}: {verdict.status}: {explained(verdict)}" for verdict in failing]

    def check_output(self) -> None:
        """Fail unless the output is the one-node run's, or parts from it at a near tie."""
        __tracebackhide__ = True
        output = self.record.output
        if output is None or output.status == "different":
            text = "no output" if output is None else explain_difference(output, str(self.key))
            raise CheckFailed(text)
        self._check_faults("output", "repeats")

    def check_wire(self) -> None:
        """Fail unless the bytes on the root's sockets are accounted for, and emulation was kept."""
        __tracebackhide__ = True
        self._check_faults("wire", "link", "board")

    def _check_faults(self, *kinds: FaultKind) -> None:
        __tracebackhide__ = True
        faults = self.record.verdict.faults if self.record.verdict else ()
        found = [fault.text for fault in faults if fault.kind in kinds]
        if found:
            raise CheckFailed(f"{self.key}: " + "\n".join(found))

    @property
    def trusted(self) -> bool:
        """Whether the figures may become a baseline."""
        output = self.record.output
        if output is not None and output.status == "engine_fault":
            return False
        return self.record.verdict is not None and self.record.verdict.status == "PASS"


class Scaling:
    """The cells of one model, by node count.

    Attributes:
        limits: of figures on one node count as multiples of those on another one.
    """

    def __init__(
        self, model: str, cells: Sequence[Cell], limits: Sequence[ScalingLimit] = ()
    ) -> None:
        self.model = model
        self.limits = tuple(limits)
        self.cells = tuple(sorted(cells, key=lambda cell: cell.key.nodes))

    def check_weights_shrink(self) -> None:
        """Fail unless the largest share of the weights falls as nodes are added."""
        __tracebackhide__ = True
        shares = [(cell.key.nodes, _largest_weights(cell.record)) for cell in self.cells]
        known = [(nodes, size) for nodes, size in shares if size is not None]
        for (fewer, before), (more, after) in pairwise(known):
            if after >= before:
                raise CheckFailed(
                    f"{self.model}: the largest rank holds {after} bytes of weights on {more} "
                    f"nodes and {before} on {fewer}; more nodes should need less each"
                )

    def check_limits(self) -> None:
        """Fail unless every limit between node counts is kept."""
        __tracebackhide__ = True
        missed = []
        for limit in self.limits:
            estimates = {c.key.nodes: c.record.metrics.get(limit.metric) for c in self.cells}
            why = limit.missed({n: found.value for n, found in estimates.items() if found})
            missed += [f"{self.model}: {why}"] if why else []
        if missed:
            raise CheckFailed("\n".join(missed))

    def check_same_request(self) -> None:
        """Fail unless every node count did the same work: same prompt, as many output tokens."""
        __tracebackhide__ = True
        work = {
            cell.key.nodes: (sample.n_input_tokens, sample.n_output_tokens)
            for cell in self.cells
            for sample in cell.record.samples
        }
        if len(set(work.values())) > 1:
            raise CheckFailed(f"{self.model}: (input, output) tokens differ by node count: {work}")


def _largest_weights(record: CellRecord) -> int | None:
    sizes = [rank.weight_bytes for rank in record.ranks if rank.weight_bytes is not None]
    return max(sizes, default=None)
