"""Synthetic models: published sizes, sound weights, same bytes every time, whole or not at all."""

import os
import subprocess
import sys
from collections import namedtuple

import numpy as np
import pytest

from dllama_engine.formats.config import Arch, RopeType
from dllama_engine.formats.model_file import ModelFile, model_bytes
from dllama_engine.formats.quants import FloatType, decode_tensor
from dllama_engine.synthetic.model import DiskSpaceError, write_synthetic
from dllama_engine.synthetic.shapes import SHAPES, ShapeError, parse_shape
from dllama_engine.synthetic.vocab import synthetic_vocab
from dllama_engine.text.tokenizer import Tokenizer, read_tokenizer, vocab_remark

TINY = [name for name in SHAPES if name.startswith("tiny-")]
Usage = namedtuple("Usage", "total used free")

PUBLISHED_MILLIONS = {  # parameters, with the classifier counted apart from the embedding
    "llama-160m": 162.4,
    "tinyllama-1.1b": 1100,
    "llama3.2-1b": 1236 + 263,
    "llama3.2-3b": 3213 + 394,
    "llama3.1-8b": 8030,
    "llama-7b": 6738,
    "llama-13b": 13016,
    "llama-30b": 32529,
    "qwen3-0.6b": 596 + 156,
    "qwen3-8b": 8191,
    "qwen3-30b-a3b": 30532,
}


@pytest.mark.parametrize(("name", "millions"), PUBLISHED_MILLIONS.items())
def test_shapes_have_the_published_number_of_parameters(name, millions):
    config = parse_shape(f"{name},weight_type=f32")
    assert model_bytes(config) / 4e6 == pytest.approx(millions, rel=0.002)


def test_every_shape_is_tested_and_q40():
    assert set(SHAPES) == set(PUBLISHED_MILLIONS) | set(TINY)
    assert {parse_shape(name).weight_type for name in SHAPES} == {FloatType.Q40}


def test_lists_change_a_shape_or_begin_from_the_tiny_one():
    config = parse_shape("dim=256, n_layers=3,n_heads=4,weight_type=q80")
    assert (config.dim, config.n_layers, config.n_kv_heads, config.head_dim) == (256, 3, 4, 64)
    assert config.weight_type is FloatType.Q80
    config = parse_shape("llama-13b,seq_len=512,weight_type=f16")
    assert (config.dim, config.seq_len, config.weight_type) == (5120, 512, FloatType.F16)
    config = parse_shape("arch=qwen3_moe,n_experts=4,rope_theta=1e4")
    assert (config.arch, config.n_experts, config.rope_theta) == (Arch.QWEN3_MOE, 4, 1e4)
    assert config.rope_type is RopeType.FALCON


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("llama-14b", "unknown shape 'llama-14b'; one of llama-160m"),
        ("", "unknown shape ''"),
        ("dim=256,depth=2", "unknown key 'depth'; one of arch, dim"),
        ("dim=big", "dim is 'big', expected a number"),
        ("llama-7b,dim", "dim is '', expected a number"),
        ("weight_type=q5", "weight_type is 'q5'; one of f32, f16, q40, q80"),
        ("dim=0", "dim is 0, expected 1"),
        ("dim=48,n_heads=2", "dim 48 is not a multiple of the q40 block size 32"),
        ("n_layers=1000000", "n_layers is 1000000, the limit is 4096"),
    ],
)
def test_shapes_that_cannot_be_are_refused(shape, words):
    with pytest.raises(ShapeError, match=words):
        parse_shape(shape)


@pytest.mark.parametrize("shape", [*TINY, *(f"tiny-gqa,weight_type={t.label}" for t in FloatType)])
def test_weights_are_finite_centred_and_scaled(shape, tmp_path):
    model_path, _ = write_synthetic(shape, tmp_path)
    with ModelFile.open(model_path) as model:
        assert model.config == parse_shape(shape)
        for spec in model.specs:
            model.check_finite(spec)
            values = decode_tensor(model.raw(spec), spec.float_type)
            if "norm" in spec.name:
                assert values.mean() == pytest.approx(1, abs=0.15)
                continue
            std = 1.0 if spec.name == "embedding" else spec.shape[1] ** -0.5
            assert values.std() == pytest.approx(std, rel=0.1)
            assert abs(values.mean()) < 5 * std * (32 / values.size) ** 0.5
            assert len(np.unique(values[:, :32], axis=0)) == len(values), "rows must differ"


def test_model_and_tokenizer_belong_together(tmp_path):
    for shape in ("tiny-llama", "tiny-llama,vocab_size=258"):
        model_path, tokenizer_path = write_synthetic(shape, tmp_path)
        with ModelFile.open(model_path) as model:
            assert vocab_remark(model.config, read_tokenizer(tokenizer_path).vocab) is None
    with pytest.raises(
        ShapeError, match="vocab_size is 257; a synthetic vocabulary needs at least 258"
    ):
        write_synthetic("tiny-llama,vocab_size=257", tmp_path)


@pytest.mark.parametrize("vocab_size", [512, 32000, 151936])
def test_vocabularies_are_readable_and_reached_by_merging(vocab_size):
    tokenizer = Tokenizer(synthetic_vocab(vocab_size))
    tokens = tokenizer.vocab.tokens
    assert (len(tokens), len(set(tokens))) == (vocab_size, vocab_size)
    assert all(token.isascii() and token.decode().isprintable() for token in tokens[256:])
    assert tokenizer.vocab.bos_id == vocab_size - 2
    assert tokenizer.vocab.eos_ids == (vocab_size - 1,)
    ids = tokenizer.encode("Hello world")
    assert [tokens[i] for i in ids] == [b"<s>", b"Hello", b" world"]
    assert tokenizer.encode(tokens[vocab_size - 3], add_bos=False) == [vocab_size - 3]


def test_same_shape_and_seed_same_bytes(tmp_path):
    paths = [write_synthetic("tiny-gqa", tmp_path / name)[0] for name in "ab"]
    other = write_synthetic("tiny-gqa", tmp_path / "a", seed=1)[0]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert other.name == "synthetic-tiny-gqa-seed1.m"
    assert other.read_bytes() != paths[0].read_bytes()


def test_whole_files_are_used_again_and_others_are_not(tmp_path):
    def write():
        parts = []
        paths = write_synthetic(
            "tiny-llama", tmp_path, lambda done, total: parts.append((done, total))
        )
        return paths, parts

    (model_path, tokenizer_path), parts = write()
    size = model_path.stat().st_size
    assert [total for _, total in parts] == [size] * len(parts)
    assert parts[-1] == (size, size)
    assert parts == sorted(parts)
    whole = model_path.read_bytes()
    assert write() == ((model_path, tokenizer_path), [])
    model_path.write_bytes(whole[:-1])
    assert write()[1]
    model_path.write_bytes(whole[:16] + b"\x40" + whole[17:])  # another header of the same size
    tokenizer_path.write_bytes(b"")
    assert write()[1]
    assert model_path.read_bytes() == whole
    assert len(read_tokenizer(tokenizer_path).vocab.tokens) == 512


def test_an_interrupted_run_leaves_no_file(tmp_path):
    def interrupt(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_synthetic("tiny-llama", tmp_path, interrupt)
    assert os.listdir(tmp_path) == []


def test_not_even_a_killed_run_leaves_a_file(tmp_path):
    script = (
        "import os, signal, sys\n"
        "from dllama_engine.synthetic.model import write_synthetic\n"
        "def kill(done, total):\n"
        "    if done > total // 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_synthetic('tiny-llama', sys.argv[1], kill)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert killed.returncode == -9
    assert os.listdir(tmp_path) == []


def test_a_disk_without_space_is_refused_with_the_arithmetic(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "dllama_engine.synthetic.model.shutil.disk_usage", lambda _: Usage(9e9, 2e9, 7_000_000_000)
    )
    words = (
        r"takes 7886485695 bytes, but .* has 7000000000 free and 67108864 .*: 953594559 bytes are"
    )
    with pytest.raises(DiskSpaceError, match=words):
        write_synthetic("llama-13b", tmp_path)
    assert os.listdir(tmp_path) == []


def test_processes_that_ask_for_the_same_model_write_it_once(tmp_path):
    script = (
        "import sys\n"
        "from dllama_engine.synthetic.model import write_synthetic\n"
        "parts = []\n"
        "write_synthetic('tiny-llama', sys.argv[1], lambda done, total: parts.append(done))\n"
        "print(bool(parts))\n"
    )
    command = [sys.executable, "-c", script, tmp_path]
    writers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    wrote = [writer.communicate()[0].strip() for writer in writers]
    assert sorted(wrote) == ["False", "False", "True"]
