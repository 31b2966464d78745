"""Damaged files end in the errors of their kind; `make fuzz` does the same at length."""

import struct
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dllama_engine.errors import EngineError, ModelFileError, TokenizerError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.header import KEYS
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.text.tokenizer import read_tokenizer
from tests.data import MODELS, ROOT
from tests.fuzz import Fuzzer

GOLDEN_TOKENIZER = (MODELS / "golden.t").read_bytes()

i32 = st.integers(-(2**31), 2**31 - 1)
sizes = st.sampled_from([-1, 0, 1, 2, 3, 32, 33, 64, 4096, 2**20, 2**31 - 1]) | i32
enums = st.sampled_from([0, 1, 2, 3, 5, 6, 0xABCD00, 0xABCD01, 0xABCD02])
pairs = st.lists(st.tuples(st.integers(-1, max(KEYS) + 1), enums | sizes), max_size=30)


@pytest.fixture(scope="module")
def path():
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file"


@settings(deadline=None, max_examples=300)
@given(pairs=pairs, tail=st.binary(max_size=40))
def test_any_model_header_is_read_or_refused(path, pairs, tail):
    body = b"".join(struct.pack("<ii", *pair) for pair in pairs)
    path.write_bytes(struct.pack("<II", 0x0A00ABCD, 8 + len(body)) + body + tail)
    with pytest.raises(ModelFileError):
        ModelFile.open(path)  # no model fits in 40 bytes


@settings(deadline=None, max_examples=200)
@given(at=st.integers(0, len(GOLDEN_TOKENIZER)), put=st.binary(max_size=12), cut=st.integers(0, 12))
def test_any_change_of_a_tokenizer_is_read_or_refused(path, at, put, cut):
    path.write_bytes(GOLDEN_TOKENIZER[:at] + put + GOLDEN_TOKENIZER[at + cut :])
    with suppress(TokenizerError):
        read_tokenizer(path).decode([97])


json_values = st.none() | st.booleans() | i32 | st.floats() | st.text(max_size=5)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(sorted(parse_shape("tiny-qwen3moe").to_json())), json_values)
def test_any_config_off_the_wire_is_read_or_refused(name, value):
    data = parse_shape("tiny-qwen3moe").to_json() | {name: value}
    try:
        config = ModelConfig.from_json(data)
    except ModelFileError:
        return
    assert ModelConfig.from_json(config.to_json()) == config


@settings(deadline=None, max_examples=200)
@given(st.text(alphabet="dimnlayersq40_=,-.12", max_size=30) | st.text(max_size=10))
def test_any_shape_is_read_or_refused(text):
    with suppress(EngineError):
        parse_shape(text)


def run_fuzz(*options, sabotage=""):
    script = f"{sabotage}\nimport sys; from tests.fuzz import main; sys.exit(main())"
    command = [sys.executable, "-W", "error", "-c", script, *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_fuzzer_finds_nothing():
    done = run_fuzz("--mutations", "600")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("600 mutations: model ")
    for outcome in ("model read", "model refused", "tokenizer read", "tokenizer refused"):
        assert outcome in done.stdout


def test_the_fuzzer_finds_what_is_there_and_names_the_mutation():
    sabotage = (
        "import dllama_engine.formats.vocab as v; "
        "v._skip = lambda data, offset, length, what: offset + length"
    )
    done = run_fuzz("--mutations", "3000", sabotage=sabotage)
    assert done.returncode != 0
    assert "mutation " in done.stderr
    assert "struct.error" in done.stderr


def test_memory_that_runs_away_is_found():
    sabotage = (
        "import dllama_engine.formats.vocab as v; "
        "v._check_header = lambda header: bytearray(2 << 30)"
    )
    done = run_fuzz("--mutations", "3000", sabotage=sabotage)
    assert "MemoryError" in done.stderr


def test_a_number_gives_the_same_file_again(tmp_path):
    fuzzer = Fuzzer(tmp_path)
    for number in (7, 8, 7):
        fuzzer.run(number)
        (tmp_path / "mutated").rename(tmp_path / f"{number}-{sum(fuzzer.outcomes.values())}")
    assert (tmp_path / "7-1").read_bytes() == (tmp_path / "7-3").read_bytes()
