"""How loops that memory bounds read it: places at once, and how far ahead of them is fetched.

Measured for each CPU's maker that was at hand: docs/kernels.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from dllama_engine.kernels.cpu import is_amd


@dataclass(frozen=True, slots=True)
class Reading:
    """How a loop reads.

    Attributes:
        streams: places, far from each other, that are read at once.
        ahead: how far ahead of each is fetched (bytes), and to which level of caches (hints T0 and
            T1 of x86); nothing where the CPU is left to it.
    """

    streams: int
    ahead: tuple[tuple[int, int], ...]


# AMD's cores look ahead well by themselves: a second line to fetch for each that is read costs
# them a tenth of their bandwidth, and the hint T1 is dropped now and then (Zen 4).
_OF_AMD = Reading(2, ((3072, 1),))
_OF_INTEL = Reading(4, ((2048, 1), (1024, 1)))
_OF_OTHERS = Reading(2, ((4096, 2), (1536, 1)))


def of_one_token(which: str) -> Reading:
    """How one token's product of Q40 and Q80 reads the matrix.

    Args:
        which: the variant; on x86 the maker of the CPU that is compiled for decides too.
    """
    if which not in ("vnni", "avx2"):
        return _OF_OTHERS
    return _OF_AMD if is_amd() else _OF_INTEL


def ahead() -> tuple[tuple[int, int], ...]:
    """How far ahead loops fetch that read one place, as `Reading` has it."""
    return _OF_AMD.ahead if is_amd() else _OF_OTHERS.ahead
