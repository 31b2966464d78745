"""What `benchmarks.kernels.ports` counts in a loop; nothing is compiled or timed here."""

from __future__ import annotations

import pytest

from benchmarks.kernels.ports import CORES, Loop, decode_loop, row
from benchmarks.kernels.prefetch import told
from dllama_engine.kernels.reading import Reading

DOTS = "\tvpdpbusd\t%ymm1, %ymm2, %ymm3\n"
ASSEMBLY = f"""
.LBB0_1:
	movq	%rax, %rbx
.LBB0_2:                                # the loop in it
	vmovdqu	(%r9,%r14,8), %ymm6
	vpbroadcastd	20(%rbx,%r14,2), %ymm6
	vcvtph2ps	-512(%r11,%r14), %ymm15
	vgf2p8affineqb	$0, %ymm2, %ymm6, %ymm6
	vmovups	%ymm4, (%rdi)
	prefetcht1	4096(%r9,%r14,8)
{DOTS * 32}	jne	.LBB0_2
	jne	.LBB0_1
"""


def test_the_loop_of_a_decoded_token_is_found_and_counted() -> None:
    loop = decode_loop(ASSEMBLY, "vnni", 4)
    assert (len(loop.lines), loop.loads, loop.prefetches, loop.dots) == (39, 3, 1, 32)
    assert loop.lines[-1].split() == ["jne", ".LBB0_2"]


def test_of_two_such_loops_none_is_taken_for_it() -> None:
    with pytest.raises(ValueError, match="2 loops have 32"):
        decode_loop(ASSEMBLY + ASSEMBLY.replace("LBB0", "LBB1"), "vnni", 4)


def test_an_assembly_without_it_says_so() -> None:
    with pytest.raises(ValueError, match="0 loops have 32 vpmaddubsw of 32 bytes"):
        decode_loop(ASSEMBLY, "avx2", 4)
    with pytest.raises(ValueError, match="0 loops"):
        decode_loop(ASSEMBLY.replace("%ymm1", "%zmm1"), "vnni", 4)


def test_what_bounds_is_named_with_the_bytes_a_cycle() -> None:
    loop = Loop(("nop",) * 60, 16, 30, 0)
    assert loop.cycles(CORES["znver4"]) == {
        "dispatch": 10, "loads": 10, "vector loads": 15, "dot products": 8
    }  # fmt: skip
    assert "| 15.0: vector loads (19) | 36.0 (8) |" in row("znver4", loop, 36.0)


def test_ways_to_fetch_have_names() -> None:
    way = Reading(2, ((4096, 2), (1536, 1)))
    assert told(way) == "2 places, 4096 ahead to level 2 and 1536 ahead to level 1"
    assert told(Reading(4, ())) == "4 places, not fetched ahead"
