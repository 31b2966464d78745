"""Python between two tokens: all nodes wait meanwhile, and it is cold in the cache each time."""

from __future__ import annotations

import sys
from collections import Counter
from types import FrameType

from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path, tokenizer_path
from dllama_engine.formats.vocab import read_vocab
from dllama_engine.generation.generate import decode
from dllama_engine.generation.sampler import Sampler
from dllama_engine.sharding.plan import make_plan
from dllama_engine.telemetry.observer import Observer
from dllama_engine.text.tokenizer import Tokenizer

STEPS = 10


def calls_a_token(*, spans: bool) -> Counter[str]:
    """Python functions and built-in ones that the root calls for a token, by their names."""
    found: Counter[str] = Counter()

    def seen(frame: FrameType, event: str, argument: object) -> None:
        if event == "call":
            found[frame.f_code.co_qualname] += 1
        elif event == "c_call":
            found[getattr(argument, "__qualname__", str(argument))] += 1

    path = model_path("tiny")
    with ModelFile.open(path) as model:
        root = Root(model, make_plan(model.config, 1), RootOptions(spans=spans), Observer())
        root.connect()
        root.load()
        tokenizer = Tokenizer(read_vocab(tokenizer_path(None, path)), model.config.vocab_size)
        sampler = Sampler(model.config.vocab_size, 0.0, 0.9, 1)
        steps = decode(root, 1, 0, STEPS + 2, sampler, tokenizer.stream_decoder())
        next(steps)  # of the prompt's phase
        next(steps)
        sys.setprofile(seen)
        try:
            for _ in range(STEPS):
                next(steps)
        finally:
            sys.setprofile(None)
        root.close()
    return Counter({name: n // STEPS for name, n in found.items() if n >= STEPS})


def test_a_token_costs_the_root_few_calls() -> None:
    calls = calls_a_token(spans=True)
    assert calls.total() <= 72, calls.most_common()


def test_observing_adds_few_of_them() -> None:
    more = calls_a_token(spans=True) - calls_a_token(spans=False)
    assert more.total() <= 5, more
