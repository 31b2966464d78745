"""Printed lines: what parses dllama's output parses ours; formats come from dllama's printf."""

from __future__ import annotations

import re
from array import array

import pytest

from dllama_engine.cli import console
from dllama_engine.formats.model_file import ModelFile
from dllama_engine.formats.vocab import Vocab
from dllama_engine.generation.steps import Tally
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.telemetry.network_stats import LinkStats, NetworkStats, OpStats, network_stats
from dllama_engine.wire.trace import LinkTotals, LinkTrace
from tests.data import MODELS as GOLDEN

_KINDS = {"u": r"\d+", "d": r"-?\d+", "zu": r"\d+", "lu": r"\d+", "f": r"-?(?:\d+\.\d+|nan)"}


def pattern(printf: str) -> re.Pattern[str]:
    """A regular expression of what a printf format prints, padding included."""
    parts = re.split(r"%(\d*)(?:\.(\d+))?(zu|lu|[udfs])", printf)
    text = re.escape(parts[0])
    for width, digits, kind, literal in zip(*(iter(parts[1:]),) * 4, strict=True):
        value = r"[\s\S]*" if kind == "s" else _KINDS[kind]
        if digits:
            value = rf"-?(?:\d+\.\d{{{digits}}}|nan)"
        text += rf"(?=[\s\S]{{{int(width)},}}) *({value})" if width else f"({value})"
        text += re.escape(literal)
    return re.compile(text + r"\Z")


FORMATS = {
    "eval": "🔷️ Eval%5u ms Sync%5u ms | Sent%6zu kB Recv%6zu kB | (%d tokens)",
    "pred": "🔶 Pred%5u ms Sync%5u ms | Sent%6zu kB Recv%6zu kB | %s",
    "speed": "   tokens/s: %3.2f (%3.2f ms/tok)",
    "row": "   %2d  |    %6d   |  %6.2f   |   %6.2f ms  |   %6.2f ms  |   %6.2f ms  |  %6.2f Mbps",
    "prob": "%5d / %d, prob=%f",
    "operation": "  %s: %d ops, %.2f MB, %.2f ms avg",
    "slowest": "🐌 Slowest Socket: %d (Avg Latency: %.2f ms)",
    "percentiles": "Socket %d: P50=%.2fms, P95=%.2fms, P99=%.2fms",
    "variance": "⚠️  Socket %d shows high latency variance (P95 >> P50) - "
    "potential network congestion",
    "bandwidth": "⚠️  Socket %d has low bandwidth (%.2f Mbps) - potential bandwidth limitation",
}


@pytest.mark.parametrize("sync_ms", [0, 33, 99999, 1234567])
@pytest.mark.parametrize("piece", ["efdc", " x\n", "🙂", None])
def test_step_lines_match_the_printf_formats(sync_ms: int, piece: str | None) -> None:
    figures = (5_900_000, sync_ms * 1_000_000, 200 << 10, 197 << 10)
    match = pattern(FORMATS["pred"]).match(console.pred_line(*figures, piece))
    assert match is not None
    assert match.groups() == ("5", str(sync_ms), "200", "197", piece or "~")
    match = pattern(FORMATS["eval"]).match(console.eval_line(*figures, 32))
    assert match is not None
    assert match.groups() == ("5", str(sync_ms), "200", "197", "32")


def test_widths_are_those_of_dllamas_logs() -> None:
    assert console.eval_line(20_000_000, 156_000_000, 1000 << 10, 985 << 10, 5) == (
        "🔷️ Eval   20 ms Sync  156 ms | Sent  1000 kB Recv   985 kB | (5 tokens)"
    )
    assert console.socket_row(_link()) == (
        "    0  |      2448   |   22.52   |     1.18 ms  |     5.13 ms  |     0.00 ms  |"
        "  393.93 Mbps"
    )


def _link(**changes: float) -> LinkStats:
    values: dict[str, float] = {
        "peer": 1, "operations": 2448, "sent_bytes": int(20.52 * 2**20), "recv_bytes": 2 << 20,
        "payload_bytes": 22 << 20, "avg_us": 1180, "max_us": 5130, "min_us": 4, "p50_us": 1110,
        "p95_us": 2219, "p99_us": 2250, "bandwidth_mbps": 393.93,
    }  # fmt: skip
    return LinkStats(**{**values, **changes})  # type: ignore[arg-type]


def test_network_report_matches_the_forks_shape() -> None:
    links = (_link(), _link(peer=2, avg_us=3000, p95_us=2221, bandwidth_mbps=9.5))
    ops = (OpStats("SYNC_NODE_SLICES", 245, 5 << 20, 1250, 1, 2, 3, 4),)
    lines = console.network_report(NetworkStats(links, ops))
    assert lines == [
        "",
        "📊 === Network Performance Report ===",
        "Socket | Operations | Total MB | Avg Latency | Max Latency | Min Latency | Bandwidth",
        "-------|------------|----------|-------------|-------------|-------------|----------",
        console.socket_row(links[0]),
        console.socket_row(links[1]),
        "",
        "",
        "🔍 === Network Bottleneck Analysis ===",
        "🐌 Slowest Socket: 1 (Avg Latency: 3.00 ms)",
        "Socket 0: P50=1.11ms, P95=2.22ms, P99=2.25ms",
        "Socket 1: P50=1.11ms, P95=2.22ms, P99=2.25ms",
        "⚠️  Socket 1 shows high latency variance (P95 >> P50) - potential network congestion",
        "⚠️  Socket 1 has low bandwidth (9.50 Mbps) - potential bandwidth limitation",
        "",
        "📈 Operation Analysis:",
        "  SYNC_NODE_SLICES: 245 ops, 5.00 MB, 1.25 ms avg",
        "",
    ]
    shapes = ["row", "row", "slowest", "percentiles", "variance", "bandwidth", "operation"]
    for name in shapes:
        assert any(pattern(FORMATS[name]).match(line) for line in lines)


@pytest.mark.parametrize(
    ("changes", "high_variance", "low_bandwidth"),
    [
        ({"p50_us": 1.0, "p95_us": 2.0}, False, False),
        ({"p50_us": 1.0, "p95_us": 2.1}, True, False),
        ({"bandwidth_mbps": 9.99, "operations": 101}, False, True),
        ({"bandwidth_mbps": 9.99, "operations": 100}, False, False),
        ({"bandwidth_mbps": 10.0, "operations": 101}, False, False),
    ],
)
def test_warnings_follow_the_forks_rules(
    changes: dict[str, float], high_variance: bool, low_bandwidth: bool
) -> None:
    link = _link(**changes)
    assert link.has_high_variance is high_variance
    assert link.has_low_bandwidth is low_bandwidth


def test_summary_has_the_forks_blocks() -> None:
    tally = Tally(
        *(LinkTrace(()), 177_150_000, 1_555_770_000, 5, 1, 43),
        *(1_000_216_450_000, 1_001_740_000_000),
    )
    assert console.summary_lines(tally, 32, 1_000_000_000_000) == [
        "",
        "Evaluation",
        "   nBatches: 32",
        " prefillChunks: 1 (avg 5.00 tok/chunk)",
        "    nTokens: 5",
        "   tokens/s: 28.22 (35.43 ms/tok)",
        "Prediction",
        "    nTokens: 43",
        "   tokens/s: 27.64 (36.18 ms/tok)",
        "Timing",
        "  prefillMs: 177.15",
        "     ttftMs: 216.45",
        "   decodeMs: 1555.77",
        "    totalMs: 1740.00",
    ]


def test_phases_without_tokens_are_nan() -> None:
    lines = console.summary_lines(Tally(LinkTrace(())), 32, 0)
    assert " prefillChunks: 0 (avg nan tok/chunk)" in lines
    assert lines.count("   tokens/s: nan (nan ms/tok)") == 2
    assert "     ttftMs: nan" in lines


def test_header_of_a_golden_model_is_dllamas() -> None:
    with ModelFile.open(GOLDEN / "llama_q40.m") as model:
        lines = console.model_lines(model.config, model.config.seq_len)
    assert lines == [
        "💡 Arch: Llama",
        "💡 HiddenAct: Silu",
        "💡 Dim: 128",
        "💡 HeadDim: 16",
        "💡 QDim: 128",
        "💡 KvDim: 64",
        "💡 HiddenDim: 256",
        "💡 VocabSize: 512",
        "💡 nLayers: 3",
        "💡 nHeads: 8",
        "💡 nKvHeads: 4",
        "💡 SeqLen: 256",
        "💡 NormEpsilon: 0.000010",
        "💡 RopeType: Llama",
        "💡 RopeTheta: 10000",
    ]


def test_header_names_experts_scaling_and_a_shortened_context() -> None:
    moe = console.model_lines(parse_shape("qwen3-30b-a3b"), 4096)
    for line in ("💡 Arch: Qwen3 MoE", "💡 OrigSeqLen: 40960", "💡 SeqLen: 4096",
                 "💡 nExperts: 128", "💡 nActiveExperts: 8", "💡 MoeHiddenDim: 768",
                 "💡 RopeType: Falcon", "💡 NormEpsilon: 0.000001"):  # fmt: skip
        assert line in moe
    llama31 = parse_shape("llama3.1-8b")
    assert console.model_lines(llama31, llama31.seq_len)[-2:] == [
        "💡 RopeTheta: 500000",
        "💡 RopeScaling: f=8.0, l=1.0, h=4.0, o=8192",
    ]


def test_tokenizer_lines_are_dllamas() -> None:
    vocab = Vocab((b"a", b"<s>", b"</s>"), (0.0, 0.0, 0.0), 1, (2,))
    assert console.tokenizer_lines(vocab) == [
        "📄 AddBos: 1",
        "📄 BosId: 1 (<s>)",
        "📄 EosId: 2 (</s>) ",
        "📄 RegularVocabSize: 1",
        "📄 SpecialVocabSize: 2",
    ]


def test_perplexity_lines_match_the_printf_format() -> None:
    match = pattern(FORMATS["prob"]).match(console.perplexity_line(7, 12, 0.25))
    assert match is not None
    assert match.groups() == ("7", "12", "0.250000")


def test_statistics_cover_all_operations() -> None:
    trace = LinkTrace((1, 2))
    for index in range(1000):
        trace.add_peer(1, 1000 * index)
        trace.add_peer(2, 500)
        trace.add_op(2, 1000 * index, 10)
    trace.add_op(3, 7000, 4)
    totals = LinkTotals(
        *(array("q", values) for values in ([0, 5, 6], [0, 7, 8], [0, 1, 1], [0, 2, 2], [0, 0, 0]))
    )
    stats = network_stats(trace, totals)
    link = stats.links[0]
    assert (link.operations, link.p50_us, link.p95_us, link.p99_us) == (1000, 499, 949, 989)
    assert (link.min_us, link.max_us, link.avg_us) == (0, 999, 499.5)
    assert (link.sent_bytes, link.recv_bytes, link.payload_bytes) == (5 + 8, 7 + 16, 12)
    assert link.bandwidth_mbps == pytest.approx(8 * 36 / 499500)
    assert [(op.op, op.operations, op.bytes, op.max_us) for op in stats.ops] == [
        ("SYNC_NODE_SLICES", 1000, 10000, 999),
        ("SYNC_LOGITS", 1, 4, 7),
    ]


def test_a_link_that_never_worked_has_zeros() -> None:
    zeros = array("q", [0, 0])
    (link,) = network_stats(LinkTrace((1,)), LinkTotals(zeros, zeros, zeros, zeros, zeros)).links
    assert (link.operations, link.avg_us, link.bandwidth_mbps) == (0, 0.0, 0.0)
