"""What this machine cannot hold is refused from the shape, with advice that works."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest

from pytest_dllama.config.values import ConfigError
from pytest_dllama.models import engine_facts
from pytest_dllama.models.fit import Holding, check_fit
from pytest_dllama.models.sizes import request_size
from pytest_dllama.record.cell import Workload
from tests.engine import processes
from tests.plugin.models.configs import config_of

LLAMA3 = engine_facts.shape_config("llama3.1-8b")
TOKENS = engine_facts.shape_tokenizer(LLAMA3.vocab_size)
GB = 10**9


def _holding(workload: Workload = Workload(), nodes: int = 4, **options) -> Holding:  # noqa: B008
    config = config_of(**options)
    return Holding(LLAMA3, nodes, config, request_size(config, workload, LLAMA3, TOKENS))


def _total(ranks) -> int:
    return sum(rank.total_bytes for rank in ranks)


def _check(holding: Holding, available: int, *, may_f16: bool = True) -> None:
    check_fit(holding, _total, available, may_f16=may_f16)


def test_the_cache_of_a_request_is_small_where_the_models_context_is_huge() -> None:
    """Llama 3.1-8B on four hosts of 8 GB: 131072 positions would take 34 GB of f32."""
    _check(_holding(), 8 * GB)
    whole = Workload(prompt_tokens=64, output_tokens=LLAMA3.seq_len - 63)
    with pytest.raises(ConfigError) as refused:
        _check(_holding(whole), 32 * GB)
    assert str(refused.value).startswith(
        "4 nodes of it need 39 GB of this machine's memory (weights 4.2 GB, f32 KV cache of 131072 "
        "positions 34 GB, "
    )
    assert str(refused.value).endswith(", and 32 GB are available; use --kv-type f16")
    _check(_holding(whole, kv_type="f16"), 32 * GB)


def test_a_longer_cache_than_the_request_needs() -> None:
    with pytest.raises(ConfigError, match="use --max-seq-len 64, which is all that the request"):
        _check(_holding(max_seq_len=131072), 8 * GB)


def test_the_number_of_steps_that_fits_fits() -> None:
    load = Workload(context_depth=1000)
    with pytest.raises(ConfigError) as refused:
        _check(_holding(load, steps=100_000), 10 * GB, may_f16=False)
    steps = re.search(r"use at most (\d+) --steps, or shorter prompts", str(refused.value))
    assert steps
    _check(_holding(load, steps=int(steps[1])), 10 * GB, may_f16=False)
    with pytest.raises(ConfigError):
        _check(_holding(load, steps=int(steps[1]) + 1), 10 * GB, may_f16=False)


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match=r"use a smaller model, or machines that hold a part"):
        _check(_holding(), 4 * GB)


def test_both_sides_of_a_comparison_are_held_at_once() -> None:
    holding = _holding()
    _check(holding, 6 * GB)
    with pytest.raises(ConfigError, match=r"^2 x 4 nodes of it \(base and new\) need 8\.9 GB of"):
        _check(dataclasses.replace(holding, sides=2), 6 * GB)


@pytest.mark.parametrize("nodes", [1, 4])
def test_plan_and_suites_share_one_arithmetic(nodes: int) -> None:
    options = ("--nodes", nodes, "--max-seq-len", 100, "--kv-type", "f16", "--json")
    plan = json.loads(processes.run("plan", "--shape", "llama3.1-8b", *options).stdout)
    ranks = engine_facts.rank_memories(LLAMA3, nodes, "q80", "reduce", 100, "f16")
    for planned, rank in zip(plan["ranks"], ranks, strict=True):
        for part in ("weight_bytes", "kv_cache_bytes", "buffer_bytes"):
            assert planned[part] == getattr(rank, part)


def test_nothing_is_written_for_what_does_not_fit(pytester, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    pytester.makepyfile("def test_it(cell):\n    pass\n")
    result = pytester.runpytest_subprocess(
        *("--models", "synthetic:llama3.1-8b,seq_len=16000000", "--nodes", "2"),
        *("--max-seq-len", "16000000"),
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: --models synthetic:llama3.1-8b,seq_len=16000000: 2 nodes of it need 42?? GB of "
            "this machine's memory (*; use --max-seq-len 64, which is all that the request needs*"
        ]
    )
    assert not (tmp_path / "cache" / "pytest-dllama").exists()
