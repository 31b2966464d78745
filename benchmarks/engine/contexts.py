"""Long contexts: prompts of thousands of tokens, decoding behind them, and the memory it takes.

The rows are llama-bench's `-p N` and `-n G -d N`, beside llama.cpp with its defaults (a cache in
float16; the engine's is float32).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine.gguf import write_gguf
from benchmarks.engine.single import DECODED, PROMPT, Engine, LlamaCpp
from benchmarks.sessions.processes import request_events
from benchmarks.table import Row
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import rank_memory
from dllama_engine.sharding.plan import make_plan
from dllama_engine.synthetic.model import write_synthetic

_SLACK = 128  # positions behind the deepest context
_NEAR = 1.1  # as planned within 10 %


def context_rows(
    shape: str, folder: Path, depths: Sequence[int], n_threads: int, rounds: int, peer: str | None
) -> list[Row]:
    """Prefill of so many tokens, decode behind them, and a process's memory at the deepest."""
    n_positions = max(depths) + _SLACK
    model, _ = write_synthetic(f"{shape},seq_len={n_positions}", folder)
    gguf = model.with_suffix(".gguf")
    if peer and not gguf.exists():
        write_gguf(model, gguf)
    engine = Engine(model, n_threads, n_positions)
    rival = LlamaCpp(peer, gguf, n_threads, n_positions) if peer else None
    where, rows = f"{shape}, {n_threads} thread{'s' * (n_threads > 1)}", []
    engine.prefill_s(n_threads, PROMPT)  # buffers touched, threads started
    for depth in depths:
        prefill = Row(f"prefill {depth}, {where}", "tokens/s", "llama.cpp")
        decode = Row(f"decode at depth {depth}, {where}", "tokens/s", "llama.cpp")
        for _ in range(rounds):
            prefill.samples.append(depth / engine.prefill_s(n_threads, depth))
            decode.samples.append(1 / engine.decode_s(n_threads, depth))
            if rival:
                prefill.yard_samples.append(depth / rival.seconds("prefill", depth))
                decode.yard_samples.append(DECODED / rival.seconds("decode", DECODED))
        rows += [prefill, decode]
    engine.close()
    if rival:
        rival.close()
    return [*rows, _memory_row(shape, model, max(depths), n_threads)]


def _memory_row(shape: str, model: Path, depth: int, n_threads: int) -> Row:
    """A process that decodes behind so many positions, beside what the plan says it takes."""
    row = Row(f"memory at depth {depth}, {shape}", "MiB", "plan", at_most=_NEAR)
    n_positions = depth + _SLACK
    events = request_events(
        model, [], n_threads,
        "--context-depth", str(depth), "--max-seq-len", str(n_positions), "--nbatches", str(PROMPT),
    )  # fmt: skip
    (account,) = [event for event in events if event["event"] == "rank"]
    with ModelFile.open(model) as opened:
        plan = make_plan(opened.config, 1)
    planned = rank_memory(
        plan, 0, batch_size=PROMPT, max_seq_len=n_positions, kv_type=FloatType.F32
    )
    row.samples.append(account["peak_rss_bytes"] / 2**20)
    row.yard_samples.append(planned.total_bytes / 2**20)
    return row
