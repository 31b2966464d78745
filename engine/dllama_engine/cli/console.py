"""dllama's printed lines, so that whoever reads or parses dllama's output can read ours.

Pure functions from figures to text; the formats are dllama's own, upstream's and the fork's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dllama_engine.formats.config import Arch, HiddenAct, ModelConfig, RopeType
from dllama_engine.sharding.collective import halves_from
from dllama_engine.sharding.plan import SyncMode
from dllama_engine.telemetry.plan import collective_event, rate_mbps

if TYPE_CHECKING:
    from dllama_engine.collectives.choice import Choice
    from dllama_engine.formats.vocab import Vocab
    from dllama_engine.generation.steps import Tally
    from dllama_engine.sharding.plan import ShardPlan
    from dllama_engine.telemetry.network_stats import LinkStats, NetworkStats

_ARCHS = {Arch.LLAMA: "Llama", Arch.QWEN3: "Qwen3", Arch.QWEN3_MOE: "Qwen3 MoE"}
_ACTS = {HiddenAct.GELU: "Gelu", HiddenAct.SILU: "Silu"}
_ROPES = {RopeType.LLAMA: "Llama", RopeType.FALCON: "Falcon", RopeType.LLAMA3_1: "Llama3.1"}


def tokenizer_lines(vocab: Vocab) -> list[str]:
    """What dllama says of a tokenizer."""

    def piece(token_id: int) -> str:
        return vocab.tokens[token_id].decode("utf-8", errors="replace")

    lines = [
        f"📄 AddBos: {int(vocab.add_bos)}",
        f"📄 BosId: {vocab.bos_id} ({piece(vocab.bos_id)})",
    ]
    if vocab.eos_ids:
        ends = "".join(f"{token_id} ({piece(token_id)}) " for token_id in vocab.eos_ids)
        lines.append(f"📄 EosId: {ends}")
    return [
        *lines,
        f"📄 RegularVocabSize: {vocab.bos_id}",
        f"📄 SpecialVocabSize: {len(vocab.tokens) - vocab.bos_id}",
    ]


def model_lines(config: ModelConfig, max_seq_len: int) -> list[str]:
    """What dllama says of a model."""
    values: dict[str, object] = {
        "Arch": _ARCHS[config.arch],
        "HiddenAct": _ACTS[config.hidden_act],
        "Dim": config.dim,
        "HeadDim": config.head_dim,
        "QDim": config.q_dim,
        "KvDim": config.kv_dim,
        "HiddenDim": config.hidden_dim,
        "VocabSize": config.vocab_size,
        "nLayers": config.n_layers,
        "nHeads": config.n_heads,
        "nKvHeads": config.n_kv_heads,
    }
    if max_seq_len != config.seq_len:
        values["OrigSeqLen"] = config.seq_len
    if config.is_moe:
        values |= {
            "nExperts": config.n_experts,
            "nActiveExperts": config.n_active_experts,
            "MoeHiddenDim": config.moe_hidden_dim,
        }
    values |= {
        "SeqLen": max_seq_len,
        "NormEpsilon": f"{config.norm_epsilon:f}",
        "RopeType": _ROPES[config.rope_type],
        "RopeTheta": f"{config.rope_theta:.0f}",
    }
    if config.rope_type is RopeType.LLAMA3_1:
        values["RopeScaling"] = (
            f"f={config.rope_scaling_factor:.1f}, l={config.rope_scaling_low_freq_factor:.1f}, "
            f"h={config.rope_scaling_high_freq_factor:.1f}, "
            f"o={config.rope_scaling_orig_max_seq_len}"
        )
    return [f"💡 {name}: {value}" for name, value in values.items()]


def collective_lines(plan: ShardPlan, choice: Choice | None) -> list[str]:
    """What serves, in the fork's words; and, where that was probed for, why."""
    (_, first), *others = collective_event(plan, choice).picks
    served = "".join(f", {name} from {n_tokens} tokens on" for n_tokens, name in others)
    lines = [f"📡 Collective: {first} (nNodes={plan.world_size}){served}"]
    if (from_tokens := halves_from(plan.picks)) is not None:
        lines.append(
            f"📡 Overlap: batches of {from_tokens} tokens and more go in halves, "
            "one sent while the other is computed"
        )
    if choice is not None:
        costs, rate = choice.costs, rate_mbps(choice.costs)
        lines.append(
            f"📡 Probed: a round takes {1e6 * costs.round_s:.0f} us, a further message "
            f"{1e6 * costs.message_s:.0f} us; a node's bytes "
            + ("take no time that shows" if rate is None else f"go at {rate:.0f} Mbit/s")
            + (
                ""
                if costs.fan is None
                else f"; to the root or back {1e6 * costs.fan.round_s:.0f} us"
            )
        )
        lines += [_predicted_line(choice, index) for index in range(len(choice.sizes))]
        if choice.layer_s is not None:
            whole_us, halves_us = (1e6 * time_s for time_s in choice.layer_s)
            lines.append(
                f"📡 A layer of {choice.sizes[-1]} tokens, in us by the model: whole "
                f"{whole_us:.0f}, in halves {halves_us:.0f}"
            )
        lines.append(f"📡 The same without a probe: {_asking(plan)}")
    if plan.sync_mode is SyncMode.REDUCE and any(p.collective.scatters for p in plan.picks):
        lines.append("📡 Sums are cast a second time: the last bits of x differ from the mesh's")
    return lines


def _asking(plan: ShardPlan) -> str:
    """The flags that ask for what serves."""
    asked = plan.settled(plan.picks)
    overlap = f" --overlap {asked.overlap}" if asked.overlap.from_tokens else ""
    return f"--collective {asked.collective}{overlap}"


def _predicted_line(choice: Choice, index: int) -> str:
    """What the model says of one size of batches, the fastest first."""
    size = choice.sizes[index]
    times_s = sorted((times[index], name) for name, times in choice.predicted_s.items())
    listed = ", ".join(f"{name} {1e6 * time_s:.0f}" for time_s, name in times_s)
    return f"📡 An exchange of {size} token{'s' * (size > 1)}, in us by the model: {listed}"


def required_memory_line(n_bytes: int) -> str:
    """The root's share.

    >>> required_memory_line(170 << 20)
    '📀 RequiredMemory: 170 MB'
    """
    return f"📀 RequiredMemory: {n_bytes >> 20} MB"


def eval_line(
    compute_ns: int, sync_ns: int, sent_bytes: int, recv_bytes: int, n_tokens: int
) -> str:
    """One prefill batch.

    >>> eval_line(20_400_000, 156_900_000, 1000 << 10, (986 << 10) - 1, 5)
    '🔷️ Eval   20 ms Sync  156 ms | Sent  1000 kB Recv   985 kB | (5 tokens)'
    """
    return f"🔷️ Eval{_step(compute_ns, sync_ns, sent_bytes, recv_bytes)} | ({n_tokens} tokens)"


def pred_line(
    compute_ns: int, sync_ns: int, sent_bytes: int, recv_bytes: int, piece: str | None
) -> str:
    """One generated token; `~` when it prints nothing.

    >>> pred_line(5_000_000, 33_000_000, 200 << 10, 197 << 10, "efdc")
    '🔶 Pred    5 ms Sync   33 ms | Sent   200 kB Recv   197 kB | efdc'
    >>> pred_line(0, 0, 0, 0, "")[-8:]
    '0 kB | ~'
    """
    return f"🔶 Pred{_step(compute_ns, sync_ns, sent_bytes, recv_bytes)} | {piece or '~'}"


def _step(compute_ns: int, sync_ns: int, sent_bytes: int, recv_bytes: int) -> str:
    return (
        f"{compute_ns // 1_000_000:5d} ms Sync{sync_ns // 1_000_000:5d} ms | "
        f"Sent{sent_bytes // 1024:6d} kB Recv{recv_bytes // 1024:6d} kB"
    )


def speed_line(n_tokens: int, duration_ns: int) -> str:
    """Tokens per second of a phase; nan when it had none, as in dllama.

    >>> speed_line(5, 176_800_000)
    '   tokens/s: 28.28 (35.36 ms/tok)'
    >>> speed_line(0, 0)
    '   tokens/s: nan (nan ms/tok)'
    """
    ms = duration_ns / 1e6
    per_s = n_tokens * 1e3 / ms if ms else math.nan
    return f"   tokens/s: {per_s:3.2f} ({ms / n_tokens if n_tokens else math.nan:3.2f} ms/tok)"


def summary_lines(tally: Tally, batch_size: int, request_ns: int) -> list[str]:
    """Evaluation, Prediction and the fork's Timing.

    TTFT and the total count from before tokenizing, as the figures of the events do.
    """
    prefill_ms, decode_ms = tally.prefill_ns / 1e6, tally.decode_ns / 1e6
    chunks = tally.n_prefill_chunks
    average = tally.n_prefill_tokens / chunks if chunks else math.nan
    ttft_ms = total_ms = math.nan
    if tally.first_token_ns is not None and tally.last_token_ns is not None:
        ttft_ms = (tally.first_token_ns - request_ns) / 1e6
        total_ms = (tally.last_token_ns - request_ns) / 1e6
    return [
        "",
        "Evaluation",
        f"   nBatches: {batch_size}",
        f" prefillChunks: {chunks} (avg {average:3.2f} tok/chunk)",
        f"    nTokens: {tally.n_prefill_tokens}",
        speed_line(tally.n_prefill_tokens, tally.prefill_ns),
        "Prediction",
        f"    nTokens: {tally.n_decode_tokens}",
        speed_line(tally.n_decode_tokens, tally.decode_ns),
        "Timing",
        f"  prefillMs: {prefill_ms:3.2f}",
        f"     ttftMs: {ttft_ms:3.2f}",
        f"   decodeMs: {decode_ms:3.2f}",
        f"    totalMs: {total_ms:3.2f}",
    ]


def perplexity_line(index: int, total: int, probability: float) -> str:
    """One scored token.

    >>> perplexity_line(1, 12, 1.5e-5)
    '    1 / 12, prob=0.000015'
    """
    return f"{index:5d} / {total}, prob={probability:f}"


def perplexity_summary(total_log_prob: float, n_scored: int) -> list[str]:
    """Perplexity and its kin.

    >>> perplexity_summary(-3 * math.log(8), 3)[2:]
    ['   perplexity: 8.000000 (lower = better)', '   avgLogProb: -2.079442', \
'   bitPerToken: 3.000000']
    """
    average = total_log_prob / n_scored
    return [
        "",
        "Results",
        f"   perplexity: {math.exp(min(-average, 700.0)):f} (lower = better)",
        f"   avgLogProb: {average:f}",
        f"   bitPerToken: {-average / math.log(2):f}",
    ]


def network_report(stats: NetworkStats) -> list[str]:
    """The fork's report, over all operations where the fork's own looks at the first few only."""
    return [
        "",
        "📊 === Network Performance Report ===",
        "Socket | Operations | Total MB | Avg Latency | Max Latency | Min Latency | Bandwidth",
        "-------|------------|----------|-------------|-------------|-------------|----------",
        *(socket_row(link) for link in stats.links),
        "",
        "",
        "🔍 === Network Bottleneck Analysis ===",
        *_bottlenecks(stats.links),
        "",
        "📈 Operation Analysis:",
        *(
            f"  {op.op}: {op.operations} ops, {op.bytes / 2**20:.2f} MB, "
            f"{op.avg_us / 1e3:.2f} ms avg"
            for op in stats.ops
        ),
        "",
    ]


def socket_row(link: LinkStats) -> str:
    """One row of the table; sockets count from 0, MB is 2^20 bytes of payload and framing."""
    total_mb = (link.sent_bytes + link.recv_bytes) / 2**20
    return (
        f"   {link.peer - 1:2d}  |    {link.operations:6d}   |  {total_mb:6.2f}   |   "
        f"{link.avg_us / 1e3:6.2f} ms  |   {link.max_us / 1e3:6.2f} ms  |   "
        f"{link.min_us / 1e3:6.2f} ms  |  {link.bandwidth_mbps:6.2f} Mbps"
    )


def _bottlenecks(links: Iterable[LinkStats]) -> list[str]:
    links = list(links)
    if not links:
        return []
    slowest = max(links, key=lambda link: link.avg_us)
    lines = [f"🐌 Slowest Socket: {slowest.peer - 1} (Avg Latency: {slowest.avg_us / 1e3:.2f} ms)"]
    for link in links:
        name = f"Socket {link.peer - 1}"
        lines.append(
            f"{name}: P50={link.p50_us / 1e3:.2f}ms, P95={link.p95_us / 1e3:.2f}ms, "
            f"P99={link.p99_us / 1e3:.2f}ms"
        )
        if link.has_high_variance:
            lines.append(
                f"⚠️  {name} shows high latency variance (P95 >> P50) - potential network congestion"
            )
        if link.has_low_bandwidth:
            lines.append(
                f"⚠️  {name} has low bandwidth ({link.bandwidth_mbps:.2f} Mbps) - "
                "potential bandwidth limitation"
            )
    return lines
