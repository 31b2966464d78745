"""The AArch64 kernels, compiled to assembly here; `python -m benchmarks.kernels.arm` runs them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from llvmlite import binding, ir

from dllama_engine.kernels.llvm import vectors
from dllama_engine.kernels.matmul import float_tiles, q40, q80

TRIPLE = "aarch64-unknown-linux-gnu"
_I8, _I64 = ir.IntType(8), ir.IntType(64)
NAMES = ("weights", "deltas", "values", "scales", "sums", "x", "result")
PI_5, PI_4 = ("cortex-a76", "+dotprod"), ("cortex-a72", "")
Sums = list[vectors.Value]  # vectors or floats
Emit = Callable[[Any, dict[str, Any], Any], Sums]


def assembly(emit: Emit, cpu: str, features: str) -> str:
    """What `emit` writes, as `cpu` would run it; sizes are not known when it is compiled."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = ir.Module()
    module.triple = TRIPLE
    kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer()] * len(NAMES) + [_I64])
    function = ir.Function(module, kind, "kernel")
    builder = ir.IRBuilder(function.append_basic_block())
    pointers = dict(zip(NAMES, function.args, strict=False))
    for index, total in enumerate(emit(builder, pointers, function.args[-1])):
        place = vectors.at(builder, pointers["result"], 64 * index)
        builder.store(total, builder.bitcast(place, total.type.as_pointer()), align=4)
    builder.ret_void()
    parsed = binding.parse_assembly(str(module))
    target = binding.Target.from_triple(TRIPLE)
    machine = target.create_target_machine(cpu=cpu, features=features, opt=3)
    passes = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(3))
    passes.getModulePassManager().run(parsed, passes)
    return str(machine.emit_assembly(parsed))


def q40_q80(which: str, n_tokens: int, n_streams: int = 1) -> Emit:
    """One group of rows a stream and a tile of tokens."""

    def emit(builder: Any, pointers: dict[str, Any], n: Any) -> Sums:
        return q40.Emitter(builder, which, n_streams, 1, n_tokens).emit(pointers, n, n)

    return emit


def rows_and_tokens(n_rows: int, n_tokens: int) -> tuple[list[Any], list[Any]]:
    return [ir.Constant(_I64, i) for i in range(n_rows)], [
        ir.Constant(_I64, i) for i in range(n_tokens)
    ]


def q80_q80(which: str, n_tokens: int) -> Emit:
    """Eight rows and a tile of tokens."""

    def emit(builder: Any, pointers: dict[str, Any], n: Any) -> Sums:
        rows, tokens = rows_and_tokens(8, n_tokens)
        return q80.Q80Tile(builder, which, n_tokens).emit(pointers, rows, tokens, n)

    return emit


def with_floats(which: str, kind: str, shape: tuple[int, int]) -> Emit:
    """A tile of rows and tokens, float32 inputs."""

    def emit(builder: Any, pointers: dict[str, Any], n: Any) -> Sums:
        rows, tokens = rows_and_tokens(*shape)
        tile = float_tiles.FloatTile(builder, which, *shape)
        return [x for of_token in tile.emit(kind, pointers, rows, tokens, n) for x in of_token]

    return emit


def count(text: str, instruction: str) -> int:
    return len(re.findall(rf"^\s+{instruction}\s", text, re.MULTILINE))


@pytest.mark.parametrize("n_tokens", [1, 4, 8])
def test_pi_5_multiplies_with_sdot(n_tokens: int) -> None:
    text = assembly(q40_q80("dotprod", n_tokens), *PI_5)
    assert count(text, "sdot") >= 16 * n_tokens  # 8 steps, two registers of rows
    assert count(text, "smull") + count(text, "mul") <= 2  # addresses at most
    assert count(text, "fmla") >= 2 * n_tokens
    assert count(text, "prfm") > 0


def test_one_token_reads_two_places_at_once_each_fetched_ahead() -> None:
    text = assembly(q40_q80("dotprod", 1, 2), *PI_5)
    assert count(text, "sdot") == 2 * 16
    assert count(text, "prfm") == 2 * 5
    assert "pldl2keep" in text
    assert "pldl1keep" in text


@pytest.mark.parametrize("n_tokens", [1, 4])
def test_pi_4_multiplies_with_smull_and_adds_pairs(n_tokens: int) -> None:
    text = assembly(q40_q80("neon", n_tokens), *PI_4)
    assert "sdot" not in text
    products = sum(count(text, name) for name in ("smull", "smull2", "smlal", "smlal2"))
    assert products >= 32 * n_tokens  # 8 steps, four halves of registers
    assert count(text, "saddlp") + count(text, "sadalp") >= 4 * n_tokens
    assert count(text, "fcvtl") >= 1


def test_the_portable_variant_needs_no_library_call_on_arm() -> None:
    text = assembly(q40_q80("generic", 1), *PI_4)
    assert count(text, "bl") == 0
    assert count(text, "smlal") + count(text, "smull") + count(text, "mla") > 0


@pytest.mark.parametrize("n_tokens", [1, q80.TILE])
def test_q80_is_multiplied_with_sdot_on_a_pi_5(n_tokens: int) -> None:
    text = assembly(q80_q80("dotprod", n_tokens), *PI_5)
    assert count(text, "sdot") >= 16 * n_tokens  # 8 vectors of columns, two registers of rows
    assert count(text, "smull") + count(text, "smull2") == 0
    assert count(text, "bl") == 0


@pytest.mark.parametrize("n_tokens", [1, q80.TILE])
def test_q80_is_multiplied_with_smull_and_pairs_on_a_pi_4(n_tokens: int) -> None:
    text = assembly(q80_q80("neon", n_tokens), *PI_4)
    assert "sdot" not in text
    assert count(text, "smull") + count(text, "smull2") >= 32 * n_tokens
    assert count(text, "sadalp") + count(text, "saddlp") >= 32 * n_tokens  # at once, in 32 bits
    assert count(text, "fmla") == 0  # multiplied, then added, as dllama does
    assert count(text, "bl") == 0


@pytest.mark.parametrize("kind", ["f32", "f16", "q80", "q40"])
@pytest.mark.parametrize(("which", "cpu"), [("dotprod", PI_5), ("neon", PI_4), ("generic", PI_4)])
@pytest.mark.parametrize("of_one_token", [False, True])
def test_float_inputs_are_multiplied_with_fmla_in_registers(
    kind: str, which: str, cpu: tuple[str, str], of_one_token: bool
) -> None:
    shape = float_tiles.TILES[which][of_one_token]
    text = assembly(with_floats(which, kind, shape), *cpu)
    eights = shape[0] * shape[1] * float_tiles.COLUMNS_A_STEP[kind] // 8
    assert count(text, "fmla") >= 2 * eights  # four lanes a register
    assert (count(text, "fcvtl") > 0 or kind != "f16") or which == "generic"
    assert count(text, "bl") == 0
    assert (count(text, "prfm") > 0) == of_one_token
