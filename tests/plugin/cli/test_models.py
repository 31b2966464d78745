"""The cache of synthetic models: listed, cleared, and never more than that."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from pytest_dllama.cli.main import main
from pytest_dllama.config.values import parse_models
from pytest_dllama.models import model_files
from pytest_dllama.models.kept import kept_models


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with two models, the smaller one unused for 40 days."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for shape in ("tiny-llama", "tiny-llama,n_layers=4"):
        (spec,) = parse_models(f"synthetic:{shape}")
        model_files.open_model(spec, lambda done, total: None)
    folder = tmp_path / "pytest-dllama" / "models"
    old_s = time.time() - 40 * 86400
    os.utime(folder / "synthetic-tiny-llama.m", (old_s, old_s))
    return folder


def _said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["models", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_list_names_sizes_and_last_use(cache: Path, capsys) -> None:
    code, out, _ = _said(capsys, "list")
    head, first, second, summary = out.splitlines()
    assert code == 0
    assert head.split() == ["NAME", "SIZE", "LAST", "USED"]
    assert first.split()[:3] == ["tiny-llama", "0.5", "MB"]
    assert first.split()[3] == time.strftime("%Y-%m-%d", time.localtime(time.time() - 40 * 86400))
    assert second.startswith("tiny-llama-n-layers-4-")
    assert second.split()[3] in {time.strftime("%Y-%m-%d"), _yesterday()}
    assert summary == f"2 models, 1.2 MB in {cache}"


def _yesterday() -> str:
    return time.strftime("%Y-%m-%d", time.localtime(time.time() - 86400))


def test_a_use_is_noted_and_the_file_stays_as_old_as_it_was(cache: Path) -> None:
    file = cache / "synthetic-tiny-llama.m"
    written_ns = file.stat().st_mtime_ns
    (spec,) = parse_models("synthetic:tiny-llama")
    model_files.open_model(spec, lambda done, total: None)
    assert file.stat().st_mtime_ns == written_ns
    assert [model.name for model in kept_models(cache)][-1] == "tiny-llama"


def test_clear_one_by_its_name(cache: Path, capsys) -> None:
    code, out, _ = _said(capsys, "clear", "tiny-llama")
    assert (code, out) == (0, "1 model removed, 0.5 MB freed\n")
    assert {path.name[:22] for path in cache.iterdir()} == {"synthetic-tiny-llama-n"}


def test_clear_what_is_not_used_any_more(cache: Path, capsys) -> None:
    assert _said(capsys, "clear", "--older-than", "41")[1] == "0 models removed, 0.0 MB freed\n"
    assert _said(capsys, "clear", "--older-than", "30")[1] == "1 model removed, 0.5 MB freed\n"
    assert [model.name[:13] for model in kept_models(cache)] == ["tiny-llama-n-"]


def test_clear_all_takes_rests_along_and_nothing_else(cache: Path, capsys) -> None:
    (cache / ".synthetic-llama-160m.m.123.tmp").write_bytes(b"x" * 50_000)
    (cache / "mine.m").write_bytes(b"somebody's own")
    assert _said(capsys, "clear")[1] == "2 models removed, 1.2 MB freed\n"
    assert [path.name for path in cache.iterdir()] == ["mine.m"]
    assert _said(capsys, "list")[1] == f"no synthetic model is kept in {cache}\n"


def test_an_unknown_name_removes_nothing(cache: Path, capsys) -> None:
    code, out, err = _said(capsys, "clear", "tiny-llama", "llama-9t")
    assert (code, out) == (2, "")
    assert err.startswith(
        f"pytest-dllama: models clear llama-9t: no such model is kept in {cache}; there is "
        "tiny-llama, tiny-llama-n-layers-4-"
    )
    assert len(kept_models(cache)) == 2


def test_days_are_a_number(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["models", "clear", "--older-than", "long"])
    assert "'long': expected a number of days, 0 or more" in capsys.readouterr().err


def test_no_cache_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "pytest-dllama" / "models"
    assert _said(capsys, "list")[1] == f"no synthetic model is kept in {folder}\n"
    assert _said(capsys, "clear")[1] == "0 models removed, 0.0 MB freed\n"
    assert not folder.exists()


def test_weights_that_workers_keep_are_listed_and_go_with_the_rest(
    cache: Path, tmp_path: Path, capsys
) -> None:
    folder = tmp_path / "dllama-py" / "weights"
    folder.mkdir(parents=True)
    for n, used_s in enumerate((1000.0, time.time())):
        share = folder / f"{n}.weights"
        share.write_bytes(bytes(700_000))
        os.utime(share, (used_s, used_s))
    said = _said(capsys, "list")[1].splitlines()
    assert said[-1] == f"workers keep 2 shares of weights, 1.4 MB in {folder}"
    assert _said(capsys, "clear", "tiny-llama")[1] == "1 model removed, 0.5 MB freed\n"
    out = _said(capsys, "clear", "--older-than", "60")[1]
    assert out.endswith("workers keep 1 share of weights, 0.7 MB: removed\n")
    assert [path.name for path in folder.iterdir()] == ["1.weights"]
    _said(capsys, "clear")
    assert list(folder.iterdir()) == []
