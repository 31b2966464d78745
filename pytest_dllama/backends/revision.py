"""The embedded engine at another revision: the same commands, its own handshake."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from pytest_dllama.backends.base import WorkerNotReady
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.values import ConfigError
from pytest_dllama.hosts.command import PROGRAM

# Where revisions have had the program that shakes hands with a worker.
PROBES = ("dllama_engine.tools.probe_worker", "engine.probe")
HELP_TIMEOUT_S = 60.0
_MARGIN_S = 20.0  # an interpreter starts on a busy machine
SEVERAL = "NAME@TOKENS"  # in the help of a revision that takes collectives by size
_FLAG = re.compile(rf"(?<![\w-])--[a-z][a-z0-9-]*|{SEVERAL}")


def flags_of(folder: Path) -> frozenset[str]:
    """All flags that the help of a revision's program lists, and `SEVERAL` if it is in there.

    Args:
        folder: an environment of that revision on this machine.

    Raises:
        ConfigError: its program does not start.
    """
    command = [str(folder / "bin" / PROGRAM), "--help"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=HELP_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ConfigError(
            f"--baseline: {command[0]} --help failed: {error}; `pytest-dllama builds clear` "
            "removes the build, the next run makes it anew"
        ) from None
    return frozenset(_FLAG.findall(done.stdout.decode("utf-8", "replace")))


class RevisionBackend(EmbeddedBackend):
    """`dllama-py` of another revision; hosts run it from an environment that has it.

    Args:
        folder: an environment of that revision on this machine, for the handshake.
        swept: further options of its root, as `--sweep` names them.
        memory_bps: of boards it is to emulate; a revision of before that refuses the option.
        flags: that it has, as `flags_of` tells them.
    """

    def __init__(
        self,
        folder: Path,
        swept: Sequence[tuple[str, str]] = (),
        memory_bps: float | None = None,
        flags: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__(swept, memory_bps=memory_bps)
        self.runs_again = "--requests" in flags
        self.takes_picks = SEVERAL in flags
        self._python = str(folder / "bin" / "python")

    def must_compile(self) -> bool:
        """That revision's kernels are where it keeps them; not known here."""
        return False

    def probe(self, host: str, port: int, token: str, timeout_s: float) -> None:
        """Handshake by that revision's own program: protocols differ between revisions."""
        said = ""
        for module in PROBES:
            command = [self._python, "-I", "-m", module, host, str(port), f"{timeout_s:g}"]
            try:
                done = subprocess.run(
                    command,
                    input=token.encode(),
                    capture_output=True,
                    timeout=timeout_s + _MARGIN_S,
                )
            except subprocess.TimeoutExpired:
                raise WorkerNotReady(f"{host}:{port} does not answer the handshake") from None
            if done.returncode == 0:
                return
            said = done.stderr.decode("utf-8", "replace").strip()
            if "No module named" not in said and "ModuleNotFoundError" not in said:
                break
        last = said.splitlines()[-1:] or ["no answer"]
        raise WorkerNotReady(f"{host}:{port} does not answer the handshake: {last[0]}")
