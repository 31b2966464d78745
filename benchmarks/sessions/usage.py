"""Options that a session cannot have, told by a program as its own usage errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_dllama.config.values import ConfigError


@contextmanager
def usage_errors(parser: argparse.ArgumentParser) -> Iterator[None]:
    """Inside, a value that the suites refuse ends the program with status 2 and their words."""
    try:
        yield
    except ConfigError as error:
        parser.error(str(error))
