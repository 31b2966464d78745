"""A shell around another engine's program: ends it with us, and keeps its output line-buffered.

The real dllama knows nothing of `--exit-with-parent`, and prints through C's stdio, which keeps
lines back when it writes into a pipe: `stdbuf -oL` (coreutils) lets them through one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

UNBUFFERED = ("stdbuf", "-oL", "-eL")
# $1 is the parent: a process id, or "stdin" for the end of standard input. A watcher waits for the
# parent's end and stops the program; the program's end stops the watcher. Our own trap comes after
# its fork: a child that still has it loses the signal, and a program of a few ms was waited for
# for ever. "$!" is the program until the watcher has started what it waits for. A shell that gets
# its signal just before it begins to wait sleeps on (dash): the watcher is told until it is gone.
_SCRIPT = """
parent=$1; shift
exec 3<&0
"$@" 3<&- & program=$!
(
  trap '[ "$!" = "$program" ] || kill "$!" 2>/dev/null; exit 0' TERM
  if [ "$parent" = stdin ]; then cat <&3 & else tail --pid="$parent" -f /dev/null & fi
  wait "$!"
  kill "$program"
) >/dev/null 2>&1 & watcher=$!
trap : TERM
exec 3<&-
wait "$program"; code=$?
while kill -0 "$program" 2>/dev/null; do wait "$program"; code=$?; done
kill "$watcher" 2>/dev/null
while kill -0 "$watcher" 2>/dev/null; do sleep 0.02; kill "$watcher" 2>/dev/null; done
exit "$code"
"""


_GUARD = ("sh", "-c", _SCRIPT, "guard")


def guarded(command: Sequence[str], parent: str) -> list[str]:
    """The command so that it ends with its parent: a process id, or "stdin".

    With any other parent (a host that looks after its processes itself) it is only unbuffered.
    """
    unbuffered = [*UNBUFFERED, *command]
    is_ours = parent == "stdin" or parent.isdigit()
    return ended_with(parent, unbuffered) if is_ours else unbuffered


def ended_with(parent: str, command: Sequence[str]) -> list[str]:
    """The command so that it ends with its parent, however that ends: a process id, or "stdin"."""
    return [*_GUARD, parent, *command]


def unguarded(command: Sequence[str]) -> tuple[str, ...]:
    """The command as a person would type it."""
    return tuple(command[_program_at(command) :])


def _program_at(command: Sequence[str]) -> int:
    """Where the program stands behind the guard and the unbuffering."""
    at = len(_GUARD) + 1 if tuple(command[: len(_GUARD)]) == _GUARD else 0
    is_unbuffered = tuple(command[at : at + len(UNBUFFERED)]) == UNBUFFERED
    return at + len(UNBUFFERED) if is_unbuffered else at
