"""Boards to emulate: a name, how fast its memory feeds the kernels, and who measured that.

The rate is of the whole board, all its cores: the bytes of all weights that a token of Llama 2 7B
needs (Q40: 18 bytes for 32 values), divided by the time that dllama's authors published for
computing one on a single board, in the README of dllama 0.3.1. So it holds whatever else decoding
costs there, as norms and attention over a short context.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pytest_dllama.emulation.spec import PRESETS, LinkError

_NAME = re.compile(r"([a-z0-9]+)x([0-9]+)-([a-z0-9]+)")
_MOST_NODES = 64
# Llama 2 7B has 6 738 415 616 values; the embedding's 32 000 x 4096 are looked up, not read.
_LLAMA_2_7B_BYTES = (6_738_415_616 - 32_000 * 4096) * 18 / 32


@dataclass(frozen=True, slots=True)
class Board:
    """A board as decoding sees it."""

    name: str
    memory_bps: float  # bytes a second
    source: str

    @property
    def in_words(self) -> str:
        """Part of the fingerprint.

        >>> BOARDS["pi5"].in_words
        'memory=8.55GB/s'
        """
        return f"memory={self.memory_bps / 1e9:g}GB/s"


def _board(name: str, token_ms: float, source: str) -> Board:
    """From what one token of Llama 2 7B took there; three figures."""
    return Board(name, float(f"{_LLAMA_2_7B_BYTES / token_ms * 1e3:.3g}"), source)


BOARDS: Mapping[str, Board] = MappingProxyType(
    {
        board.name: board
        for board in (
            _board("pi5", 434.84, "dllama 0.3.1: Llama 2 7B, 1 x RasPi 5 8 GB, inference"),
            _board("pi4", 1307.94, "dllama 0.1.0: Llama 2 7B, 1 x RasPi 4B 8 GB, inference"),
        )
    }
)


@dataclass(frozen=True, slots=True)
class Boards:
    """What `--emulate` asks for."""

    text: str
    board: Board
    nodes: int
    link: str  # a preset of `emulation.spec`


def parse_boards(text: str) -> Boards:
    """Read BOARDxNODES-LINK.

    >>> parse_boards("pi5x4-1gbe").nodes
    4

    Raises:
        LinkError: no such board or link, or a number of nodes that cannot be.
    """
    match = _NAME.fullmatch(text.strip().lower())
    if match is None:
        raise LinkError(f"--emulate {text!r}: write BOARDxNODES-LINK, as in pi5x4-1gbe")
    board, nodes, link = match[1], int(match[2]), match[3]
    if board not in BOARDS:
        raise LinkError(f"--emulate {text!r}: there is no board {board!r}; {_nearest(board)}")
    if not 1 <= nodes <= _MOST_NODES:
        raise LinkError(f"--emulate {text!r}: {nodes} nodes; clusters have 1 to {_MOST_NODES}")
    if link not in PRESETS:
        raise LinkError(
            f"--emulate {text!r}: there is no link {link!r}; there are {', '.join(PRESETS)}"
        )
    return Boards(match[0], BOARDS[board], nodes, link)


def _nearest(board: str) -> str:
    near = difflib.get_close_matches(board, list(BOARDS), 1, 0.7)
    known = ", ".join(BOARDS)
    return (
        f"did you mean {near[0]}? there are {known}"
        if near
        else f"there are {known}, of which somebody published how fast they decode"
    )
