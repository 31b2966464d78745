"""Flags of other versions and forks of dllama that say nothing to this engine.

A command line that was made for one of them runs here: such a flag is passed over with a remark.
"""

from __future__ import annotations

from collections.abc import Sequence

# Flag, each with one value -> why there is nothing to do.
PASSED_OVER = {
    "--weights-float-type": "the model's file tells the type of its weights",
    "--kv-cache-storage": "the KV cache is in memory (--max-seq-len shortens it)",
    "--packet-alignment": "frames need no padding",
    "--prefill-chunk-size": "--nbatches is the number of prompt tokens run at a time",
    "--prefill-chunk-threshold": "--nbatches is the number of prompt tokens run at a time",
}


def pass_over(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command line without such flags, and a remark on each.

    >>> pass_over(["worker", "--packet-alignment", "64", "--port", "1"])
    (['worker', '--port', '1'], ['--packet-alignment 64 is passed over: frames need no padding'])
    """
    kept: list[str] = []
    remarks: list[str] = []
    words = iter(argv)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in PASSED_OVER:
            kept.append(word)
            continue
        given = value if equals else next(words, "")
        shown = f"{flag} {given}".rstrip()
        remarks.append(f"{shown} is passed over: {PASSED_OVER[flag]}")
    return kept, remarks
