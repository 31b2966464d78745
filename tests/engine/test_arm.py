"""The AArch64 kernels, compiled to assembly here; `python -m benchmarks.arm` runs them."""

from __future__ import annotations

import re
from functools import cache

import pytest
from llvmlite import binding, ir

from engine.kernels import q40

TRIPLE = "aarch64-unknown-linux-gnu"
_I8, _I64 = ir.IntType(8), ir.IntType(64)
NAMES = ("weights", "deltas", "values", "scales", "sums", "result")


@cache
def assembly(which: str, cpu: str, features: str, n_tokens: int, n_streams: int = 1) -> str:
    """The inner kernel of one group of rows and a tile of tokens, as `cpu` would run it."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = ir.Module()
    module.triple = TRIPLE
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer()] * len(NAMES) + [_I64] * 2)
    function = ir.Function(module, kind, "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    pointers = dict(zip(NAMES, function.args, strict=False))
    emitter = q40.Emitter(builder, which, n_streams, 1, n_tokens)
    for token, total in enumerate(emitter.emit(pointers, *function.args[-2:])):
        place = emitter.at(pointers["result"], ir.Constant(_I64, token * emitter.lanes * 4))
        builder.store(total, builder.bitcast(place, emitter.floats.as_pointer()), align=4)
    builder.ret_void()
    parsed = binding.parse_assembly(str(module))
    target = binding.Target.from_triple(TRIPLE)
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return str(machine.emit_assembly(parsed))


def count(text: str, instruction: str) -> int:
    return len(re.findall(rf"^\s+{instruction}\s", text, re.MULTILINE))


@pytest.mark.parametrize("n_tokens", [1, 4, 8])
def test_pi_5_multiplies_with_sdot(n_tokens: int) -> None:
    text = assembly("dotprod", "cortex-a76", "+dotprod", n_tokens)
    assert count(text, "sdot") >= 16 * n_tokens  # 8 steps, two registers of rows
    assert count(text, "smull") + count(text, "mul") <= 2  # addresses at most
    assert count(text, "fmla") >= 2 * n_tokens
    assert count(text, "prfm") > 0


def test_one_token_reads_two_places_at_once_each_fetched_ahead() -> None:
    text = assembly("dotprod", "cortex-a76", "+dotprod", 1, 2)
    assert count(text, "sdot") == 2 * 16
    assert count(text, "prfm") == 2 * 5
    assert "pldl2keep" in text
    assert "pldl1keep" in text


@pytest.mark.parametrize("n_tokens", [1, 4])
def test_pi_4_multiplies_with_smull_and_adds_pairs(n_tokens: int) -> None:
    text = assembly("neon", "cortex-a72", "", n_tokens)
    assert "sdot" not in text
    products = sum(count(text, name) for name in ("smull", "smull2", "smlal", "smlal2"))
    assert products >= 32 * n_tokens  # 8 steps, four halves of registers
    assert count(text, "saddlp") + count(text, "sadalp") >= 4 * n_tokens
    assert count(text, "fcvtl") >= 1


def test_the_portable_variant_needs_no_library_call_on_arm() -> None:
    text = assembly("generic", "cortex-a72", "", 1)
    assert count(text, "bl") == 0
    assert count(text, "smlal") + count(text, "smull") + count(text, "mla") > 0
