"""Output of ours that pytest's capturing must not swallow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from pytest_dllama.hosts.base import Progress


@contextmanager
def uncaptured(config: pytest.Config) -> Iterator[None]:
    """Let the progress line reach the terminal from inside a test."""
    capture: Any = config.pluginmanager.getplugin("capturemanager")
    if capture is None:
        yield
    else:
        with capture.global_and_fixture_disabled():
            yield


def progress_of(config: pytest.Config) -> Progress:
    """A live line on a terminal, plain lines elsewhere, nothing with -q."""
    from pytest_dllama.lab.progress import LiveLine, PlainLines, Silent

    reporter: Any = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None or config.option.verbose < 0:
        return Silent()

    def write_line(text: str) -> None:
        reporter.ensure_newline()
        reporter.write_line(text)

    if reporter.isatty:
        return LiveLine(config.get_terminal_writer()._file, reporter.ensure_newline)
    return PlainLines(write_line)
