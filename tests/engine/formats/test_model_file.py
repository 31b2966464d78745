"""Good `.m` files open with dllama's defaults; every kind of bad one is refused with its reason."""

import os
import struct
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import ModelFileError
from dllama_engine.formats.config import Arch, HiddenAct, ModelConfig, RopeType
from dllama_engine.formats.header import encode_header, read_header
from dllama_engine.formats.model_file import (
    ModelFile,
    check_finite,
    model_bytes,
    tensor_specs,
    write_model,
)
from dllama_engine.formats.quants import FloatType, decode_tensor, encode_tensor
from dllama_engine.synthetic.shapes import SHAPES, parse_shape
from tests.data import MODELS as GOLDEN

MODELS = sorted(path.stem for path in GOLDEN.glob("*.m"))
MAGIC = 0x0A00ABCD
LLAMA_KEYS = {1: 0xABCD00, 2: 32, 3: 32, 4: 1, 5: 2, 6: 1, 9: 8, 10: 16, 13: 0}


def header(pairs, magic=MAGIC, size=None):
    body = b"".join(struct.pack("<ii", *pair) for pair in pairs.items())
    return struct.pack("<Ii", magic, 8 + len(body) if size is None else size) + body


@pytest.fixture
def whole(tmp_path):
    """A small good model whose bytes tests spoil."""
    path = tmp_path / "whole.m"
    config = parse_shape("dim=32,hidden_dim=64,n_heads=2,vocab_size=8,n_layers=2")
    write_model(path, config, lambda spec: np.ones(spec.shape, np.float32))
    return path


def refuse(path, *words):
    with pytest.raises(ModelFileError) as caught:
        ModelFile.open(path)
    message = str(caught.value)
    assert str(path) in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize("name", MODELS)
def test_golden_files_open_and_write_back(name, tmp_path):
    with ModelFile.open(GOLDEN / f"{name}.m") as model:
        copy = tmp_path / "copy.m"
        write_model(copy, model.config, model.raw)
        with ModelFile.open(copy) as again:
            assert again.config == model.config
            for spec in model.specs:
                np.testing.assert_array_equal(again.raw(spec), model.raw(spec))
    assert os.path.getsize(copy) == model_bytes(model.config)


def test_defaults_and_forced_values_are_dllamas():
    with ModelFile.open(GOLDEN / "qwen3moe_q40.m") as model:
        config = model.config
    assert (config.arch, config.rope_type) == (Arch.QWEN3_MOE, RopeType.FALCON)
    assert (config.head_dim, config.norm_epsilon, config.ff_dim) == (32, 1e-6, 128)
    assert (config.q_dim, config.kv_dim, config.is_moe, config.has_qk_norm) == (
        256,
        128,
        True,
        True,
    )
    with ModelFile.open(GOLDEN / "llama_f32.m") as model:
        config = model.config
    assert (config.hidden_act, config.rope_theta, config.norm_epsilon) == (
        HiddenAct.SILU,
        1e4,
        1e-5,
    )
    assert (config.head_dim, config.rope_scaling_factor, config.has_qk_norm) == (16, 1.0, False)


def test_absent_keys_take_dllamas_defaults(tmp_path):
    config = parse_shape("dim=32,hidden_dim=32,n_heads=2,n_kv_heads=1,vocab_size=8,n_layers=1")
    config = replace(config, weight_type=FloatType.F32, seq_len=16)
    path = tmp_path / "short.m"
    tensors = model_bytes(config) - len(encode_header(config))
    path.write_bytes(header(LLAMA_KEYS) + bytes(tensors))
    with ModelFile.open(path) as model:
        assert model.config == config


def test_order_and_shapes_are_those_of_the_format():
    specs = tensor_specs(parse_shape("tiny-qwen3moe"))
    assert [spec.name for spec in specs[:6]] == [
        "embedding",
        "block_matmul_q",
        "block_matmul_k",
        "block_matmul_v",
        "block_matmul_wo",
        "block_moe_gate",
    ]
    experts = [(spec.name[-2:], spec.expert) for spec in specs[6:12]]
    assert experts == [("w1", 0), ("w2", 0), ("w3", 0), ("w1", 1), ("w2", 1), ("w3", 1)]
    assert [spec.name for spec in specs[30:34]] == [
        "block_norm_q",
        "block_norm_k",
        "block_norm_0",
        "block_norm_1",
    ]
    assert [spec.name for spec in specs[-2:]] == ["final_norm", "final_matmul_logits"]
    assert specs[5].float_type is FloatType.F32
    assert specs[6].label == "block_matmul_w1, layer 0, expert 0"
    for before, after in pairwise(specs):
        assert after.offset == before.offset + before.nbytes


@pytest.mark.parametrize("shape", SHAPES)
def test_size_in_closed_form_is_the_table_s(shape):
    config = parse_shape(shape)
    last = tensor_specs(config)[-1]
    assert model_bytes(config) == last.offset + last.nbytes


@pytest.mark.parametrize("weight_type", FloatType)
def test_every_weight_type_is_written_and_read(weight_type, tmp_path):
    config = replace(parse_shape("tiny-gqa"), weight_type=weight_type)
    rng = np.random.default_rng(1)
    values = {spec.index: rng.random(spec.shape, np.float32) for spec in tensor_specs(config)}
    write_model(tmp_path / "m.m", config, lambda spec: values[spec.index])
    with ModelFile.open(tmp_path / "m.m") as model:
        for spec in model.specs:
            expected = encode_tensor(values[spec.index], spec.float_type)
            np.testing.assert_array_equal(model.raw(spec), expected)
            decoded = decode_tensor(model.raw(spec), spec.float_type)
            np.testing.assert_allclose(decoded, values[spec.index], atol=0.13)


@settings(deadline=None)
@given(
    st.sampled_from(["tiny-gqa", "tiny-qwen3", "tiny-qwen3moe"]),
    st.fixed_dictionaries(
        {},
        optional={
            "n_layers": st.integers(1, 9),
            "seq_len": st.integers(1, 2**31 - 1),
            "version": st.integers(0, 9),
            "rope_theta": st.integers(1, 2**31 - 1).map(float),
            "rope_scaling_factor": st.integers(1, 64).map(float),
            "rope_scaling_high_freq_factor": st.integers(2, 64).map(float),
            "rope_scaling_orig_max_seq_len": st.integers(1, 2**31 - 1),
            "norm_epsilon": st.sampled_from([1e-5, 1e-6]),
            "hidden_act": st.sampled_from(HiddenAct),
            "weight_type": st.sampled_from(FloatType),
        },
    ),
)
def test_any_config_comes_back_from_its_header(shape, change):
    config = replace(parse_shape(shape), **change)
    raw = encode_header(config)
    assert read_header(raw[:8], lambda n: raw[8 : 8 + n], len(raw)) == (config, len(raw))


@pytest.mark.parametrize("shape", ["tiny-gqa", "tiny-qwen3moe", "llama3.2-1b"])
def test_json_gives_the_config_back(shape):
    config = parse_shape(shape)
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dim": -32}, "dim is -32"),
        ({"arch": "gpt2"}, "does not know 'GPT2'"),
        ({"surplus": 1}, "surplus"),
        ({"dim": "32"}, "dim is '32', expected a whole number"),
    ],
)
def test_json_that_is_no_config_is_refused(change, words):
    with pytest.raises(ModelFileError, match=words):
        ModelConfig.from_json(parse_shape("tiny-llama").to_json() | change)


def test_json_with_a_missing_field_is_refused():
    data = parse_shape("tiny-llama").to_json()
    del data["dim"]
    with pytest.raises(ModelFileError, match="dim"):
        ModelConfig.from_json(data)


def test_a_truncated_file_says_how_much_is_missing(whole):
    size = whole.stat().st_size
    os.truncate(whole, size - 5)
    refuse(whole, f"{size - 5} bytes", f"asks for {size}", "5 are missing", "truncated")


def test_a_single_trailing_byte_is_refused(whole):
    whole.write_bytes(whole.read_bytes() + b"\0")
    refuse(whole, "1 trailing bytes")


@pytest.mark.parametrize("n_bytes", [0, 3, 7, 8, 9, 20])
def test_a_file_shorter_than_its_header_is_refused(whole, n_bytes):
    os.truncate(whole, n_bytes)
    refuse(whole, "too short for a header" if n_bytes < 8 else "header size at offset 4")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    refuse(tmp_path / "none.m", "No such file")
    refuse(tmp_path, "Is a directory")


@pytest.mark.parametrize(
    ("magic", "words"),
    [
        (0xABCD00, ["old format 0xabcd00", "Llama", "convert the model again"]),
        (0xABCD01, ["old format 0xabcd01", "Grok-1"]),
        (0x46554747, ["magic at offset 0 is 0x46554747", "expected 0xa00abcd"]),
    ],
)
def test_other_magics_are_named(tmp_path, magic, words):
    path = tmp_path / "other.m"
    path.write_bytes(header(LLAMA_KEYS, magic=magic))
    refuse(path, *words)


@pytest.mark.parametrize("size", [-8, 0, 7, 9, 84, 1 << 30])
def test_an_impossible_header_size_is_refused(tmp_path, size):
    path = tmp_path / "size.m"
    path.write_bytes(header(LLAMA_KEYS, size=size))
    refuse(path, f"header size at offset 4 is {size}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({77: 1}, ["unknown header key 77 at offset 80"]),
        ({-1: 1}, ["unknown header key -1"]),
        ({1: 5}, ["unknown arch 0x5", "0xabcd00 LLAMA"]),
        ({13: None}, ["no weight float type (header key 13)"]),
        ({13: 9}, ["unknown weight_type 0x9", "Q40"]),
        ({11: 2}, ["unknown hidden_act 0x2"]),
        ({18: 3}, ["unknown rope_type 0x3"]),
        ({20: 7}, ["unknown norm epsilon key 7", "1e-6"]),
        ({2: None}, ["no dim in the header"]),
        ({10: None}, ["no seq_len in the header"]),
        ({2: 0}, ["dim is 0"]),
        ({2: -32}, ["dim is -32, expected 1 to 2147483647"]),
        ({4: 0}, ["n_layers is 0"]),
        ({4: 2**31 - 1}, ["n_layers is 2147483647, the limit is 4096"]),
        ({5: 0}, ["no head_dim", "n_heads 0"]),
        ({5: 3}, ["dim 32 does not divide by n_heads 3"]),
        ({6: 3}, ["n_heads 2 is not a multiple of n_kv_heads 3"]),
        ({19: 3}, ["head_dim 3 is odd"]),
        ({9: 2**31 - 1}, ["are missing, the file is truncated"]),
        ({7: 8}, ["n_experts is 8", "LLAMA has none"]),
        ({12: 0}, ["rope_theta is 0.0"]),
        ({13: 2, 3: 40}, ["hidden_dim 40 is not a multiple of the q40 block size 32"]),
        ({13: 3, 2: 40}, ["dim 40 is not a multiple of the q80 block size 32"]),
        ({1: 0xABCD02, 19: 16}, ["moe_hidden_dim is 0"]),
        ({1: 0xABCD02, 19: 16, 21: 32, 7: 2, 8: 3}, ["n_active_experts is 3", "(2)"]),
        ({1: 0xABCD02, 19: 16, 21: 32, 7: 4096, 8: 3, 4: 4096}, ["more than 131072 experts"]),
        ({18: 2, 14: 8, 15: 4, 16: 1, 17: 64}, ["low_freq_factor 4 is not below"]),
        ({18: 2, 14: 8, 15: 1, 16: 4}, ["rope_scaling_orig_max_seq_len is 0"]),
    ],
)
def test_headers_that_cannot_be_are_refused(tmp_path, change, words):
    pairs = {key: value for key, value in (LLAMA_KEYS | change).items() if value is not None}
    path = tmp_path / "bad.m"
    path.write_bytes(header(pairs) + bytes(1000))
    refuse(path, *words)


def spoil(path, spec, raw):
    with open(path, "r+b") as file:
        file.seek(spec.offset + spec.nbytes - len(raw))
        file.write(raw)


def test_a_norm_that_is_not_finite_is_refused_at_open(whole):
    spec = next(
        spec for spec in tensor_specs(ModelFile.open(whole).config) if spec.name == "block_norm_1"
    )
    spoil(whole, spec, np.float32(np.nan).tobytes())
    refuse(whole, "tensor block_norm_1, layer 0: value 31 of row 0 is not finite")


def test_a_scale_that_is_not_finite_is_refused_where_it_is_read(whole):
    model = ModelFile.open(whole)
    spec = next(spec for spec in model.specs if spec.name == "block_matmul_w3" and spec.layer == 1)
    spoil(whole, spec, np.float16(np.inf).tobytes() + bytes(16))
    with ModelFile.open(whole) as model:
        model.check_finite(spec, model.raw(spec)[:63])
        with pytest.raises(ModelFileError) as caught:
            model.check_finite(spec)
    for word in (str(whole), "block_matmul_w3, layer 1", "block scale 0 of row 63"):
        assert word in str(caught.value)


def test_finite_is_checked_in_chunks_with_the_true_row(monkeypatch):
    monkeypatch.setattr("dllama_engine.formats.model_file.CHECK_CHUNK_BYTES", 300)
    spec = tensor_specs(parse_shape("tiny-llama"))[0]
    raw = np.zeros((9, 128), np.uint8)
    raw[7, 4:8] = np.frombuffer(np.float32(np.inf).tobytes(), np.uint8)
    with pytest.raises(ModelFileError, match="tensor embedding: value 1 of row 7"):
        check_finite(spec, raw)


def test_a_writer_that_fails_leaves_nothing(tmp_path, whole):
    before = whole.read_bytes()

    def values(spec):
        if spec.index == 3:
            raise KeyboardInterrupt
        return np.ones(spec.shape, np.float32)

    for path in (whole, tmp_path / "new.m"):
        with pytest.raises(KeyboardInterrupt):
            write_model(path, parse_shape("tiny-llama"), values)
    assert whole.read_bytes() == before
    assert os.listdir(tmp_path) == ["whole.m"]


def test_a_writer_names_tensors_that_do_not_fit(tmp_path):
    config = parse_shape("tiny-llama")
    with pytest.raises(ModelFileError, match=r"tensor embedding: got float32 \(2, 3\)"):
        write_model(tmp_path / "m.m", config, lambda spec: np.ones((2, 3), np.float32))
    with pytest.raises(ModelFileError, match="tensor embedding: value 0 of row 0"):
        write_model(tmp_path / "m.m", config, lambda s: np.full(s.shape, np.nan, np.float32))
    assert not os.listdir(tmp_path)


def test_values_without_an_i32_cannot_be_written():
    config = parse_shape("tiny-llama")
    with pytest.raises(ModelFileError, match=r"rope_theta is 10000\.5"):
        encode_header(replace(config, rope_theta=10000.5))
    with pytest.raises(ModelFileError, match=r"norm_epsilon 0\.001"):
        encode_header(replace(config, norm_epsilon=1e-3))


def test_a_closed_file_says_so(whole):
    with ModelFile.open(whole) as model:
        raw = model.raw(model.specs[0])
    assert raw.shape == (8, 128)  # views outlive the file object
    with pytest.raises(ModelFileError, match="is closed"):
        model.raw(model.specs[0])
