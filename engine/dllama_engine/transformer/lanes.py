"""Activation buffers of a forward pass: whole, or in two lanes for the halves of a batch.

The halves are views of the whole: nothing is allocated for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

Arrays = Mapping[str, npt.NDArray[Any]]

_UNCUT = {"addresses"}  # alike for both
_ONE_EACH = {"mixture.route"}  # (2, words): not by tokens


@dataclass(frozen=True, slots=True)
class Lane:
    """What a batch, or a half of one, is worked in.

    Attributes:
        number: of the lane (`tables.operations.LANE`).
        batch_size: tokens that there is room for.
        arrays: of `sharding.buffers.rank_buffers`, by name.
        room: of `sharding.buffers.wire_buffers`.
    """

    number: int
    batch_size: int
    arrays: Arrays
    room: Arrays


def whole(batch_size: int, arrays: Arrays, room: Arrays) -> Lane:
    """All of the buffers."""
    ones = {name: array[0] if name in _ONE_EACH else array for name, array in arrays.items()}
    return Lane(0, batch_size, ones, room)


def halves(batch_size: int, arrays: Arrays, room: Arrays) -> tuple[Lane, Lane]:
    """The first half of every buffer, which is the larger one, and the second."""
    first = first_half(batch_size)
    sizes = first, batch_size - first

    def cut(name: str, array: npt.NDArray[Any], number: int) -> npt.NDArray[Any]:
        if name in _UNCUT:
            return array
        if name in _ONE_EACH:
            part: npt.NDArray[Any] = array[number]
            return part
        a_token, rest = divmod(len(array), batch_size)
        assert not rest, f"{name}: {len(array)} rows for {batch_size} tokens"
        return array[first * a_token :] if number else array[: first * a_token]

    one, other = (
        Lane(
            number,
            size,
            {name: cut(name, array, number) for name, array in arrays.items()},
            {name: cut(name, array, number) for name, array in room.items()},
        )
        for number, size in enumerate(sizes)
    )
    return one, other


def first_half(n_tokens: int) -> int:
    """How many of so many tokens the first half has: where the second begins.

    >>> first_half(32), first_half(3)
    (16, 2)
    """
    return (n_tokens + 1) // 2
