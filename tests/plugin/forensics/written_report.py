"""A scaling report that a person wrote, made again from its facts: its figures as printed there."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.data import REPORTS

FACTS: dict[str, Any] = tomllib.loads((REPORTS / "scaling_13b_30b.toml").read_text("utf-8"))
CELLS: list[dict[str, Any]] = FACTS["cell"]
NO_DATA = "측정 데이터 없음"


def as_markdown(facts: dict[str, Any]) -> str:
    """The facts in the form in which people write such a report."""
    models = dict.fromkeys(cell["model"] for cell in facts["cell"])
    quoted = {
        key: ", ".join(f"`{name}`" for name in facts[key]) for key in ("models", "tokenizers")
    }
    lines = [
        "# 분산 LLM 스케일링 보고서", "", "**테스트 환경:**",
        f"- 모델: {quoted['models']}", f"- 토크나이저: {quoted['tokenizers']}",
        f"- 버퍼 타입: `{facts['buffer_float_type']}`", f'- 프롬프트: "{facts["prompt"]}"',
        f"- 최대 스텝: {facts['steps']}", f"- 스레드 수: {facts['nthreads']}", "",
        "## 측정 결과 통합 요약", "", "### 2대 워커 구성", "- Root: 1 GB", "",
        "## 상세 측정 결과", "",
    ]  # fmt: skip
    for model in models:
        lines += [f"### {model} 모델 상세 결과", ""]
        for index, cell in enumerate(c for c in facts["cell"] if c["model"] == model):
            lines += [f"#### {index + 1}. {cell['nodes']}대 워커 구성", "", *_cell_lines(cell), ""]
    lines += ["## 결론", "- TTFT_S: 1.0", "", "## 부록: 테스트 명령어", ""]
    for model in models:
        lines += [f"### {model} 모델", ""]
        for cell in (c for c in facts["cell"] if c["model"] == model):
            names = " ".join(f"100.64.0.{n}:9999" for n in range(1, cell["listed_workers"] + 1))
            lines += [f"#### {cell['nodes']}대 워커", "```bash", "./dllama inference \\",
                      f"  --workers {names}", "```", ""]  # fmt: skip
    return "\n".join(lines)


def _cell_lines(cell: dict[str, Any]) -> list[str]:
    def block(title: str, key: str) -> list[str]:
        n, per_s, ms = cell[key]
        batches = [f"   nBatches: {cell['n_batches']}"] if key == "evaluation" else []
        return [title, *batches, f"    nTokens: {n}", f"   tokens/s: {per_s:.2f} ({ms:.2f} ms/tok)"]

    p50, p95, p99 = cell["percentiles_ms"]
    return [
        f"- Root: {cell.get('root', NO_DATA)}", f"- Worker: {cell.get('worker', NO_DATA)}", "```",
        *block("Evaluation", "evaluation"), "", *block("Prediction", "prediction"), "```",
        f"- InputTokens: {cell['n_input_tokens']}", f"- OutputTokens: {cell['n_output_tokens']}",
        f"- TokensPerSecond: {cell['tokens_per_s']:.2f}", f"- TPOT_MS: {cell['tpot_ms']:.2f}",
        f"- TTFT_S: {cell['ttft_s']:.3f}", f"- RCT_S: {cell['rct_s']:.3f}",
        f"- 총 작업 수: {cell['operations']:,}", f"- 총 전송량: {cell['total_mb']:,.2f} MB",
        f"- 평균 지연시간: {cell['avg_ms']:.2f} ms", f"- 최대 지연시간: {cell['max_ms']:.2f} ms",
        f"- 최소 지연시간: {cell['min_ms']:.2f} ms", f"- 대역폭: {cell['bandwidth_mbps']:.2f} Mbps",
        f"- 가장 느린 소켓: 0 (평균 지연시간: {cell['avg_ms']:.2f} ms)",
        f"- P50: {p50:.2f}ms, P95: {p95:.2f}ms, P99: {p99:.2f}ms",
        *(f"- {name}: {n} ops, {mb:.2f} MB, {avg:.2f} ms avg"
          for name, n, mb, avg in cell["operation_lines"]),
    ]  # fmt: skip
