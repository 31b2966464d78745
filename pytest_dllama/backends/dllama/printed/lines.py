"""The grammar of the real dllama's output: one line of text -> what it says, or None.

Upstream and the fork print the same lines but for the fork's additions. Every pattern mirrors one
printf of dllama; nothing here remembers an earlier line. What other programs print into the same
file, and shells of dllama's death, is known by its own shape.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_ANSI = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_ABSURD = 1e15  # no time in ms, rate or size in MB comes near it
_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?(?:e[-+]?\d+)?|nan(?:\([^)]*\))?|inf)"

# kind -> pattern of the whole line; numbered groups never, named ones only.
_PATTERNS: dict[str, str] = {
    # a step of the request; the piece may go on over the next lines
    "eval": r"🔷️? Eval *(?P<ms>\d+) ms Sync *(?P<sync_ms>\d+) ms \| "
    r"Sent *(?P<sent_kb>\d+) kB Recv *(?P<recv_kb>\d+) kB \| \((?P<tokens>\d+) tokens\)",
    "pred": r"🔶 Pred *(?P<ms>\d+) ms Sync *(?P<sync_ms>\d+) ms \| "
    r"Sent *(?P<sent_kb>\d+) kB Recv *(?P<recv_kb>\d+) kB \| ?(?P<piece>.*)",
    # v0.12.0 to v0.12.7: wall time only
    "eval_wall": r"🔷️? E *(?P<ms>\d+) ms S *(?P<sent_kb>\d+) kB R *(?P<recv_kb>\d+) kB "
    r"\((?P<tokens>\d+) tokens\)",
    "pred_wall": r"🔶 P *(?P<ms>\d+) ms S *(?P<sent_kb>\d+) kB R *(?P<recv_kb>\d+) kB ?"
    r"(?P<piece>.*)",
    # up to v0.11.2: one line a forward pass, of prompt and output alike; v0.4.0 with its position
    "pass": r"🔶 (?:(?P<pos>\d{1,4}| {0,3}\d{1,3}) )?G *(?P<wall_ms>\d+) ms "
    r"I *(?P<ms>\d+) ms T *(?P<sync_ms>\d+) ms S *(?P<sent_kb>\d+) kB "
    r"R *(?P<recv_kb>\d+) kB ?(?P<piece>.*)",
    "passes": r"Generated tokens: *(?P<n>\d+)",
    "average": r"Avg (?P<name>tokens / second|generation time|inference time|transfer time): *"
    r"(?P<value>NUM)(?: ms)?",
    # closing blocks
    "title": r"(?P<title>Evaluation|Prediction|Timing|Results)",
    "batches": r" *nBatches: (?P<n>\d+)",
    "chunks": r" *prefillChunks: (?P<n>\d+) \(avg (?P<avg>NUM) tok/chunk\)",
    "tokens": r" *nTokens: (?P<n>-?\d+)",
    "rate": r" *tokens/s: (?P<per_s>NUM) \((?P<ms>NUM) ms/tok\)",
    "timing": r" *(?P<name>prefillMs|ttftMs|decodeMs|totalMs): (?P<ms>NUM)",
    "result": r" *(?P<name>perplexity|avgLogProb|bitPerToken): (?P<value>NUM)"
    r"(?: \(lower = better\))?",
    "probability": r" *(?P<index>\d+) / (?P<total>\d+), prob=(?P<value>NUM)",
    "evaluating": r"Evaluating (?P<n>\d+) tokens\.\.\.",
    # header
    "header": r"[💡📄] (?P<key>\w+): *(?P<value>.*)",
    "memory": r"📀 RequiredMemory: (?P<amount>\d+) (?P<unit>MB|kB)",
    "loaded": r"⏩ .*",
    "rope_cache": r"🕒 .*",
    "remark": r"(?:Tokenizer: decoded invalid utf8.*|🚧 .*|"
    r"Tokenizer vocab size .*does not match.*)",
    "chat": r"(?:⭐ [Cc]hat template: .*|🛑 [Ss]top: .*|💻 .*[Ss]ystem prompt.*|Server URL: .*)",
    "cpu": r"🧠 CPU: *(?P<value>.*)",
    "weights": r"💿 Weights loaded",
    "loading": r"💿 .*",
    "collective": r"📡 Collective: (?P<name>[\w-]+) \(nNodes=(?P<nodes>\d+)\)",
    "topology": r"🔀 Topology: pp=(?P<pp>\d+) tp=(?P<tp>\d+)",
    "monitor_on": r"📊 Network performance monitoring enabled",
    # connections
    "listening": r"Listening on (?P<host>\S+?):(?P<port>\d+)\.\.\.",
    "connecting": r"⭕ [Ss]ocket\[(?P<socket>\d+)\]: connecting to (?P<address>\S+) worker",
    "connected": r"⭕ [Ss]ocket\[(?P<socket>\d+)\]: connected",
    "expects": r"⭕ Root expects (?P<n>\d+) workers",
    "initial_ack": r"⭕ Socket\[\d+\]: waiting initial ACK from worker",
    "root_connected": r"⭕ The root node has connected",
    "n_nodes": r"⭕ nNodes: (?P<n>\d+)",
    "node_index": r"⭕ [Nn]odeIndex: (?P<n>\d+)",
    "closed": r"⭕ Network is closed",
    "circle": r"[⭕🚁📦] .*",
    # the fork's network report
    "report_title": r"[📊🔍📈] ?(?:=== .* ===|Operation Analysis:)",
    "socket_row": r" +(?P<socket>\d+) +\| +(?P<operations>\d+) +\| +(?P<mb>NUM) +"
    r"\| +(?P<avg>NUM) ms +\| +(?P<max>NUM) ms +\| +(?P<min>NUM) ms +\| +(?P<mbps>NUM) Mbps",
    "table_rule": r"(?:Socket \| Operations \|.*|-{4,}\|-{4,}.*)",
    "slowest": r"🐌 Slowest Socket: (?P<socket>\d+) \(Avg Latency: (?P<avg>NUM) ms\)",
    "percentiles": r"Socket (?P<socket>\d+): P50=(?P<p50>NUM)ms, P95=(?P<p95>NUM)ms, "
    r"P99=(?P<p99>NUM)ms",
    "socket_warning": r"⚠️ +Socket (?P<socket>\d+) (?P<what>.*)",
    "operation": r"  (?P<op>\w+): (?P<operations>\d+) ops, (?P<mb>NUM) MB, (?P<avg>NUM) ms avg",
    # trouble
    "net_stall": r"⏳ \[NET_STALL\] (?P<what>\w+)(?: fd=(?P<fd>\d+))? stalled=(?P<ms>\d+)ms "
    r"pending=(?P<pending>\d+)B(?: sockets=(?P<sockets>\d+))?",
    "net_timeout": r"🚨 \[NET_TIMEOUT\] (?P<what>\w+)(?: fd=(?P<fd>\d+))? stalled=(?P<ms>\d+)ms "
    r"pending=(?P<pending>\d+)B(?: sockets=(?P<sockets>\d+))?(?: \(timeout=(?P<limit>\d+)ms\))?",
    "exec_stall": r"⏳ \[EXEC_STALL\] step=(?P<step>\d+)/(?P<steps>\d+) type=(?P<type>\S+) "
    r"op=(?P<op>\S+) stalled=(?P<ms>\d+)ms doneThreads=(?P<done>\d+)/(?P<threads>\d+)",
    "cannot_connect": r"Cannot connect to (?P<address>\S+) \((?P<reason>.*)\)",
    "error": r"🚨 (?P<kind>Critical|Network|Execution) error: (?P<message>.*)",
    "died": r"(?: *what\(\): +(?P<what>.*)|.*?(?P<assertion>Assertion [`'].*' failed\.))",
    "terminate": r"terminate called after throwing an instance of .*",
    "downgraded": r"⚠️ +Collective (?P<message>.*)",
    "alarm": r"[🚨⏳] .*",
    "debug": r"DEBUG: .*",
}
_COMPILED = {
    kind: re.compile(pattern.replace("NUM", _NUMBER).replace(r"\d+", r"\d{1,18}"), re.DOTALL)
    for kind, pattern in _PATTERNS.items()
}


def _first_letters(pattern: str) -> str:
    """What a line of this pattern can begin with; empty: anything."""
    if pattern.startswith("["):
        return pattern[1 : pattern.index("]")]
    return pattern[0] if pattern[0] not in "( \\" else ""


# A log may have a million lines: by their first letter, which kinds they can be ("": any other).
_BEGINS = {kind: _first_letters(pattern) for kind, pattern in _PATTERNS.items()}
_KINDS = {
    letter: [k for k, begins in _BEGINS.items() if not begins or (letter and letter in begins)]
    for letter in {"", *"".join(_BEGINS.values())}
}
# The marks that stand at the start of a line that dllama printed by itself.
_MARKS = tuple("🔷🔶💡📄📀🧠💿📡🔀📊⭕🚁📦🔍📈🐌⚠⏳🚨⏩🕒")
_WITH_PIECE = ("pred", "pred_wall", "pass")  # a piece's blanks are text
MOST_WORDS = 3  # of one token, behind a line end in it
_PROGRAMS = re.compile(
    r"--More--.*"  # a pager
    r"|==> .+ <=="  # tail of several files
    r"|(?:throttled=0x[0-9a-fA-F]+|temp=[\d.]+'C|frequency\(\d+\)=\d+|volt=[\d.]+V)"  # a Pi's own
    r"|\^C"
    r"|\[ *\d+\.\d{6}\] \S+: .*"  # the kernel
)
_BROKEN_STEP = re.compile(r"(?:🔷️?|🔶) *(?:\d+ *)?(?:Eval|Pred|E|P|G)\b *\d")
_SHELLS_WORD = re.compile(
    r"(?:\S+: line \d+: +\d+ |\[\d+\][+-]? +|z?sh: )?"
    r"(?i:(?P<word>segmentation fault|killed|aborted?|bus error|illegal (?:hardware )?instruction))"
    r"(?: \(core dumped\))?(?:  +\S.*| +(?:sudo|nice|\./)\S*.*)?"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One understood line; `kind` is a key of the grammar."""

    kind: str
    values: dict[str, str]

    def word(self, name: str) -> str:
        """A text; empty when the line has none."""
        return self.values.get(name, "")

    def whole(self, name: str) -> int:
        """A whole number that the pattern demands."""
        return int(self.values[name])

    def maybe_whole(self, name: str) -> int | None:
        """A whole number that the line may leave out."""
        return int(self.values[name]) if name in self.values else None

    def number(self, name: str) -> float | None:
        """A number; None for nan and inf, which dllama prints for a phase without tokens.

        >>> read_line("   tokens/s: nan (inf ms/tok)").number("per_s") is None
        True
        """
        try:
            value = float(self.values[name])
        except ValueError:  # "nan(ind)" of a Windows runtime
            return None
        return value if math.isfinite(value) and abs(value) < _ABSURD else None


def clean(text: str) -> str:
    r"""A line without its end, terminal colours and a byte order mark.

    >>> clean("\x1b[32m🧠 CPU: avx2\x1b[0m\r\n")
    '🧠 CPU: avx2'
    """
    return _ANSI.sub("", text.removeprefix("\ufeff")).rstrip("\r\n")


def read_line(text: str) -> Line | None:
    """What a cleaned line says; None when it is none of dllama's own lines.

    >>> read_line("🔶 Pred    5 ms Sync   33 ms | Sent   200 kB Recv   197 kB | ef").word("piece")
    'ef'
    """
    bare = text.rstrip()
    if not bare:
        return None
    for kind in _KINDS.get(text[:1], _KINDS[""]):
        match = _COMPILED[kind].fullmatch(text if kind in _WITH_PIECE else bare)
        if match is not None:
            return Line(
                kind.removesuffix("_wall"),
                {k: v for k, v in match.groupdict().items() if v is not None},
            )
    return None


def looks_like_dllama(text: str) -> bool:
    """Whether a line that could not be read starts like one of dllama's: cut or garbled."""
    return text.startswith(_MARKS)


def is_foreign(text: str) -> bool:
    """Whether a line among the tokens is no token's.

    >>> is_foreign("throttled=0x50005"), is_foreign("and then"), is_foreign("a b c d")
    (True, False, True)
    """
    return len(text.split()) > MOST_WORDS or is_of_a_program(text)


def is_of_a_program(text: str) -> bool:
    """Whether a line is one that a pager, a kernel or a Pi's own tools are known to print."""
    return _PROGRAMS.fullmatch(text.strip()) is not None


def is_broken_step(text: str) -> bool:
    """Whether a line is dllama's of a forward pass, changed so that it cannot be read.

    >>> is_broken_step("🔶 Pred    9 ms ｜ Sent"), is_broken_step("🔶 Pred and prejudice")
    (True, False)
    """
    return _BROKEN_STEP.match(text) is not None


def shells_word(text: str) -> str:
    """How a shell says that a signal ended a program; empty if the line is none of that.

    >>> shells_word("./run.sh: line 9: 2680 Segmentation fault      nice ./main inference")
    'Segmentation fault'
    >>> shells_word("zsh: segmentation fault  sudo nice ./dllama"), shells_word("He was killed")
    ('segmentation fault', '')
    """
    match = _SHELLS_WORD.fullmatch(text.strip())
    return match["word"] if match else ""
