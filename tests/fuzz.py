"""Mutation fuzzing of `.m` and `.t` files: `python -m tests.fuzz --mutations 100000`.

Every mutated file must be read, or refused with the error of its kind. Another exception, a file
that takes longer than the alarm, or memory beyond the limit of this process ends the run with the
number of the mutation, which `--first N --mutations 1` repeats.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import struct
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from dllama_engine.errors import ModelFileError, TokenizerError
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.model_file import ModelFile, model_bytes, write_model
from dllama_engine.formats.quants import decode_tensor
from dllama_engine.formats.vocab import write_tokenizer
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.synthetic.vocab import synthetic_vocab
from dllama_engine.text.tokenizer import read_tokenizer
from tests.data import MODELS

GOLDEN_TOKENIZER = MODELS / "golden.t"
ALARM_S = 10
SPARE_MEMORY_BYTES = 512 << 20
LARGEST_FILE_BYTES = 8 << 20
PROMPT = "Hello world, the wind 한국 <|eos|> </s> \x00\xff".encode()
TELLING = (0, 1, 2, 3, 7, 8, 31, 32, 33, 64, 255, 256, 4096, 65536, 2**20, 2**24, 2**30)
TELLING_I32 = (*TELLING, *(-n for n in TELLING), 2**31 - 1, -(2**31), 0xABCD00, 0xABCD01, 0xABCD02)
TELLING_F32 = (float("nan"), float("inf"), float("-inf"), 1e30, -1e30, 1e-45)

Mutation = Callable[[random.Random, bytearray], None]


def main() -> int:
    """Run the mutations in this process, limited in memory; 0 when all ended as they should."""
    options = _options()
    with tempfile.TemporaryDirectory(dir=_memory_folder()) as folder:
        fuzzer = Fuzzer(Path(folder))
        limit_memory()
        signal.signal(signal.SIGALRM, _alarm)
        for number in range(options.first, options.first + options.mutations):
            try:
                fuzzer.run(number)
            except BaseException:
                print(f"mutation {number}: {fuzzer.subject}", file=sys.stderr)
                raise
    outcomes = ", ".join(f"{name} {n}" for name, n in sorted(fuzzer.outcomes.items()))
    print(f"{options.mutations} mutations: {outcomes}")
    return 0


class Fuzzer:
    """Mutates seed files by number: the same number gives the same file."""

    def __init__(self, folder: Path) -> None:
        self.outcomes: Counter[str] = Counter()
        self.subject = ""
        self._path = folder / "mutated"
        self._models = [_small_model(folder / "seed.m", shape) for shape in _SMALL_MODELS]
        self._tokenizers = [GOLDEN_TOKENIZER.read_bytes(), _small_tokenizer(folder / "seed.t")]

    def run(self, number: int) -> None:
        """One mutated file, read and used."""
        rng = random.Random(number)
        is_model = rng.random() < 0.5
        data = bytearray(rng.choice(self._models if is_model else self._tokenizers))
        mutations = rng.choices(_MUTATIONS, k=rng.randint(1, 4))
        self.subject = f"{'.m' if is_model else '.t'} {[m.__name__ for m in mutations]}"
        for mutate in mutations:
            mutate(rng, data)
        self._path.write_bytes(data[:LARGEST_FILE_BYTES])
        signal.alarm(ALARM_S)
        try:
            outcome = self._use_model(rng) if is_model else self._use_tokenizer()
        finally:
            signal.alarm(0)
        self.outcomes[outcome] += 1

    def _use_model(self, rng: random.Random) -> str:
        try:
            return _read_model(self._path)
        except ModelFileError as error:
            expected = _asked_size(str(error))
        if expected is None or expected > LARGEST_FILE_BYTES:
            return "model refused"
        os.truncate(self._path, expected)  # what would follow if only the size were right
        try:
            return _read_model(self._path)
        except ModelFileError:
            return "model of the right size refused"

    def _use_tokenizer(self) -> str:
        try:
            tokenizer = read_tokenizer(self._path)
        except TokenizerError:
            return "tokenizer refused"
        try:
            ids = tokenizer.encode(PROMPT)
        except TokenizerError:
            ids = list(range(len(tokenizer.vocab.tokens)))
        stream = tokenizer.stream_decoder()
        "".join(map(stream.push, ids)).encode()
        tokenizer.decode(ids)
        return "tokenizer read"


def _read_model(path: Path) -> str:
    with ModelFile.open(path) as model:
        assert ModelConfig.from_json(model.config.to_json()) == model.config
        for before, after in pairwise(model.specs):
            assert after.offset == before.offset + before.nbytes
        for spec in model.specs:
            model.check_finite(spec)
            assert np.isfinite(decode_tensor(model.raw(spec)[:4], spec.float_type)).all()
    return "model read"


def _asked_size(message: str) -> int | None:
    _, found, rest = message.partition("the header asks for ")
    return int(rest.split()[0]) if found else None


def set_pair(rng: random.Random, data: bytearray) -> None:
    """A telling value for one header key, or another key."""
    if (n_pairs := _n_pairs(data)) == 0:
        return
    at = 8 + 8 * rng.randrange(n_pairs) + 4 * (rng.random() < 0.9)
    struct.pack_into("<i", data, at, _wrapped(rng.choice(TELLING_I32)))


def nudge_pair(rng: random.Random, data: bytearray) -> None:
    """A header value one off, doubled or negated."""
    if (n_pairs := _n_pairs(data)) == 0:
        return
    at = 12 + 8 * rng.randrange(n_pairs)
    (value,) = struct.unpack_from("<i", data, at)
    struct.pack_into(
        "<i", data, at, _wrapped(rng.choice((value + 1, value - 1, 2 * value, -value)))
    )


def drop_pair(rng: random.Random, data: bytearray) -> None:
    """One pair less, and the header size that fits."""
    if (n_pairs := _n_pairs(data)) == 0:
        return
    at = 8 + 8 * rng.randrange(n_pairs)
    del data[at : at + 8]
    struct.pack_into("<i", data, 4, 8 * n_pairs)


def add_pair(rng: random.Random, data: bytearray) -> None:
    """One pair more: any key, any value."""
    n_pairs = _n_pairs(data)
    pair = struct.pack("<ii", rng.randint(-2, 24), _wrapped(rng.choice(TELLING_I32)))
    data[8 + 8 * n_pairs : 8 + 8 * n_pairs] = pair
    struct.pack_into("<i", data, 4, 16 + 8 * n_pairs)


def set_header_size(rng: random.Random, data: bytearray) -> None:
    """A header size that is not the header's."""
    if len(data) >= 8:
        struct.pack_into("<i", data, 4, _wrapped(rng.choice(TELLING_I32)))


def set_magic(rng: random.Random, data: bytearray) -> None:
    """Another magic, of older formats too."""
    magics = (0xABCD00, 0xABCD01, 0x567123, 0x567124, 0x0A00ABCD, 0, 0xFFFFFFFF)
    data[:4] = struct.pack("<I", rng.choice(magics))


def flip_bits(rng: random.Random, data: bytearray) -> None:
    """Some bits anywhere, half of the time in the first bytes."""
    for _ in range(rng.randint(1, 8) if data else 0):
        end = min(len(data), 256) if rng.random() < 0.5 else len(data)
        data[rng.randrange(end)] ^= 1 << rng.randrange(8)


def set_word(rng: random.Random, data: bytearray) -> None:
    """A telling number over any four bytes."""
    if len(data) >= 4:
        at = rng.randrange(len(data) - 3)
        if rng.random() < 0.5:
            struct.pack_into("<f", data, at, rng.choice(TELLING_F32))
        else:
            struct.pack_into("<i", data, at, _wrapped(rng.choice(TELLING_I32)))


def truncate(rng: random.Random, data: bytearray) -> None:
    """The file ends early."""
    del data[rng.randrange(len(data) + 1) :]


def append(rng: random.Random, data: bytearray) -> None:
    """Bytes follow the end."""
    data += rng.randbytes(rng.choice((1, 4, 18, 1000)))


def cut_out(rng: random.Random, data: bytearray) -> None:
    """Some bytes are missing."""
    at = rng.randrange(len(data) + 1)
    del data[at : at + rng.choice((1, 2, 4, 8, 100))]


def repeat(rng: random.Random, data: bytearray) -> None:
    """Some bytes come twice."""
    at = rng.randrange(len(data) + 1)
    data[at:at] = data[at : at + rng.choice((1, 4, 8, 100, 5000))]


_MUTATIONS: tuple[Mutation, ...] = (
    set_pair, set_pair, nudge_pair, nudge_pair, drop_pair, add_pair, set_header_size, set_magic,
    flip_bits, flip_bits, set_word, set_word, truncate, append, cut_out, repeat,
)  # fmt: skip
_TINY = "dim=32,hidden_dim=32,n_layers=2,n_heads=2,n_kv_heads=1,vocab_size=8,seq_len=16"
_SMALL_MODELS = (
    _TINY,
    f"{_TINY},weight_type=f32",
    f"{_TINY},weight_type=f16",
    f"{_TINY},weight_type=q80,rope_type=llama3_1,rope_scaling_factor=8,"
    "rope_scaling_high_freq_factor=4,rope_scaling_orig_max_seq_len=64",
    f"{_TINY},arch=qwen3",
    f"{_TINY},arch=qwen3_moe,n_experts=3,n_active_experts=2,moe_hidden_dim=32",
)


def _small_model(path: Path, shape: str) -> bytes:
    config = parse_shape(shape)
    write_model(path, config, lambda spec: np.ones(spec.shape, np.float32))
    assert path.stat().st_size == model_bytes(config)
    return path.read_bytes()


def _small_tokenizer(path: Path) -> bytes:
    write_tokenizer(path, replace(synthetic_vocab(300), chat_template="[INST] é"))
    return path.read_bytes()


def _n_pairs(data: bytearray) -> int:
    """Pairs that the header size claims and the file holds."""
    if len(data) < 8:
        data += bytes(8 - len(data))
    size: int = struct.unpack_from("<i", data, 4)[0]
    return max(0, min(size, len(data), 4096) - 8) // 8


def _wrapped(value: int) -> int:
    return (value + 2**31) % 2**32 - 2**31


def limit_memory() -> None:
    """Address space of now and a margin: memory that runs away is a MemoryError here."""
    n_pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = n_pages * os.sysconf("SC_PAGE_SIZE") + SPARE_MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _memory_folder() -> str | None:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def _alarm(*_: object) -> None:
    raise TimeoutError(f"one file took more than {ALARM_S} s")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--mutations", type=int, default=100_000, metavar="N")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first one")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
