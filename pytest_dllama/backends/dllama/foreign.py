"""Lines that no token holds: other programs print into the same terminal or file.

A tokenizer ends a token at a line end, or holds little behind it; a line of many words among the
tokens is another program's. Knows no runs.
"""

from __future__ import annotations

import re

MOST_WORDS = 3  # of one token, behind a line end in it
_PROGRAMS = re.compile(
    r"--More--.*"  # a pager
    r"|==> .+ <=="  # tail of several files
    r"|(?:throttled=0x[0-9a-fA-F]+|temp=[\d.]+'C|frequency\(\d+\)=\d+|volt=[\d.]+V)"  # a Pi's own
    r"|\^C"
    r"|\[ *\d+\.\d{6}\] \S+: .*"  # the kernel
)
_STEP = re.compile(r"(?:🔷️?|🔶) *(?:\d+ *)?(?:Eval|Pred|E|P|G)\b *\d")
_SHELLS_WORD = re.compile(
    r"(?:\S+: line \d+: +\d+ |\[\d+\][+-]? +|z?sh: )?"
    r"(?i:(?P<word>segmentation fault|killed|aborted?|bus error|illegal (?:hardware )?instruction))"
    r"(?: \(core dumped\))?(?:  +\S.*| +(?:sudo|nice|\./)\S*.*)?"
)


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
    return _STEP.match(text) is not None


def shells_word(text: str) -> str:
    """How a shell says that a signal ended a program; empty if the line is none of that.

    >>> shells_word("./run.sh: line 9: 2680 Segmentation fault      nice ./main inference")
    'Segmentation fault'
    >>> shells_word("zsh: segmentation fault  sudo nice ./dllama"), shells_word("He was killed")
    ('segmentation fault', '')
    """
    match = _SHELLS_WORD.fullmatch(text.strip())
    return match["word"] if match else ""
