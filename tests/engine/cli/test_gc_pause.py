"""Nothing is collected while a request runs, and all is as before when it is over."""

from __future__ import annotations

import gc

import pytest

from dllama_engine.cli import modes
from dllama_engine.cli.gc_pause import gc_paused
from dllama_engine.cli.main import main


def break_off() -> None:
    with gc_paused():
        raise ValueError("the link broke")


def test_it_is_as_before_afterwards() -> None:
    assert gc.isenabled()
    with gc_paused():
        assert not gc.isenabled()
        with gc_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
    with pytest.raises(ValueError, match="the link broke"):
        break_off()
    assert gc.isenabled()


def test_no_token_waits_for_a_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    collects: list[bool] = []
    real = modes.generate

    def generate(*arguments: object, **options: object) -> object:
        for step in real(*arguments, **options):  # type: ignore[arg-type]
            collects.append(gc.isenabled())
            yield step

    monkeypatch.setattr(modes, "generate", generate)
    arguments = ["--model", "tiny", "--prompt", "Once", "--steps", "6", "--temperature", "0"]
    assert main(["inference", *arguments]) == 0
    assert collects == [False] * len(collects)
    assert len(collects) > 2
    assert gc.isenabled()
