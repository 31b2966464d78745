"""How people name the parts and figures of a hand-written report, in Korean and in English."""

from __future__ import annotations

import re

NODES = re.compile(
    r"^(?:\d+\.\s*)?(?P<nodes>\d+)\s*-?\s*(?:대|노드|workers?\b|nodes?\b)", re.IGNORECASE
)
_DETAILS = (
    re.compile(r"^(?!모델)(?P<model>\S.*?)(?:\s+모델)?\s+상세\s*(?:측정\s*)?결과$"),
    re.compile(
        r"^(?!(?:measurement|test|model|result)s?\b)(?P<model>\S.*?)(?:\s+model)?\s*[:–-]?\s+"
        r"(?:detailed\s+(?:measurement\s+)?(?:results|measurements)|details)$",
        re.IGNORECASE,
    ),
    re.compile(r"^(?:detailed\s+results|details)\s*(?:of|for|:)\s*(?P<model>\S.*)$", re.IGNORECASE),
)
_MODEL = re.compile(r"^(?:\d+\.\s*)?(?P<model>\S.*?)\s+(?:모델|model)$", re.IGNORECASE)
_COMMANDS = re.compile(r"부록|명령어|appendix|\bcommands?\b", re.IGNORECASE)
_UNIT = re.compile(r"\s*[(\[]\s*(?P<unit>[^)\]]*?)\s*[)\]]\s*$")

ENVIRONMENT = {
    "모델": "models", "model": "models", "models": "models",
    "토크나이저": "tokenizers", "tokenizer": "tokenizers", "tokenizers": "tokenizers",
    "버퍼 타입": "buffer_float_type", "buffer type": "buffer_float_type",
    "buffer float type": "buffer_float_type",
    "프롬프트": "prompt", "prompt": "prompt",
    "최대 스텝": "steps", "max steps": "steps", "maximum steps": "steps", "steps": "steps",
    "스레드 수": "nthreads", "threads": "nthreads", "number of threads": "nthreads",
}  # fmt: skip
FIGURES = {
    "inputtokens": "n_input_tokens", "input tokens": "n_input_tokens",
    "입력 토큰": "n_input_tokens",
    "outputtokens": "n_output_tokens", "output tokens": "n_output_tokens",
    "출력 토큰": "n_output_tokens",
    "tokenspersecond": "tokens_per_s", "tokens/s": "tokens_per_s",
    "tokens per second": "tokens_per_s", "tok/s": "tokens_per_s",
    "tpot_ms": "tpot_ms", "tpot": "tpot_ms", "ttft_s": "ttft_s", "ttft": "ttft_s",
    "rct_s": "rct_s", "rct": "rct_s",
    "총 작업 수": "operations", "total operations": "operations",
    "총 전송량": "total_mb", "total transferred": "total_mb", "total transfer": "total_mb",
    "total traffic": "total_mb",
    "평균 지연시간": "avg_ms", "average latency": "avg_ms", "avg latency": "avg_ms",
    "최대 지연시간": "max_ms", "maximum latency": "max_ms", "max latency": "max_ms",
    "최소 지연시간": "min_ms", "minimum latency": "min_ms", "min latency": "min_ms",
    "대역폭": "bandwidth_mbps", "bandwidth": "bandwidth_mbps",
    "가장 느린 소켓": "slowest_socket", "slowest socket": "slowest_socket",
}  # fmt: skip
MEMORY = {
    "root": "root", "root 메모리": "root", "root memory": "root", "루트 메모리": "root",
    "worker": "worker", "worker 메모리": "worker", "worker memory": "worker",
    "워커 메모리": "worker",
}  # fmt: skip
NODE_COLUMNS = (
    *("워커 수", "노드 수", "워커", "노드", "구성", "workers", "nodes", "worker count"),
    *("number of workers", "number of nodes", "node count", "configuration"),
)
MODEL_COLUMNS = ("모델", "model")
_PER_UNIT = {"s": 1.0, "sec": 1.0, "초": 1.0, "ms": 1e-3, "밀리초": 1e-3}


def details_of(title: str) -> str | None:
    """The model whose detailed results this heading opens.

    >>> details_of("Llama-13B 모델 상세 결과"), details_of("Llama-13B model: detailed results")
    ('Llama-13B', 'Llama-13B')
    >>> details_of("상세 측정 결과"), details_of("Detailed results")
    (None, None)
    """
    found = next((match for known in _DETAILS if (match := known.match(title))), None)
    return found["model"].strip() if found else None


def model_of(title: str) -> str | None:
    """The model that a heading names.

    >>> model_of("Llama-13B 모델"), model_of("qwen3-0.6b model"), model_of("결론")
    ('Llama-13B', 'qwen3-0.6b', None)
    """
    found = _MODEL.match(title)
    return found["model"] if found else None


def are_commands(title: str) -> bool:
    """Whether a heading opens the commands."""
    return _COMMANDS.search(title) is not None


def key_and_unit(text: str) -> tuple[str, str]:
    """A key without marks of emphasis and without its unit, and that unit.

    >>> key_and_unit("**TPOT (ms)**"), key_and_unit("RCT_S")
    (('tpot', 'ms'), ('rct_s', ''))
    """
    plain = text.replace("*", "").replace("`", "").strip()
    unit = _UNIT.search(plain)
    key = _UNIT.sub("", plain)
    return " ".join(key.lower().split()), unit["unit"].lower() if unit else ""


def in_our_unit(figure: str, value: float, unit: str) -> float:
    """A time in the unit that our name of it ends with; anything else as it is.

    >>> in_our_unit("ttft_s", 7669.0, "ms"), in_our_unit("tpot_ms", 1.2, "s")
    (7.669, 1200.0)
    """
    ours = figure.rpartition("_")[2]
    if figure == "tokens_per_s" or ours not in ("s", "ms") or unit not in _PER_UNIT:
        return value
    factor = _PER_UNIT[unit] / _PER_UNIT[ours]
    return value if factor == 1.0 else value * factor
