"""The request that a root is given for a cell, and the check that it ran just that."""

from __future__ import annotations

from pytest_dllama.backends.base import Backend, EngineRequest, KnowsFaults
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.events.trace import RequestTrace
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.models.model_files import ModelUnderTest
from pytest_dllama.models.workloads import configured
from pytest_dllama.record.cell import Workload


def engine_request(
    config: LabConfig, model: ModelUnderTest, workload: Workload | None = None
) -> EngineRequest:
    """What a root is asked to run with these options.

    Args:
        config: what the user asked for, the same for all cells.
        model: the cell's.
        workload: the cell's; what it says stands in place of the options.

    Raises:
        ConfigError: a request that the model's context cannot hold.
    """
    workload = workload or Workload()
    own = configured(config, workload)
    size = model.request_size(own, workload)
    return EngineRequest(
        model_file=model.model_file,
        tokenizer_file=model.tokenizer_file,
        prompt=size.prompt,
        steps=size.steps,
        nthreads=own.nthreads,
        buffer_float_type=own.buffer_float_type,
        sync_mode=own.sync_mode,
        temperature=own.temperature,
        seed=own.seed,
        timeout_s=own.request_timeout_s,
        max_seq_len=size.max_seq_len,
        kv_type=own.kv_type,
        context_depth=size.context_depth,
        collective=own.collective,
        overlap=own.overlap,
    )


def check_work(
    trace: RequestTrace, workload: Workload, request: EngineRequest, engine: Backend
) -> None:
    """A prompt of an exact length is that long for the engine too, or the cell has no figures.

    Args:
        trace: of the request.
        workload: with the prompt's length, if that was asked for.
        request: what was asked.
        engine: that ran it; one that is known to misread such prompts says why.

    Raises:
        RequestFailed: the engine counts otherwise.
    """
    asked, found = workload.prompt_tokens, trace.request.n_input_tokens
    if asked is None or found == asked:
        return
    known = engine.prompt_fault(request) if isinstance(engine, KnowsFaults) else None
    why = known or "its tokenizer is not the one of the .t file"
    raise RequestFailed(
        f"the engine made {found} tokens of the prompt of {asked}; {why}; the figures would be of "
        "other work",
        "OtherWork",
    )
