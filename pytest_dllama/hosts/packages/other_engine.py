"""A second engine on the hosts, the base side of a comparison, beside the new side's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.hosts.packages.wheel import Wheel


@dataclass(frozen=True, slots=True)
class OtherEngine:
    """What hosts run in place of the engine that is installed here; one of the two."""

    wheel: Wheel | None = None  # the embedded engine at another revision
    environment: Path | None = None  # that has it on this machine
    commit: str = ""  # of the real dllama's source
    source: bytes = b""  # all files of it, as a tar archive
