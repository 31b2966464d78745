"""Real pytest and commands with real clusters, and a search for whatever they leave behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.data import MODELS as GOLDEN

SMALL_MODEL = f"{GOLDEN / 'llama_q40.m'}:{GOLDEN / 'golden.t'}"
MARK = "PYTEST_DLLAMA_TEST_MARK"
PATIENCE_S = 900.0  # a first run compiles the kernels


@dataclass
class RealRun:
    """One such process in a folder; all its descendants carry a mark in their environment."""

    folder: Path
    pages: str = "none"  # the report's formats: drawing pictures takes longer than a small cell
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    process: subprocess.Popen[bytes] | None = None

    @property
    def report(self) -> Path:
        return self.folder / "report"

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")

    def start(self, arguments: Sequence[str], stdout: int | None = None) -> None:
        """Start pytest in a session of its own, as a shell's job would be."""
        ours = ("-p", "no:cacheprovider", "--dllama-report-format", self.pages)
        self.start_module("pytest", *ours, *arguments, stdout=stdout)

    def start_module(self, name: str, *arguments: str, stdout: int | None = None) -> None:
        """Start `python -m name`, likewise."""
        with (self.folder / "output.txt").open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", name, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output if stdout is None else stdout,
                stderr=subprocess.STDOUT,
                env={**os.environ, MARK: self.mark, "COLUMNS": "200"},
                start_new_session=True,
            )

    def finish(self, patience_s: float = PATIENCE_S) -> int:
        """Wait for its exit code."""
        assert self.process is not None
        try:
            return self.process.wait(patience_s)
        finally:
            self.kill_everything()

    def leftovers(self, patience_s: float = 60.0) -> list[str]:
        """Descendants that still run after a short while, as command lines."""
        end = time.monotonic() + patience_s
        while (found := self._alive()) and time.monotonic() < end:
            time.sleep(0.1)
        return [_command(process) for process in found]

    def _alive(self) -> list[psutil.Process]:
        own = self.process.pid if self.process else None
        return [p for p in psutil.process_iter() if p.pid != own and self._is_ours(p)]

    def _is_ours(self, process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.Error):
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            return not is_dead and process.environ().get(MARK) == self.mark
        return False

    def workers(self) -> list[psutil.Process]:
        """Its worker processes."""
        return [p for p in self._alive() if "worker" in _command(p).split()]

    def kill_everything(self) -> None:
        """A failed test must not leave what it tests for."""
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait_until(self, condition: Callable[[], object]) -> None:
        """Wait for something to happen while it runs."""
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert self.process is not None
            assert self.process.poll() is None, f"it ended too early:\n{self.output}"
            assert time.monotonic() < end, f"nothing happened:\n{self.output}"
            time.sleep(0.02)

    def logged(self, pattern: str, text: str) -> bool:
        """Whether a log file of the run contains a text."""
        files = self.report.glob(f"logs/*/{pattern}")
        return any(text in file.read_text(errors="replace") for file in files)


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""
