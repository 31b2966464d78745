"""Images in a wheel: what a rank of it runs, and wheels that are none."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from dllama_engine.kernels.compiler import build
from dllama_engine.kernels.cpu import machine
from dllama_engine.kernels.image import store
from dllama_engine.kernels.image.file import decode, encode
from dllama_engine.kernels.image.targets import NAMED
from pytest_dllama.hosts.packages import wheel_images
from pytest_dllama.hosts.packages.wheel import engine_wheel
from pytest_dllama.hosts.packages.wheel_images import PLACE, WheelError, add_images

BUILDING_S = 600


@pytest.fixture(scope="module")
def image() -> tuple[str, bytes]:
    """This machine's, as one for all CPUs like it; compiled if no run before this one did."""
    line, variables = build.command("native", "--if-missing")
    done = subprocess.run(
        line, env=variables, capture_output=True, text=True, check=True, timeout=BUILDING_S
    )
    header, code = decode(Path(done.stdout.rpartition(": ")[0]).read_bytes())
    target = next(t.name for t in NAMED.values() if t.machine == machine())
    return target, encode(replace(header, target=target, cpu="", features=()), bytes(code))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    made = engine_wheel()
    path = tmp_path / made.name
    path.write_bytes(made.data)
    return path


def test_a_rank_of_a_wheel_with_images_needs_no_compiler(
    wheel: Path, image: tuple[str, bytes], tmp_path: Path
) -> None:
    """numba cannot even be imported, and nothing is compiled or kept."""
    assert store.is_wanted()
    target, data = image
    assert add_images(wheel, {target: data}) < len(data)
    site, without, cache = (tmp_path / name for name in ("site", "without", "cache"))
    zipfile.ZipFile(wheel).extractall(site)
    for name in ("numba", "llvmlite"):
        (without / name).mkdir(parents=True)
        (without / name / "__init__.py").write_text("raise ImportError('there is no compiler')\n")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "dllama_engine.cli", "inference", "--model", "tiny"),
            *("--prompt", "One morning, Mina", "--steps", "20", "--temperature", "0"),
        ],
        env={
            **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
            "PYTHONPATH": f"{without}:{site}",
            "XDG_CACHE_HOME": str(cache),
        },
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "🔶 Pred" in done.stdout
    assert "Compiling" not in done.stdout + done.stderr
    assert not list(cache.rglob("*.image"))


def test_the_record_of_a_wheel_names_its_images_and_a_second_time_replaces_them(
    wheel: Path,
) -> None:
    before = zipfile.ZipFile(wheel).namelist()
    add_images(wheel, {"x86-64-v3": b"old", "cortex-a72": b"other"})
    add_images(wheel, {"x86-64-v3": b"new" * 1000})
    file = zipfile.ZipFile(wheel)
    assert file.testzip() is None
    assert sorted(file.namelist()) == sorted([*before, f"{PLACE}/x86-64-v3.image"])
    (record,) = (name for name in before if name.endswith("RECORD"))
    rows = {row[0]: row for row in csv.reader(file.read(record).decode().splitlines())}
    assert rows.keys() == set(file.namelist())
    assert rows[f"{PLACE}/x86-64-v3.image"][2] == "3000"


def test_what_is_no_wheel_of_the_engine_is_refused_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "other.whl"
    path.write_bytes(b"no archive")
    with pytest.raises(WheelError, match="give a wheel of pytest-dllama"):
        add_images(path, {})
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("other/__init__.py", "")
    data = path.read_bytes()
    with pytest.raises(WheelError, match="holds no engine; give a wheel of pytest-dllama"):
        add_images(path, {"x86-64-v3": b""})
    assert path.read_bytes() == data
    assert [each.name for each in tmp_path.iterdir()] == ["other.whl"]


def test_images_may_not_make_a_wheel_much_larger(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert wheel_images.LARGEST_BYTES == 10 << 20
    monkeypatch.setattr(wheel_images, "LARGEST_BYTES", 5000)
    before = wheel.read_bytes()
    with pytest.raises(WheelError, match="at most 5000 are added; name fewer targets"):
        add_images(wheel, {"x86-64-v3": os.urandom(6000)})
    assert wheel.read_bytes() == before
