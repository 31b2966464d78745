from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from pytest_dllama.backends.base import Backend, EngineRequest, WorkerNotReady
from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.values import ConfigError, parse_models
from pytest_dllama.lab.checks import cell_keys, check_cells
from pytest_dllama.models import model_files
from tests.plugin.models.configs import config_of


def test_a_synthetic_model_is_written_once_into_the_cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (spec,) = parse_models("synthetic:tiny-llama")
    progress: list[tuple[int, int]] = []
    model = model_files.open_model(spec, lambda done, total: progress.append((done, total)))
    assert model.model_file.parent == tmp_path / "pytest-dllama" / "models"
    assert (model.record.name, model.record.arch, model.record.dim) == ("tiny-llama", "llama", 128)
    assert progress[-1][0] == progress[-1][1] == model.record.size_bytes
    written_ns = model.model_file.stat().st_mtime_ns
    progress.clear()
    again = model_files.open_model(spec, lambda done, total: progress.append((done, total)))
    assert again.model_file.stat().st_mtime_ns == written_ns
    assert progress == []


def test_a_synthetic_model_that_cannot_be_written_is_told(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = (
        "import resource; from pytest_dllama.config.values import *\n"
        "from pytest_dllama.models import model_files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
        "try: model_files.open_model(parse_models('synthetic:tiny-llama')[0], lambda *n: None)\n"
        "except ConfigError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == (
        f"--models synthetic:tiny-llama: it cannot be written in {tmp_path}/pytest-dllama/models "
        "(File too large: `ulimit -f` allows 1.00 KiB); make room there, or set XDG_CACHE_HOME to "
        "another folder"
    )
    assert list((tmp_path / "pytest-dllama" / "models").iterdir()) == []


def test_what_is_no_regular_file_is_told_as_such(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe.m")
    (tmp_path / "folder.m").mkdir()
    for name in ("pipe.m", "folder.m"):
        (spec,) = parse_models(f"{name}:t.t", tmp_path)
        with pytest.raises(ConfigError, match=rf"{name} is a pipe, device or folder; give"):
            model_files.open_model(spec, lambda done, total: None)


def test_the_shipped_model() -> None:
    (spec,) = parse_models("tiny")
    model_files.check_model(spec, (1, 2, 4, 8), config_of())
    record = model_files.open_model(spec, lambda done, total: None).record
    assert (record.name, record.weight_type) == ("tiny", "q40")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("llama-160m", "llama-160m"),
        ("tinyllama-1.1b", "tinyllama-1.1b"),
        ("llama160m", "llama-160m"),
        ("huge", "SHAPE"),
    ],
)
def test_the_name_of_a_shape_alone_is_answered_with_its_right_spelling(name, shape) -> None:
    (spec,) = parse_models(name)
    with pytest.raises(ConfigError) as caught:
        model_files.config_of(spec)
    assert str(caught.value) == (
        f"--models {name}: no shipped model of this name (there is: tiny); for random weights "
        f"write synthetic:{shape}, for your own files MODEL.m:TOKENIZER.t"
    )


def test_a_synthetic_prompt_is_checked_before_a_byte_is_written(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (spec,) = parse_models("synthetic:tiny-llama")
    message = r"--prompt has 13 tokens and --steps is 2: .* use --steps 14 or more, .*tiny-llama\)"
    with pytest.raises(ConfigError, match=message):
        model_files.check_model(spec, (2,), config_of(steps=2))
    model_files.check_model(spec, (2,), config_of(steps=14))
    assert list(tmp_path.iterdir()) == []


def test_command_lines_as_a_person_would_type_them() -> None:
    backend = EmbeddedBackend()
    worker = backend.worker_command("10.0.0.2", 0, 4, "stdin")
    assert worker[-4:] == ["--events", "-", "--exit-with-parent", "stdin"]
    shown = " ".join(backend.shown(worker, 9998))
    assert shown == "dllama-py worker --host 10.0.0.2 --port 9998 --nthreads 4"
    request = EngineRequest(
        Path("m.m"), Path("t.t"), "hello  you", 64, 4, "q80", "reduce", 0.0, 7, 60.0
    )
    small = replace(request, max_seq_len=80, kv_type="f16", context_depth=16)
    assert (
        " --seed 7 --max-seq-len 80 --kv-type f16 --context-depth 16 --nbatches 8 --timeout 60"
        in " ".join(EmbeddedBackend([("nbatches", "8")]).root_command(small, [], "77"))
    )
    ring = backend.root_command(replace(request, collective="ring"), ["10.0.0.2:9998"], "77")
    assert " --collective ring " in " ".join(ring)
    halved = backend.root_command(replace(request, overlap="on"), ["10.0.0.2:9998"], "77")
    assert " --overlap on " in " ".join(halved)
    root = backend.root_command(request, ["10.0.0.2:9998", "10.0.0.3:9998"], "77")
    assert " ".join(backend.shown(root)) == (
        "dllama-py inference --model m.m --tokenizer t.t --prompt hello  you --steps 64 "
        "--nthreads 4 --buffer-float-type q80 --sync-mode reduce --temperature 0 --seed 7 "
        "--timeout 60 --workers 10.0.0.2:9998 10.0.0.3:9998"
    )
    assert "--workers" not in backend.root_command(request, [], "77")


def test_nobody_there_is_not_ready() -> None:
    with pytest.raises(WorkerNotReady, match=r"127\.0\.0\.1:1 does not answer the handshake"):
        EmbeddedBackend().probe("127.0.0.1", 1, "a token of the cluster", 1.0)


class _PickyEngine:
    """One with rules of its own for models, as the real dllama has."""

    name = "picky"

    def check_model(self, config: object, nodes: int) -> None:
        pass


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("synthetic:llama-9t", "--models synthetic:llama-9t: unknown shape 'llama-9t'; one of"),
        ("broken.m:broken.t", "--models broken.m:broken.t: .*broken.m"),
    ],
)
def test_an_engine_with_rules_of_its_own_meets_no_model_that_cannot_be_read(
    model: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was asked about the model first, and pytest died of it (INTERNALERROR)."""
    monkeypatch.chdir(tmp_path)
    for name in ("broken.m", "broken.t"):
        (tmp_path / name).write_bytes(b"no model")
    config = config_of(models=parse_models(model), node_counts=(1,))
    with pytest.raises(ConfigError, match=words):
        check_cells(config, cell_keys(config), cast(Backend, _PickyEngine()))
