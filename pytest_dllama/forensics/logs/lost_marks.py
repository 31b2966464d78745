"""Lines whose signs (🔶 Pred, 💡 Dim) a console or an editor lost -> the lines with them.

A terminal without the letters leaves `?? Pred`, another `M-pM-^_ Pred`, a third nothing. The words
that follow are dllama's own and tell the sign. Only for files in which no step line can be read.
"""

from __future__ import annotations

import re

from pytest_dllama.backends.dllama.printed.lines import clean, read_line

_FEWEST = 3
_STEPS = ("eval", "pred", "pass")
_JUNK = r"(?P<before>.{0,80}?)(?P<junk>\S{0,48})[ \t\u00a0]*"  # what is left of the sign
_HEADER = (
    r"arch|hiddenAct|dim|hiddenDim|nLayers|nHeads|nKvHeads|vocabSize|seqLen|origSeqLen|nSlices|"
    r"sliceIndex|ropeTheta|ropeType|headDim|qDim|kvDim|normEpsilon|nExperts|nActiveExperts|"
    r"moeHiddenDim|ropeScaling\w*"
)
_WORDS = {  # the sign -> what follows it, in lines that begin with it
    "🔶": r"(?:Pred +\d+ ms Sync|P +\d+ ms S |G +\d+ ms I )",
    "🔷️": r"(?:Eval +\d+ ms Sync|E +\d+ ms S )",
    "💡": rf"(?i:{_HEADER}): ",
    "📄": r"(?i:addBos|bosId|eosId|chatEosId|regularVocabSize|specialVocabSize): ",
    "📀": r"RequiredMemory: \d",
    "🧠": r"CPU: ",
    "💿": r"(?:Loading weights\.\.\.|Weights loaded|Loaded +\w+ +\d+, +\d+ kB)",
    "🚁": r"Network is in (?:non-)?blocking mode",
    "⭕": r"(?:[Ss]ocket\[\d+\]: |nNodes: |[Nn]odeIndex: |Network is (?:init|closed)|"
    r"Root(?: expects|: )|The root node|Worker\[)",
    "⏩": r"(?:Loaded|Received) \d+ kB",
    "🕒": r"ropeCache(?:Size)?: ",
    "📡": r"Collective: ",
    "🔀": r"Topology: ",
    "📊": r"(?:Network performance monitoring|=== )",
    "📈": r"Operation Analysis:",
    "🐌": r"Slowest Socket: ",
    "⏳": r"\[(?:NET|EXEC)_STALL\] ",
    "🚨": r"(?:\[NET_TIMEOUT\]|(?:Critical|Network|Execution|Inference) error: )",
}
_COMPILED = {sign: re.compile(_JUNK + f"(?P<rest>{w}.*)", re.DOTALL) for sign, w in _WORDS.items()}
_STEP_SIGN = re.compile("[🔶🔷]")
_WORD = re.compile("|".join(_WORDS.values()))


def with_marks(lines: list[str]) -> tuple[list[str], list[str]]:
    """Each line with its sign again, and a note; the lines as they are if signs are there."""
    if any(_is_step(line[at:]) for line in lines if (at := _sign_at(line)) is not None):
        return lines, []
    restored = [_with_mark(line) for line in lines]
    n_found = sum(new is not None for new in restored)
    if n_found < _FEWEST or not any(new is not None and _is_step(new) for new in restored):
        return lines, []
    found = next(line for line, new in zip(lines, restored, strict=True) if new is not None)
    note = (
        f"{n_found} lines without dllama's signs at their start, such as {found[:40]!r}: put back "
        "by their words; other letters beyond ASCII in the text are not what dllama printed"
    )
    return [new or line for line, new in zip(lines, restored, strict=True)], [note]


def _sign_at(line: str) -> int | None:
    found = _STEP_SIGN.search(line)
    return found.start() if found else None


def _is_step(line: str) -> bool:
    found = read_line(clean(line))
    return found is not None and found.kind in _STEPS


def _with_mark(line: str) -> str | None:
    """The line as dllama prints it; None if it is none that lost its sign."""
    if _WORD.search(line[:200]) is None or read_line(clean(line)) is not None:
        return None
    for sign, pattern in _COMPILED.items():
        match = pattern.fullmatch(line)
        if match is not None:
            text = f"{match['before']}{sign} {match['rest']}"
            return text if read_line(clean(f"{sign} {match['rest']}")) is not None else None
    return None
