"""Greedy tokens in a row: what compiled code tells of them, and where Python goes on."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dllama_engine.cluster.greedy import MOST_STEPS
from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.errors import ModelFileError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path, tokenizer_path
from dllama_engine.formats.vocab import read_vocab
from dllama_engine.generation.generate import decode
from dllama_engine.generation.sampler import Sampler
from dllama_engine.generation.steps import Step
from dllama_engine.sharding.plan import make_plan
from dllama_engine.telemetry.observer import Observer
from dllama_engine.text.tokenizer import Tokenizer
from tests.engine.processes import inference_arguments, read_events, run, start, start_worker

FIRST = 1  # the token that all begins with


@contextmanager
def loaded(path: Path, options: RootOptions = RootOptions()) -> Iterator[Root]:  # noqa: B008  frozen
    """A root alone."""
    with ModelFile.open(path) as model:
        root = Root(model, make_plan(model.config, 1), options, Observer())
        try:
            root.connect()
            root.load()
            yield root
        finally:
            root.close()


def decoded(root: Root, n_steps: int, *, in_a_row: bool) -> Iterator[Step]:
    vocab = read_vocab(tokenizer_path(None, model_path("tiny")))
    vocab_size = root.model.config.vocab_size
    decoder = Tokenizer(vocab, vocab_size).stream_decoder()
    sampler = Sampler(vocab_size, 0.0, 0.9, 1)
    return decode(root, FIRST, 0, n_steps, sampler, decoder, in_a_row=in_a_row)


def told(step: Step) -> tuple[object, ...]:
    """All of a step but its times."""
    return step.index, step.pos, step.token_id, step.piece, step.top, step.cost.links.sent_bytes


@pytest.mark.parametrize("n_steps", [1, 2, 3, MOST_STEPS, MOST_STEPS + 1, MOST_STEPS + 2])
def test_a_root_alone_tells_the_same_tokens(n_steps: int) -> None:
    with loaded(model_path("tiny")) as root:
        one_by_one, in_a_row = (list(decoded(root, n_steps, in_a_row=way)) for way in (False, True))
        ranks = root.finish()
    assert [told(step) for step in in_a_row] == [told(step) for step in one_by_one]
    assert len(in_a_row) == n_steps
    for before, after in pairwise(in_a_row):
        assert before.cost.start_ns < before.cost.end_ns < before.end_ns <= after.cost.start_ns
    assert sum(phase.steps for phase in ranks[0].spans) == 2 * n_steps


def test_the_end_of_the_context_ends_the_row_whatever_is_asked_for() -> None:
    with loaded(model_path("tiny"), RootOptions(max_seq_len=9)) as root:
        list(decoded(root, 2, in_a_row=False))
        tokens = list(root.decode_greedily(FIRST, 2, 100))
    assert len(tokens) == 9 - 2


def test_steps_of_both_ways_move_the_same_bytes(tmp_path: Path) -> None:
    """A traced request goes on in Python."""
    with ExitStack() as stack:
        workers = [start_worker(tmp_path, f"worker{rank}") for rank in (1, 2)]
        for worker in workers:
            stack.callback(worker.stop, signal.SIGKILL)
        both = []
        for name, flags in (("row", {}), ("single", {"trace": tmp_path / "trace.json"})):
            path = tmp_path / f"{name}.jsonl"
            done = run(*inference_arguments(workers, steps=20, events=path, **flags))
            assert done.returncode == 0, done.stderr
            both.append([_comparable(event) for event in read_events(path)])
    in_a_row, one_by_one = ([event for event in events if event] for events in both)
    assert in_a_row == one_by_one
    assert [event["phase"] for event in in_a_row if "phase" in event].count("decode") > 10


def _comparable(event: dict[str, Any]) -> dict[str, Any]:
    """What of a step, and of how many there were, must not depend on the way."""
    links = [{k: v for k, v in link.items() if k != "busy_us"} for link in event.get("links", ())]
    if event["event"] == "step":
        names = ("phase", "index", "pos", "token_id", "piece", "top", "expected_payload_bytes")
        counts = {op: len(times) for op, times in event["sync_durations_us"].items()}
        return {name: event[name] for name in names} | {"links": links, "counts": counts}
    if event["event"] == "rank":
        steps = {spans["phase"]: spans["steps"] for spans in event["spans"]}
        return {"rank": event["rank"], "steps": steps}
    return {}


def damaged(tmp_path: Path, token_id: int) -> Path:
    """The model with an embedding that is not finite."""
    path = tmp_path / "damaged.m"
    shutil.copyfile(model_path("tiny"), path)
    with ModelFile.open(path) as model:
        spec = model.specs[0]
        row_bytes = spec.nbytes // model.config.vocab_size
        at = spec.offset + token_id * row_bytes
    with path.open("r+b") as file:
        file.seek(at)
        file.write(np.float32(np.nan).tobytes())
    return path


def fails(root: Root, n_steps: int, *, in_a_row: bool) -> tuple[list[tuple[object, ...]], str]:
    """What is told before the error, and the error."""
    steps = []
    try:
        for step in decoded(root, n_steps, in_a_row=in_a_row):
            steps.append(told(step))
    except ModelFileError as error:
        return steps, str(error)
    pytest.fail("nothing was wrong")


def test_an_embedding_that_is_not_finite_is_told_of_when_it_is_its_turn(tmp_path: Path) -> None:
    with loaded(model_path("tiny")) as root:
        ids = [FIRST, *(step.token_id for step in decoded(root, 30, in_a_row=False))]
    turn = max(ids.index(token_id) for token_id in ids[:-1])  # the last to come for the first time
    assert turn > 2
    path = damaged(tmp_path, ids[turn] or 0)
    both = []
    for way in (True, False):
        with loaded(path) as root:
            both.append(fails(root, 30, in_a_row=way))
    assert both[0] == both[1]
    steps, error = both[0]
    assert len(steps) == turn
    assert f"the row of token {ids[turn]} holds a value that is not finite" in error


def test_a_file_that_is_cut_while_it_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "cut.m"
    shutil.copyfile(model_path("tiny"), path)
    with loaded(path) as root:
        steps = decoded(root, 30, in_a_row=True)
        first = next(steps)
        with path.open("r+b") as file:
            file.truncate(root.model.specs[0].offset)
        with pytest.raises(ModelFileError, match=f"token {first.token_id} could be read; the file"):
            next(steps)


@pytest.mark.parametrize("ends", ["worker", "root"])
def test_what_was_decoded_before_the_end_is_told(tmp_path: Path, ends: str) -> None:
    """A worker is killed, or Ctrl-C: tokens that were in hand are not lost."""
    with ExitStack() as stack:
        worker = start_worker(tmp_path, "worker")
        stack.callback(worker.stop, signal.SIGKILL)
        slow = inference_arguments([worker], steps=60, memory_rate="1MB/s")
        root = start(tmp_path, "root", *slow)
        stack.callback(root.stop, signal.SIGKILL)
        root.wait_event("step", 3)
        if ends == "worker":
            worker.stop(signal.SIGKILL)
            assert root.wait() == 1
            (error,) = root.events("error")
            assert error["rank"] == 1
        else:
            assert root.stop(signal.SIGINT) == 130
        steps = [event for event in root.events("step") if event["phase"] == "decode"]
    assert [step["index"] for step in steps] == list(range(len(steps)))
    assert 2 < len(steps) < 60
