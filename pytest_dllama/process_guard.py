"""A foreign program that must not outlive us: a small shell around it, and line-buffered output.

The real dllama knows nothing of `--exit-with-parent`, and prints through C's stdio, which keeps
lines back when it writes into a pipe: `stdbuf -oL` (coreutils) lets them through one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

UNBUFFERED = ("stdbuf", "-oL", "-eL")
# $1 is the parent: a process id, or "stdin" for the end of standard input. A watcher waits for the
# parent's end and stops the program; the program's end stops the watcher.
_SCRIPT = """
trap : TERM
parent=$1; shift
exec 3<&0
"$@" 3<&- & program=$!
(
  trap 'kill "$waiting" 2>/dev/null; exit 0' TERM
  if [ "$parent" = stdin ]; then cat <&3 & else tail --pid="$parent" -f /dev/null & fi
  waiting=$!
  wait "$waiting"
  kill "$program"
) >/dev/null 2>&1 & watcher=$!
exec 3<&-
wait "$program"; code=$?
while kill -0 "$program" 2>/dev/null; do wait "$program"; code=$?; done
kill "$watcher" 2>/dev/null; wait "$watcher"
exit "$code"
"""


def guarded(command: Sequence[str], parent: str) -> list[str]:
    """The command so that it ends with its parent, a process id or "stdin"."""
    return ["sh", "-c", _SCRIPT, "guard", parent, *UNBUFFERED, *command]


def unguarded(command: Sequence[str]) -> tuple[str, ...]:
    """The command as a person would type it."""
    if list(command[:2]) != ["sh", "-c"]:
        return tuple(command)
    return tuple(command[5 + len(UNBUFFERED) :])
