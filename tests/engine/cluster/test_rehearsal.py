"""What runs before a request, so that the request is not the first to touch anything."""

from __future__ import annotations

import pytest

from dllama_engine.cluster.options import RootOptions
from dllama_engine.cluster.root import Root
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.paths import model_path
from dllama_engine.sharding.plan import make_plan
from dllama_engine.telemetry.observer import Observer
from dllama_engine.transformer.transformer import Transformer


@pytest.mark.parametrize(("batch_size", "batch"), [(32, 2), (1, 1)])
def test_each_phase_runs_once_before_a_request_and_costs_it_nothing(
    batch_size: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[tuple[int, int, int]] = []
    forward, decode = Transformer.forward, Transformer.decode

    def decoded(self: Transformer, x, pos):  # type: ignore[no-untyped-def]
        passes.append((len(x), pos, 1))
        return decode(self, x, pos)

    def counted(self: Transformer, x, pos, n_logits):  # type: ignore[no-untyped-def]
        passes.append((len(x), pos, n_logits))
        return forward(self, x, pos, n_logits)

    monkeypatch.setattr(Transformer, "forward", counted)
    monkeypatch.setattr(Transformer, "decode", decoded)
    with ModelFile.open(model_path("tiny")) as model:
        options = RootOptions(batch_size=batch_size)
        root = Root(model, make_plan(model.config, 1), options, Observer(lambda line: None))
        root.connect()
        root.load()
        assert passes == [(batch, 0, 0), (1, 0, 1)]
        again, _ = root.forward([1], 0, 1)
        logits = again.copy()
        (account,) = root.finish()
        assert [(phase.phase, phase.steps) for phase in account.spans] == [("prefill", 1)]
        root.close()
        assert logits.shape == (1, model.config.vocab_size)
