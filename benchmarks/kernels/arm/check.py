"""What `benchmarks.kernels.arm` runs on an AArch64 Python: every variant, results to the bit."""

from __future__ import annotations

import platform
import sys
import time

import numpy as np

from dllama_engine.formats.quants import dequantize_q40
from dllama_engine.kernels import cpu
from dllama_engine.kernels.llvm import lanes
from dllama_engine.kernels.matmul import packing, q40
from dllama_engine.kernels.matmul.q80 import make_q80_q80
from dllama_engine.kernels.matmul.variants import make_float_product
from dllama_engine.tables.blocks import STEPS
from tests.engine import reference_runs

_START = time.monotonic()


def check_products(which: str) -> None:
    """One variant against exact sums, sizes that fill tiles and sizes that do not."""
    kernel, rng = q40.make_q40_q80(which), np.random.default_rng(0)
    for rows, blocks, tokens in ((8, 1, 1), (21, 3, 9), (40, 4, 13)):
        raw = rng.integers(0, 256, (rows, blocks, 18), np.uint8)
        raw[..., 1] &= 0xBB  # finite deltas
        raw = raw.reshape(rows, -1)
        weights = np.zeros((-(-rows // 8), blocks, STEPS, 32), np.uint8)
        deltas = np.zeros((-(-rows // 8), blocks, 8), np.uint16)
        assert packing.pack_q40(raw.ctypes.data, raw.strides[0], rows, weights, deltas, 0)
        values = rng.integers(-128, 128, (tokens, 32 * blocks)).astype(np.int8)
        scales, sums = (
            rng.random((tokens, blocks), np.float32),
            np.empty((tokens, blocks), np.int32),
        )
        q40.block_sums(values, sums)
        out = np.zeros((tokens, rows), np.float32)
        kernel(weights, deltas, values, scales, sums, out, 0, rows)
        x = values.reshape(tokens, -1, 32) * scales[:, :, None].astype(np.float64)
        exact = x.reshape(tokens, -1) @ dequantize_q40(raw).astype(np.float64).T
        assert np.abs(out - exact).max() <= 1e-5 * max(1.0, np.abs(exact).max()), which


def check_other_products(which: str) -> None:
    """The other kinds of weights and inputs, to the bit as `lanes.dot` adds them."""
    rng = np.random.default_rng(0)
    for rows, blocks, tokens in ((8, 1, 1), (21, 3, 1), (40, 4, 13)):
        n = 32 * blocks
        x = rng.standard_normal((tokens, n)).astype(np.float32)
        floats = rng.standard_normal((rows, n)).astype(np.float32)
        halves = floats.astype(np.float16)
        bytes_ = rng.integers(-128, 128, (rows, blocks, 32)).astype(np.int8)
        deltas = rng.random((rows, blocks)).astype(np.float16)
        bits, wide = deltas.view(np.uint16), deltas.astype(np.float32)
        stored = rng.integers(0, 256, (rows, blocks, 18), np.uint8)
        stored[..., :2] = deltas.view(np.uint8).reshape(rows, blocks, 2)
        raw = stored.reshape(rows, -1)
        packed = np.zeros((-(-rows // 8), blocks, STEPS, 32), np.uint8)
        packed_deltas = np.zeros((-(-rows // 8), blocks, 8), np.uint16)
        assert packing.pack_q40(raw.ctypes.data, raw.strides[0], rows, packed, packed_deltas, 0)
        for kind, weights, its_deltas, meaning in (
            ("f32", floats, floats, floats),
            ("f16", halves.view(np.uint16), bits, halves.astype(np.float32)),
            ("q80", bytes_, bits, (bytes_ * wide[..., None]).reshape(rows, n)),
            ("q40", packed, packed_deltas, dequantize_q40(raw)),
        ):
            out = np.zeros((tokens, rows), np.float32)
            make_float_product(which, kind)(weights, its_deltas, x, out, 0, rows)
            twin = [[lanes.dot(row, token) for row in meaning] for token in x]
            assert np.array_equal(out, np.array(twin, np.float32)), (which, kind)
        values = rng.integers(-128, 128, (tokens, n)).astype(np.int8)
        scales = rng.random((tokens, blocks), np.float32)
        out, total = np.zeros((tokens, rows), np.float32), np.zeros((tokens, rows), np.float32)
        make_q80_q80(which)(bytes_, bits, values, scales, out, 0, rows)
        for block in range(blocks):
            part = values[:, 32 * block : 32 * (block + 1)].astype(np.int64)
            sums = (part @ bytes_[:, block].T.astype(np.int64)).astype(np.float32)
            total += sums * (wide[:, block][None] * scales[:, block][:, None])
        assert np.array_equal(out, total), (which, "q80 x q80")


def tell(line: str) -> None:
    """A line of progress: seconds since the start, which kernels, what."""
    print(f"{time.monotonic() - _START:6.0f} s  {cpu.variant()}: {line}", flush=True)


def check_results(path: str) -> None:
    """Compute what is in the file again; whatever differs in a bit is named at the end."""
    different = []
    with np.load(path) as expected:
        missing = set(expected.files)
        for name, result in reference_runs.results():
            missing.discard(name)
            if name in expected and reference_runs.same(result, expected[name]):
                tell(f"{name}: to the bit")
            else:
                tell(f"{name}: DIFFERENT")
                different.append(name)
    if different or missing:
        sys.exit(f"not as on the other machine: {', '.join([*different, *sorted(missing)])}")


def main() -> None:
    """The argument: a file of `tests.engine.reference_runs`, written by another CPU."""
    tell(f"numba compiles on {platform.machine()}")
    for which in cpu.available_variants():
        check_products(which)
        check_other_products(which)
        tell(f"products of every kind agree, variant {which}")
    check_results(sys.argv[1])


if __name__ == "__main__":
    main()
