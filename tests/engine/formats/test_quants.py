"""The blocks of FORMATS, value by value, and bounds that hold for every input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dllama_engine.errors import EngineError
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import (
    FloatType,
    decode_tensor,
    dequantize_q40,
    dequantize_q80,
    encode_tensor,
    nonfinite_values,
    quantize_q40,
    quantize_q80,
    row_bytes,
)
from tests.data import MODELS as GOLDEN

HALF_ULP = 2.0**-11  # relative error of a number rounded to f16
HALF_TINY = 2.0**-25  # absolute error below the normal f16 numbers

blocks = arrays(
    np.float32,
    (2, 64),
    elements=st.floats(-65000, 65000, width=32, allow_subnormal=True),
)


def q40_by_hand(block: bytes) -> list[float]:
    """FORMATS: byte i holds value i in its low nibble and value i + 16 in its high nibble."""
    delta = float(np.frombuffer(block[:2], "<f2")[0])
    nibbles = [byte & 15 for byte in block[2:]] + [byte >> 4 for byte in block[2:]]
    return [(nibble - 8) * delta for nibble in nibbles]


def q80_by_hand(block: bytes) -> list[float]:
    """FORMATS: 32 signed bytes after the f16 delta."""
    delta = float(np.frombuffer(block[:2], "<f2")[0])
    return [(byte - 256 if byte > 127 else byte) * delta for byte in block[2:]]


@settings(deadline=None)
@given(st.binary(min_size=18, max_size=18))
def test_q40_decodes_as_by_hand(block):
    raw = np.frombuffer(block[:1] + bytes([block[1] & 0xBB]) + block[2:], np.uint8)
    assert dequantize_q40(raw).tolist() == np.float32(q40_by_hand(raw.tobytes())).tolist()


@settings(deadline=None)
@given(st.binary(min_size=34, max_size=34))
def test_q80_decodes_as_by_hand(block):
    raw = np.frombuffer(block[:1] + bytes([block[1] & 0xBB]) + block[2:], np.uint8)
    assert dequantize_q80(raw).tolist() == np.float32(q80_by_hand(raw.tobytes())).tolist()


def test_q40_block_written_by_hand():
    x = np.zeros(32, np.float32)
    x[0], x[1], x[16], x[31] = -8, 7, 3, -1  # delta = -8 / -8 = 1
    raw = quantize_q40(x)
    assert raw[:2].view("<f2")[0] == 1.0
    assert raw[2] == (0 | 11 << 4)  # values 0 and 16: nibbles 0 and 11
    assert raw[3] == (15 | 8 << 4)
    assert raw[17] == (8 | 7 << 4)


def test_q40_largest_magnitude_keeps_its_sign_in_the_delta():
    x = np.full(32, 0.5, np.float32)
    x[5] = 4
    raw = quantize_q40(x)
    assert raw[:2].view("<f2")[0] == -0.5
    assert dequantize_q40(raw)[5] == 4


def test_q80_block_written_by_hand():
    x = np.zeros(32, np.float32)
    x[:6] = 127, -127, 0.5, -0.5, 1.5, 2.4999  # delta 1: halves go away from zero
    raw = quantize_q80(x)
    assert raw[:2].view("<f2")[0] == 1.0
    assert raw[2:8].view(np.int8).tolist() == [127, -127, 1, -1, 2, 2]


def _worst(deltas, steps):
    """Half a step of rounding (Q40 clips at 7: a whole one), and f16's error of the delta."""
    return deltas * (steps + 128 * HALF_ULP) + 128 * HALF_TINY


@settings(deadline=None)
@given(blocks)
def test_q40_error_is_at_most_one_step(x):
    largest = np.abs(x.reshape(2, 2, 32)).max(axis=-1)
    error = np.abs(dequantize_q40(quantize_q40(x)) - x).reshape(2, 2, 32).max(axis=-1)
    assert (error <= _worst(largest / 8, 1.0)).all()


@settings(deadline=None)
@given(blocks)
def test_q80_error_is_at_most_half_a_step(x):
    largest = np.abs(x.reshape(2, 2, 32)).max(axis=-1)
    error = np.abs(dequantize_q80(quantize_q80(x)) - x).reshape(2, 2, 32).max(axis=-1)
    assert (error <= _worst(largest / 127, 0.5)).all()


@settings(deadline=None)
@given(blocks)
def test_q40_is_stable_once_quantized(x):
    once = dequantize_q40(quantize_q40(x))
    scales = np.abs(once[np.nonzero(once)])
    if scales.size == 0 or scales.min() > 1e-4:  # deltas in the normal range of f16
        np.testing.assert_array_equal(dequantize_q40(quantize_q40(once)), once)


@pytest.mark.parametrize("quantize", [quantize_q40, quantize_q80])
@pytest.mark.parametrize("value", [0.0, -0.0, 1e-45, -1e-40, 1e-9])
def test_zeros_and_values_below_f16_become_zero(quantize, value):
    dequantize = dequantize_q40 if quantize is quantize_q40 else dequantize_q80
    assert not dequantize(quantize(np.full((1, 32), value, np.float32))).any()


@pytest.mark.parametrize("quantize", [quantize_q40, quantize_q80])
def test_subnormal_scales_are_kept(quantize):
    dequantize = dequantize_q40 if quantize is quantize_q40 else dequantize_q80
    x = np.full(32, 2.0**-24 * 8 * 127, np.float32)  # the delta is a subnormal f16, not zero
    assert dequantize(quantize(x)) == pytest.approx(x, rel=0.01)


@pytest.mark.parametrize("kind", [FloatType.Q40, FloatType.Q80, FloatType.F16])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_what_f16_cannot_hold_is_refused(kind, value):
    x = np.zeros((2, 32), np.float32)
    x[1, 7] = value
    with pytest.raises(EngineError, match="does not fit f16"):
        encode_tensor(x, kind)


@pytest.mark.parametrize("kind", FloatType)
def test_every_type_keeps_shape_and_small_whole_numbers(kind):
    x = (np.arange(3 * 64).reshape(3, 64) % 8 - 4).astype(np.float32)
    x[:, ::32] = -8  # Q40's delta is 1
    raw = encode_tensor(x, kind)
    assert raw.shape == (3, row_bytes(kind, 64))
    decoded = decode_tensor(raw, kind)
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, x, atol=0.04)


def test_row_sizes_name_the_block_size():
    assert row_bytes(FloatType.F16, 33) == 66
    with pytest.raises(EngineError, match="row size 100 is not a multiple of the q40 block size"):
        row_bytes(FloatType.Q40, 100)
    with pytest.raises(EngineError, match="not a multiple of the block size 32"):
        quantize_q80(np.zeros(33, np.float32))
    with pytest.raises(EngineError, match="not a whole number of 18-byte blocks"):
        dequantize_q40(np.zeros(19, np.uint8))


def test_float_types_have_labels():
    assert [FloatType.parse(kind.label) for kind in FloatType] == list(FloatType)
    with pytest.raises(EngineError, match="unknown float type 'q5'; one of f32, f16, q40, q80"):
        FloatType.parse("q5")


@pytest.mark.parametrize("kind", FloatType)
def test_nonfinite_values_are_found_where_they_are(kind):
    raw = encode_tensor(np.ones((2, 64), np.float32), kind)
    assert not nonfinite_values(raw, kind).any()
    half_at = {FloatType.F32: 4, FloatType.F16: 2, FloatType.Q40: 18, FloatType.Q80: 34}[kind]
    infinite = np.float32(np.inf) if kind is FloatType.F32 else np.float16(np.inf)
    raw[1, half_at : half_at + infinite.nbytes] = np.frombuffer(infinite.tobytes(), np.uint8)
    assert np.argwhere(nonfinite_values(raw, kind)).tolist() == [[1, 1]]


@pytest.mark.parametrize("name", ["llama_q40", "llama31_q40", "qwen3_q40", "qwen3moe_q40"])
def test_golden_matrices_are_quantized_to_the_same_bytes(name):
    with ModelFile.open(GOLDEN / f"{name}.m") as model:
        for spec in model.specs:
            raw = model.raw(spec)
            values = decode_tensor(raw, spec.float_type)
            np.testing.assert_array_equal(encode_tensor(values, spec.float_type), raw)


def test_golden_blocks_decode_as_by_hand():
    with ModelFile.open(GOLDEN / "llama_q40.m") as model:
        spec = model.specs[3]
        raw = model.raw(spec)[:2]  # (2, 128 / 32 * 18)
    by_hand = [
        q40_by_hand(raw[row, at : at + 18].tobytes()) for row in (0, 1) for at in range(0, 72, 18)
    ]
    np.testing.assert_array_equal(dequantize_q40(raw).reshape(8, 32), np.float32(by_hand))
