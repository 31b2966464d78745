"""Energy of single requests on single machines -> what a cell took; starts nothing.

Sums over machines are told only where each of them is known.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_dllama.metrics.energy import Window, per_token_j
from pytest_dllama.record.cell import Sample
from pytest_dllama.record.energy import EnergyRecord, MachineEnergy


@dataclass(frozen=True, slots=True)
class Taken:
    """Energy of one request on one machine, in J; None: not known, and why."""

    request_j: float | None = None
    decode_j: float | None = None
    why_not: str | None = None


def stamped(sample: Sample, last_token_s: float | None) -> Sample:
    """With the time at which it began, by that at which its last token came; None: unknown."""
    if last_token_s is None or sample.rct_s is None:
        return sample
    return sample.model_copy(update={"start_epoch_s": last_token_s - sample.rct_s})


def window_of(sample: Sample) -> Window | None:
    """When a request was; None where that is not known."""
    start_s = sample.start_epoch_s
    if start_s is None or sample.rct_s is None:
        return None
    first_s = start_s + sample.ttft_s if sample.ttft_s is not None else None
    return Window(start_s, first_s, start_s + sample.rct_s)


def filled(sample: Sample, takes: Sequence[Taken]) -> Sample:
    """With the sums over all machines, where each of them is known."""
    return sample.model_copy(
        update={
            "request_j": _sum([taken.request_j for taken in takes]),
            "decode_j": _sum([taken.decode_j for taken in takes]),
        }
    )


def machine_energy(
    hosts: tuple[str, ...],
    ranks: tuple[int, ...],
    takes: Sequence[Taken],
    samples: Sequence[Sample],
    windows: Sequence[Window | None],
) -> MachineEnergy:
    """What one machine took: medians over the repeats that are known."""
    tokens = [
        per_token_j(taken.decode_j, sample.n_output_tokens)
        for taken, sample in zip(takes, samples, strict=True)
    ]
    return MachineEnergy(
        hosts=hosts,
        ranks=ranks,
        request_j=_median([taken.request_j for taken in takes]),
        j_per_token=_median(tokens),
        mean_w=_median(_powers([taken.request_j for taken in takes], windows)),
        why_not=next((taken.why_not for taken in takes if taken.why_not), None),
    )


def together(
    parts: tuple[MachineEnergy, ...],
    idle: Sequence[float | None],
    samples: Sequence[Sample],
    windows: Sequence[Window | None],
) -> EnergyRecord:
    """All machines of a cell; what lies above idle is what the request itself added."""
    idle_w = _sum(idle)
    return EnergyRecord(
        machines=parts,
        mean_w=_median(_powers([sample.request_j for sample in samples], windows)),
        idle_w=idle_w,
        j_per_token_above_idle=_median([_token_above(sample, idle_w) for sample in samples]),
        request_j_above_idle=_median([_request_above(sample, idle_w) for sample in samples]),
    )


def _powers(joules: Sequence[float | None], windows: Sequence[Window | None]) -> list[float | None]:
    return [
        energy_j / (window.end_s - window.start_s) if window and energy_j is not None else None
        for energy_j, window in zip(joules, windows, strict=True)
    ]


def _token_above(sample: Sample, idle_w: float | None) -> float | None:
    whole_j = per_token_j(sample.decode_j, sample.n_output_tokens)
    if whole_j is None or idle_w is None or sample.tpot_ms is None:
        return None
    return whole_j - idle_w * sample.tpot_ms / 1e3


def _request_above(sample: Sample, idle_w: float | None) -> float | None:
    if sample.request_j is None or idle_w is None or sample.rct_s is None:
        return None
    return sample.request_j - idle_w * sample.rct_s


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
