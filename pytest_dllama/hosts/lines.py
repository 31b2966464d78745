"""A buffer of a process's printed lines, kept until they are read."""

from __future__ import annotations

import queue


class Lines:
    """Filled by one thread, read by another.

    Args:
        name: of the process, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def put(self, line: bytes) -> None:
        """Add a line as it was printed; what is no UTF-8 is U+FFFD."""
        self._lines.put(line.decode("utf-8", errors="replace"))

    def end(self) -> None:
        """No line comes any more."""
        self._lines.put(None)

    def read(self, timeout_s: float) -> str | None:
        """The next line; None at the end of the output.

        Raises:
            TimeoutError: no line came within `timeout_s`.
        """
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError(f"{self._name} printed nothing for {timeout_s:g} s") from None
        if line is None:
            self.end()  # the end stays the end
        return line
