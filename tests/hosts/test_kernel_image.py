"""Which machine code a host is sent, by what its kernel tells of its cores."""

from __future__ import annotations

import platform

import pytest

from pytest_dllama.hosts.agent import facts as facts_module
from pytest_dllama.hosts.packages.kernel_image import image_for, target_of
from tests.hosts.board import Board

PI5 = (
    "processor\t: {n}\nFeatures\t: fp asimd evtstrm aes crc32 atomics asimddp\nCPU part\t: 0xd0b\n"
)
PI4 = "processor\t: {n}\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU part\t: 0xd08\n"
ZERO2W = PI4.replace("0xd08", "0xd03")


@pytest.mark.parametrize(
    ("cores", "target"),
    [
        ([PI5] * 4, "cortex-a76"),
        ([PI4] * 4, "cortex-a72"),
        ([ZERO2W] * 4, "cortex-a53"),
        ([PI4.replace("0xd08", "0xd05")] * 2 + [PI4] * 2, "cortex-a72"),  # unlike cores
        ([PI4.replace("asimd ", "")] * 4, None),
    ],
)
def test_a_boards_cores_choose_its_target(tmp_path, monkeypatch, cores, target) -> None:
    board = Board(tmp_path)
    board.write("proc/cpuinfo", "\n".join(core.format(n=n) for n, core in enumerate(cores)))
    monkeypatch.setattr(facts_module, "ROOT", tmp_path)
    told = facts_module.facts({"folder": str(tmp_path)}) | {"machine": "aarch64"}
    assert target_of(told) == target


def test_another_machine_compiles_for_itself() -> None:
    assert target_of({"machine": "riscv64"}) is None
    assert image_for({"machine": "riscv64"}) is None


def test_a_machine_of_our_kind_is_offered_ours() -> None:
    assert target_of({"machine": platform.machine(), "cpu_features": []}) == "native"
