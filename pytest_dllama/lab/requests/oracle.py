"""The one-node run that outputs are compared with, and the comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_dllama.backends.base import Backend, EngineRequest, KnowsFaults
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.record.cell import OutputRecord
from pytest_dllama.validity.output import (
    compare_output,
    faulty_output,
    oracle_output,
    unchecked_output,
)


@dataclass(frozen=True, slots=True)
class Oracle:
    """The one-node run of a model and a workload, or why there is none."""

    run: RequestRun | None
    why_not: str = ""
    faulty: RequestRun | None = None  # the same work as a known fault of the engine makes it


def find_oracle(
    measured: Backend,
    request: EngineRequest,
    run_by: Callable[[Backend], RequestRun],
    *,
    must_run: bool = False,
) -> Oracle:
    """By the engine that has logits, if the measured one names one; else by itself.

    Args:
        measured: the engine whose outputs are compared.
        request: what it is asked.
        run_by: runs the request on one node by an engine.
        must_run: an engine without a reference that does not run is a failure, no missing oracle.

    Raises:
        RequestFailed: the measured engine itself gave nothing, and it must.
    """
    why_not = ""
    for engine in filter(None, (measured.reference, measured)):
        try:
            run = run_by(engine)
        except RequestFailed as error:
            why_not = f"the one-node run failed: {error}"
            if must_run and measured.reference is None:
                raise
        else:
            return Oracle(run, faulty=_faulty(measured, request, run_by))
    return Oracle(None, why_not)


def _faulty(
    measured: Backend, request: EngineRequest, run_by: Callable[[Backend], RequestRun]
) -> RequestRun | None:
    """What the measured engine's known fault makes of the request, where that can be computed."""
    engine = measured.faulty_reference(request) if isinstance(measured, KnowsFaults) else None
    try:
        return run_by(engine) if engine is not None else None
    except RequestFailed:
        return None  # then the request alone tells


def output_against(
    oracle: Oracle | None,
    run: RequestRun,
    request: EngineRequest,
    backend: Backend,
    *,
    is_alone: bool = False,
) -> OutputRecord:
    """A run's output, judged by its oracle; without one it is the oracle of others.

    Args:
        oracle: the one-node run of the same work.
        run: the run in question.
        request: what was asked.
        backend: the engine that ran it.
        is_alone: it ran on one node too: the same tokens are the oracle's own.
    """
    right = oracle.run.trace if oracle and oracle.run else None
    faults = backend if isinstance(backend, KnowsFaults) else None
    misread = faults.prompt_fault(request) if faults else None
    if misread and right is not None and _n_input(right) != _n_input(run.trace):
        return faulty_output(run.trace, misread, right)
    why = faults.output_fault(request) if faults else None
    if why and _shows_fault(oracle, run, request):
        return faulty_output(run.trace, why, right)
    if oracle is None or (is_alone and right and right.token_ids == run.trace.token_ids):
        return oracle_output(run.trace)
    if right is None:
        return unchecked_output(run.trace, f"output unchecked: {oracle.why_not}")
    return compare_output(
        right,
        run.trace,
        buffer_float_type=request.buffer_float_type,
        sync_mode=request.sync_mode,
        temperature=request.temperature,
    )


def _shows_fault(oracle: Oracle | None, run: RequestRun, request: EngineRequest) -> bool:
    """Whether an output is that of the engine's known fault: a build may have it mended.

    Where the fault's own output is at hand, it must be that, as far as rounding lets one tell. One
    that is compared with nothing but the engine's own run is taken for faulty.
    """
    right = oracle.run.trace if oracle and oracle.run else None
    if oracle is None or right is None or not right.token_ids:
        return True
    if right.text == run.trace.text:
        return False
    if oracle.faulty is None:
        return True
    told = compare_output(
        oracle.faulty.trace,
        run.trace,
        buffer_float_type=request.buffer_float_type,
        sync_mode=request.sync_mode,
        temperature=request.temperature,
    )
    first = told.first_difference
    is_open = first is not None and first.position == 0 and first.oracle_margin < first.tolerance
    return told.status != "different" or is_open


def _n_input(trace: RequestTrace) -> int:
    return trace.request.n_input_tokens
