"""The logs of the samples, logs of any pieces, and damaged ones."""

from __future__ import annotations

from hypothesis import strategies as st

from pytest_dllama.backends.dllama.printed.log import parse_log
from pytest_dllama.backends.dllama.printed.run import LoggedRun
from tests.data import LOGS

NAMES = sorted(path.name for path in LOGS.glob("*.log"))


def read(name: str) -> str:
    return (LOGS / name).read_text(encoding="utf-8")


def only(name: str) -> LoggedRun:
    (run,) = parse_log(read(name))
    return run


def generated(*pieces: str) -> str:
    """A whole upstream run that generated these pieces."""
    pred = "🔶 Pred    9 ms Sync    1 ms | Sent    22 kB Recv    81 kB | "
    return (
        "💿 Weights loaded\nhello world\n"
        "🔷️ Eval   17 ms Sync    2 ms | Sent   110 kB Recv   408 kB | (5 tokens)\n"
        + "".join(f"{pred}{piece}\n" for piece in pieces)
        + "\nEvaluation\n   nBatches: 32\n    nTokens: 5\n   tokens/s: 245.88 (4.07 ms/tok)\n"
        f"Prediction\n    nTokens: {len(pieces)}\n   tokens/s: 90.34 (11.07 ms/tok)\n"
    )


def damaged(draw: st.DrawFn) -> str:
    """A sample cut, doubled, shuffled, recoded or with bytes flipped."""
    lines = read(draw(st.sampled_from(NAMES))).split("\n")
    lines = lines[-120:] if len(lines) > 150 else lines
    at = st.integers(0, len(lines) - 1)
    how = draw(st.sampled_from(["cut", "double", "mix", "crlf", "ansi", "flip", "none", "drop"]))
    if how == "double":
        i = draw(at)
        lines.insert(i, lines[i])
    elif how == "drop":
        del lines[draw(at)]
    elif how == "mix":
        other = read(draw(st.sampled_from(NAMES))).split("\n")[-40:]
        for line in other:
            lines.insert(draw(st.integers(0, len(lines))), line)
    elif how == "ansi":
        lines = [f"\x1b[3{i % 8}m{line}\x1b[K" for i, line in enumerate(lines)]
    text = ("\r\n" if how == "crlf" else "\n").join(lines)
    if how == "cut":
        start = draw(st.integers(0, len(text)))
        text = text[start : start + draw(st.integers(0, len(text)))]
    elif how == "flip":
        raw = bytearray(text.encode())
        for _ in range(draw(st.integers(1, 8))):
            raw[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
        text = raw.decode("utf-8", errors="replace")
    return text


damaged_logs = st.composite(damaged)()
