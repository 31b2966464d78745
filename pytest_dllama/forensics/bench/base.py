"""What a result file of another benchmark tells: cells of requests, by our definitions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_dllama.metrics import definitions
from pytest_dllama.record.cell import Sample, Workload

Document = dict[str, Any]


class BenchFileError(ValueError):
    """A file of another form; the message says which are read."""


@dataclass(slots=True)
class BenchCell:
    """The requests of one workload of one model."""

    model: str
    workload: Workload = field(default_factory=Workload)
    samples: list[Sample] = field(default_factory=list)
    settings: dict[str, str] = field(default_factory=dict)  # what else may differ between cells


@dataclass(slots=True)
class BenchFile:
    """What a file tells."""

    tool: str
    cells: list[BenchCell] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def only_middle(model: str, is_median: bool, n: float | None) -> str:
    """The note of a file that keeps no requests."""
    requests = f"{n:.0f}" if n else "all"
    if is_median:
        return (
            f"{model}: Only medians over {requests} requests are in the file: spread and "
            "percentiles are not known."
        )
    return (
        f"{model}: Only means over {requests} requests are in the file: spread and percentiles are "
        "not known."
    )


def left_out(model: str, lost: int, total: int) -> str:
    """The note of requests that came to nothing."""
    return f"{model}: {lost} of {total} requests failed and are left out."


def told_apart(cells: Sequence[BenchCell]) -> list[BenchCell]:
    """Cells of one model and workload get the settings in which they differ into their workload.

    >>> one = [BenchCell("m", settings={"threads": str(n), "ubatch": "512"}) for n in (1, 4)]
    >>> [cell.workload.suffix for cell in told_apart(one)]
    ['-threads1', '-threads4']
    """
    groups: dict[tuple[str, Workload], list[BenchCell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.workload), []).append(cell)
    found = []
    for cell in cells:
        group = groups[cell.model, cell.workload]
        differing = {
            name: value
            for name, value in cell.settings.items()
            if len({other.settings.get(name) for other in group}) > 1
        }
        options = tuple((name, _word(value)) for name, value in differing.items())
        found.append(replace(cell, workload=cell.workload.model_copy(update={"options": options})))
    return found


def _word(value: str) -> str:
    return "_".join(value.replace("/", " ").split()) or "-"


def request(
    *, n_input: Any, n_output: Any, ttft_s: Any, rct_s: Any, itl_s: Sequence[float] = ()
) -> Sample | None:
    """One request by our definitions; None where its times or tokens are not known."""
    tokens, ttft, rct = positive(n_output), positive(ttft_s), positive(rct_s)
    if tokens is None or rct is None:
        return None
    n = int(tokens)
    tpot_ms = None if ttft is None else definitions.tpot_ms(rct, ttft, n)
    return _sample(n_input, n, ttft, tpot_ms, rct, tuple(1e3 * gap for gap in itl_s))


def summary(*, n_input: Any, n_output: Any, ttft_s: Any, tpot_ms: Any, rct_s: Any) -> Sample | None:
    """Medians over requests as one request; what is missing is computed where the others tell it.

    None where no time at all is known.
    """
    ttft, tpot, rct = positive(ttft_s), positive(tpot_ms), positive(rct_s)
    n = round(positive(n_output) or 0)
    if rct is None and ttft is not None and n and (tpot is not None or n == 1):
        rct = ttft + (tpot or 0.0) / 1e3 * (n - 1)
    if tpot is None and rct is not None and ttft is not None:
        tpot = definitions.tpot_ms(rct, ttft, n)
    if ttft is None and tpot is None and rct is None:
        return None
    return _sample(n_input, n, ttft, tpot, rct, ())


def _sample(
    n_input: Any, n: int, ttft: float | None, tpot: float | None, rct: float | None,
    itl_ms: tuple[float, ...],
) -> Sample:  # fmt: skip
    inputs = positive(n_input)
    return Sample(
        n_input_tokens=None if inputs is None else round(inputs),
        n_output_tokens=n,
        ttft_s=ttft,
        tpot_ms=tpot,
        rct_s=rct,
        tokens_per_s=n / rct if n and rct else None,
        prefill_tokens=0,
        prefill_s=None,
        decode_tokens=0,
        decode_s=None,
        itl_ms=itl_ms,
    )


def positive(value: Any) -> float | None:
    """A finite number above 0; anything else is no figure."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def scaled(value: Any, by: float) -> float | None:
    """A figure in another unit."""
    number = positive(value)
    return None if number is None else number * by


def within(holder: Any, *path: str) -> Any:
    """What stands at this path of keys; None where it ends early.

    >>> within({"a": {"b": 1}}, "a", "b"), within({"a": [1]}, "a", "b")
    (1, None)
    """
    for key in path:
        holder = holder.get(key) if isinstance(holder, dict) else None
    return holder
