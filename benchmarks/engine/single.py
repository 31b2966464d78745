"""One process: kernels, decode and prefill, against memory and llama.cpp, in turns."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks.engine.gguf import write_gguf
from benchmarks.table import Row, target
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.kernels import cpu
from dllama_engine.kernels.matmul import q40
from dllama_engine.loading.sending import send_weights
from dllama_engine.sharding.plan import make_plan
from dllama_engine.tools.bandwidth import MemoryProbe
from dllama_engine.transformer.transformer import Transformer
from dllama_engine.transformer.weights import RankWeights
from dllama_engine.wire.links import Links

PROMPT, CONTEXT, DECODED = 128, 512, 12  # tokens; positions; tokens


class Engine:
    """A model in this process with any number of threads.

    Args:
        path: of the model.
        n_threads: that load it.
        n_positions: of the context.
    """

    def __init__(self, path: Path, n_threads: int = 1, n_positions: int = CONTEXT) -> None:
        self._n_positions = n_positions
        with ModelFile.open(path) as model:
            self.plan = make_plan(model.config, 1)
            self.weights = RankWeights(self.plan, 0, n_threads)
            send_weights(model, Links(0, 1, {}), self.weights)
        self._by_threads: dict[int, Transformer] = {}
        rng = np.random.default_rng(0)
        self._x = rng.standard_normal((PROMPT, model.config.dim)).astype(np.float32)

    def _transformer(self, n_threads: int) -> Transformer:
        if n_threads not in self._by_threads:
            self._by_threads[n_threads] = Transformer(
                self.plan, 0, self.weights, None,
                n_threads=n_threads, max_seq_len=self._n_positions, batch_size=PROMPT,
            )  # fmt: skip
        return self._by_threads[n_threads]

    def prefill_s(self, n_threads: int, n_tokens: int = PROMPT) -> float:
        """Seconds for a prompt of so many tokens, in batches of PROMPT."""
        transformer, start_s = self._transformer(n_threads), time.perf_counter()
        for pos in range(0, n_tokens, PROMPT):
            transformer.forward(self._x[: n_tokens - pos], pos, 0)
        return time.perf_counter() - start_s

    def decode_s(self, n_threads: int, depth: int = PROMPT) -> float:
        """Median seconds of a decode step behind a prompt of so many tokens, which was run."""
        transformer, times_s = self._transformer(n_threads), []
        for index in range(DECODED):
            start_s = time.perf_counter()
            transformer.forward(self._x[:1], depth + index, 1)
            times_s.append(time.perf_counter() - start_s)
        return float(np.median(times_s))

    def close(self) -> None:
        """End the threads."""
        for transformer in self._by_threads.values():
            transformer.close()
        self._by_threads.clear()

    @property
    def bytes_a_token(self) -> int:
        """What a decode step reads."""
        config = self.plan.config
        cache = 2 * 4 * config.n_layers * config.kv_dim * PROMPT
        return bytes_a_token(self.weights, cache)


class LlamaCpp:
    """A llama.cpp process; see `llamacpp_child`."""

    def __init__(self, python: str, gguf: Path, n_threads: int, n_positions: int = CONTEXT) -> None:
        child = Path(__file__).with_name("llamacpp_child.py")
        self._process = subprocess.Popen(
            [python, "-P", str(child), str(gguf), str(n_threads), str(n_positions)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"llama.cpp ended with code {self._process.wait()}")
        return line

    def seconds(self, what: str, n: int) -> float:
        """Time `prefill` of n tokens, or `decode` of n behind the last prefill."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {n}\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def why_not(peer: str, path: Path) -> str | None:
    """Why a llama.cpp cannot be measured with this model; None: it can.

    One that was built for a processor's matrix unit (AMX) dies where a virtual machine has none.
    """
    gguf = path.with_suffix(".gguf")
    if not gguf.exists():
        write_gguf(path, gguf)
    try:
        rival = LlamaCpp(peer, gguf, 1)
        rival.seconds("prefill", PROMPT)
    except (RuntimeError, OSError) as error:
        return str(error)
    rival.close()
    return None


def model_rows(
    path: Path, engine: Engine, threads: list[int], rounds: int, peer: str | None
) -> list[Row]:
    """Decode against memory and llama.cpp, prefill against llama.cpp."""
    probe, rows = MemoryProbe(), []
    name = path.stem.removeprefix("synthetic-")
    gguf = path.with_suffix(".gguf")
    for n in threads:
        where = f"{name}, {n} thread{'s' * (n > 1)}"
        memory = Row(f"decode, {where}: bytes read", "GB/s", "memory", target=target(name, 0.85))
        decode = Row(f"decode, {where}", "tokens/s", "llama.cpp", target=target(name, 1.3))
        prefill = Row(
            f"prefill {PROMPT}, {where}", "tokens/s", "llama.cpp", target=target(name, 1.5)
        )
        rival = LlamaCpp(peer, gguf, n) if peer else None
        engine.prefill_s(n)  # buffers touched, threads started
        for _ in range(rounds):
            memory.yard_samples.append(probe.bandwidth(n) / 1e9)
            step_s = engine.decode_s(n)
            memory.samples.append(engine.bytes_a_token / step_s / 1e9)
            decode.samples.append(1 / step_s)
            prefill.samples.append(PROMPT / engine.prefill_s(n))
            if rival:
                prefill.yard_samples.append(PROMPT / rival.seconds("prefill", PROMPT))
                decode.yard_samples.append(DECODED / rival.seconds("decode", DECODED))
        if rival:
            rival.close()
        rows += [memory, decode, prefill]
    return rows


def kernel_rows(rounds: int) -> list[Row]:
    """The Q40 x Q80 product of this CPU: out of cache against memory, and on a whole tile."""
    rows_out, probe = [], MemoryProbe()
    for n_tokens, n_rows, yardstick in ((1, 32768, "memory"), (128, 1024, "")):
        call = _product(n_rows, 2048, n_tokens)
        weight_bytes = n_rows * 2048 // 32 * 18
        unit = "GB/s" if yardstick else "GMAC/s"
        row = Row(f"Q40 x Q80 {cpu.variant()}, {n_rows} x 2048, {n_tokens} tokens", unit, yardstick)
        for _ in range(rounds):
            if yardstick:
                row.yard_samples.append(probe.bandwidth(1) / 1e9)
            start_s = time.perf_counter()
            call()
            seconds = time.perf_counter() - start_s
            work = weight_bytes if yardstick else n_rows * 2048 * n_tokens
            row.samples.append(work / seconds / 1e9)
        rows_out.append(row)
    return rows_out


def _product(rows: int, cols: int, tokens: int):  # type: ignore[no-untyped-def]
    rng, blocks = np.random.default_rng(0), cols // 32
    weights = rng.integers(0, 256, (rows // 8, blocks, 4, 32), dtype=np.uint8)
    deltas = rng.integers(0x1000, 0x3000, (rows // 8, blocks, 8)).astype(np.uint16)
    values = rng.integers(-127, 128, (tokens, cols)).astype(np.int8)
    scales, sums = rng.random((tokens, blocks), np.float32), np.zeros((tokens, blocks), np.int32)
    q40.block_sums(values, sums)
    out = np.zeros((tokens, rows), np.float32)
    arguments = (weights, deltas, values, scales, sums, out, 0, rows)
    q40.q40_q80(*arguments)
    return lambda: q40.q40_q80(*arguments)


def bytes_a_token(weights: RankWeights, kv_bytes: int = 0) -> int:
    """Bytes that one decoded token must read: all matrices and norms, and the cache so far.

    Of a mixture of experts only the active share of the experts' matrices counts.
    """
    config = weights.plan.config
    total = kv_bytes + sum(norm.nbytes for norm in weights.norms.values())
    for (_, _, expert), linear in weights.linears.items():
        share = config.n_active_experts / config.n_experts if expert >= 0 else 1.0
        total += int(linear.nbytes * share)
    return total
