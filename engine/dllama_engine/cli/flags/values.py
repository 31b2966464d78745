"""Values of single flags: text in, a value out, or `argparse.ArgumentTypeError` in words."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from dllama_engine.cli.flags.arguments import Address
from dllama_engine.errors import PlanError, RequestError
from dllama_engine.injection import Injection, parse_injection
from dllama_engine.loading.settings import CacheSettings, parse_cache
from dllama_engine.memory_rate import parse_memory_rate
from dllama_engine.sharding.asked import CollectiveOption, OverlapOption


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers within limits."""

    def parse_whole(text: str) -> int:
        limits = f"{least} to {most}" if most is not None else f"{least} or more"
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number, {limits}")
        return value

    return parse_whole


def seconds(text: str) -> float:
    """A positive number of seconds."""
    value = _number(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds above 0")
    return value


def temperature(text: str) -> float:
    """A finite number, 0 or more."""
    value = _number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number, 0 or more")
    return value


def share(text: str) -> float:
    """A number from 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 0 to 1")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan  # fails every comparison of the callers


def parent(text: str) -> int | None:
    """A process id, or None for standard input."""
    return None if text == "stdin" else whole(1)(text)


def cache(text: str) -> CacheSettings:
    """`on`, `off`, a size, a folder, or a folder and a size."""
    try:
        return parse_cache(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def injection(text: str) -> Injection:
    """What slows this process down, as `injection.parse_injection` reads it."""
    try:
        return parse_injection(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def memory_rate(text: str) -> float:
    """Bytes a second."""
    try:
        return parse_memory_rate(text)
    except RequestError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def collective(text: str) -> str:
    """Which collectives serve from how many tokens on, or `auto`."""
    try:
        return str(CollectiveOption.parse(text))
    except PlanError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def overlap(text: str) -> str:
    """Which batches go in halves, or `auto`."""
    try:
        return str(OverlapOption.parse(text))
    except PlanError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def only_one(text: str) -> int:
    """The one number of pipeline stages that there is."""
    if text != "1":
        raise argparse.ArgumentTypeError(f"{text!r}: this engine has one pipeline stage, 1")
    return 1


def address(text: str) -> Address:
    """`host:port`; IPv6 hosts may stand in brackets."""
    host, colon, port = text.rpartition(":")
    host = host.strip("[]")
    if not colon or not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, as in 10.0.0.2:9999")
    return host, int(port)
