"""`pytest-dllama kernels build`: the command and the engine's builder speak of the same CPUs."""

from __future__ import annotations

import os

import pytest

from dllama_engine.kernels.image import store
from dllama_engine.kernels.image.file import ImageRefused, decode
from dllama_engine.kernels.image.targets import NAMED, NATIVE
from pytest_dllama.cli.kernels import TARGETS
from pytest_dllama.cli.main import main
from tests.made_once import board_kernels


def test_the_command_offers_what_the_engine_can_build() -> None:
    assert set(TARGETS) == {NATIVE, *NAMED}


def test_kernels_for_a_board_are_a_file_here() -> None:
    """Each takes 20 s, so it is one of them; all are built and run by `make test-arm`."""
    image, said = board_kernels()
    assert image.name == "kernels-cortex-a53.image"
    header, _ = decode(image.read_bytes())
    assert (header.target, header.machine, header.cpu) == ("cortex-a53", "aarch64", "")
    assert header.variant == "neon"
    assert "fp-armv8" in header.features
    assert "kernels-cortex-a53.image: " in said
    if os.uname().machine != "aarch64":
        with pytest.raises(ImageRefused, match="built for another machine"):
            store.load(image)


def test_an_unknown_cpu_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["kernels", "build", "--target", "z80"])
    assert "invalid choice: 'z80'" in capsys.readouterr().err
