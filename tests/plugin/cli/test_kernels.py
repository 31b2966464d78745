"""`pytest-dllama kernels build`: the command and the engine's builder speak of the same CPUs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dllama_engine.kernels.image import store
from dllama_engine.kernels.image.file import ImageRefused, decode
from dllama_engine.kernels.image.targets import NAMED, NATIVE
from pytest_dllama.cli.kernels import TARGETS
from pytest_dllama.cli.main import main


def test_the_command_offers_what_the_engine_can_build() -> None:
    assert set(TARGETS) == {NATIVE, *NAMED}


def test_kernels_for_a_board_are_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each takes 20 s, so it is one of them; all are built and run by `make test-arm`."""
    monkeypatch.chdir(tmp_path)
    assert main(["kernels", "build", "--target", "cortex-a53"]) == 0
    header, _ = decode((tmp_path / "kernels-cortex-a53.image").read_bytes())
    assert (header.target, header.machine, header.cpu) == ("cortex-a53", "aarch64", "")
    assert header.variant == "neon"
    assert "fp-armv8" in header.features
    assert "kernels-cortex-a53.image: " in capfd.readouterr().out
    if os.uname().machine != "aarch64":
        with pytest.raises(ImageRefused, match="built for another machine"):
            store.load(tmp_path / "kernels-cortex-a53.image")


def test_an_unknown_cpu_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["kernels", "build", "--target", "z80"])
    assert "invalid choice: 'z80'" in capsys.readouterr().err
