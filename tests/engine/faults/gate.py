"""`dllama-py`, held at a line: `python -m tests.engine.faults.gate ARGUMENTS`.

The process is the real one in all but this: before it prints a line that contains the text of
FAULT_LINE for the first time, it makes the file FAULT_GATE.reached and waits for FAULT_GATE.go. So
a fault can be put at exactly that line, on whatever machine.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from dllama_engine.cli.main import main


class Gate:
    """A stream that stands still once."""

    def __init__(self, stream: TextIO, line: str, path: str) -> None:
        self._stream, self._line = stream, line
        self._reached, self._go = Path(f"{path}.reached"), Path(f"{path}.go")

    def write(self, text: str) -> int:
        if self._line and self._line in text:
            self._line = ""
            self._reached.touch()
            while not self._go.exists():
                time.sleep(0.002)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


if __name__ == "__main__":
    if os.environ.get("FAULT_LINE"):
        sys.stdout = Gate(  # type: ignore[assignment]
            sys.stdout, os.environ["FAULT_LINE"], os.environ["FAULT_GATE"]
        )
    sys.exit(main())
