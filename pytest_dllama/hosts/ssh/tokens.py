"""TOKENS and variables of ssh_config(5): what `%h` and `${HOME}` stand for."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from pathlib import Path


def tokens_of(name: str, hostname: str, user: str, port: int) -> dict[str, str]:
    """TOKENS of ssh_config(5), but for the address of a connection."""
    own = os.uname().nodename
    return {
        "%": "%",
        "d": str(Path.home()),
        "h": hostname,
        "i": str(os.getuid()),
        "k": hostname,
        "L": own.partition(".")[0],
        "l": own,
        "n": name,
        "p": str(port),
        "r": user,
        "u": getpass.getuser(),
    }


def expanded(text: str, tokens: Mapping[str, str]) -> str:
    """A text with its TOKENS and ${VARIABLES}; what is not known stays."""
    text = re.sub(r"%(.)", lambda found: tokens.get(found[1], found[0]), text)
    return re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), text)
