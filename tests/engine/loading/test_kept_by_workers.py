"""Real workers that keep their weights: what a root sends them, and the tokens that come of it."""

from __future__ import annotations

import json
import resource
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dllama_engine.synthetic.model import write_synthetic
from dllama_engine.system.process import kernel_cache_folder
from tests.engine.processes import Node, inference_arguments, run, start, start_worker, wait_until


@pytest.fixture(scope="module")
def caches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with an empty cache of the user's; compiled kernels stay where they are."""
    home = tmp_path_factory.mktemp("home")
    return {"XDG_CACHE_HOME": str(home), "NUMBA_CACHE_DIR": str(kernel_cache_folder())}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "weights"


@pytest.fixture(scope="module")
def pair(
    tmp_path_factory: pytest.TempPathFactory, kept: Path, caches: dict[str, str]
) -> Iterator[list[Node]]:
    """Two workers with one folder."""
    folder = tmp_path_factory.mktemp("workers")
    cache = ("--weight-cache", f"{kept},64MiB")
    nodes = [start_worker(folder, f"worker{rank}", *cache, **caches) for rank in (1, 2)]
    yield nodes
    for node in nodes:
        assert node.stop() == 0, node.log


def infer(
    workers: Sequence[Node], caches: dict[str, str], *more: object
) -> tuple[list[int], dict[str, Any], str]:
    """Tokens, the event that tells of loading, and what was said."""
    arguments = inference_arguments(workers, steps=12, local_weights="send")
    done = run(*arguments, *more, "--events", "-", **caches)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    tokens = [e["token_id"] for e in events if e["event"] == "step" and e["phase"] == "decode"]
    (ready,) = [event for event in events if event["event"] == "ready"]
    return tokens, ready, done.stderr


def sent_bytes(ready: dict[str, Any]) -> list[int]:
    """Payload of all set-up and loading, by worker."""
    return [link["sent_payload_bytes"] for link in ready["links"]]


@pytest.fixture(scope="module")
def filled(pair: list[Node], caches: dict[str, str]) -> tuple[list[int], dict[str, Any]]:
    """Tokens of the first start, and how its workers came to their weights."""
    tokens, ready, _ = infer(pair, caches)
    return tokens, ready


def test_the_second_start_is_sent_digests_only(
    pair: list[Node],
    caches: dict[str, str],
    kept: Path,
    filled: tuple[list[int], dict[str, Any]],
) -> None:
    tokens, first = filled
    assert [share["source"] for share in first["shares"]] == ["sent", "sent"]
    again, second, said = infer(pair, caches)
    assert again == tokens
    assert [share["source"] for share in second["shares"]] == ["cache", "cache"]
    for of_first, of_second in zip(sent_bytes(first), sent_bytes(second), strict=True):
        assert of_second < 0.02 * of_first  # of a model of a quarter of a megabyte
    for share, was in zip(second["shares"], first["shares"], strict=True):
        assert (share["sent_bytes"], share["cached_bytes"]) == (0, was["sent_bytes"])
        assert f"💾 Rank {share['rank']}: {share['cached_bytes'] / 1024:.2f} KiB" in said
    assert f"from {kept}" in pair[0].log
    assert len(list(kept.glob("*.weights"))) == 2


def test_a_damaged_entry_is_replaced_while_it_serves(
    pair: list[Node],
    caches: dict[str, str],
    kept: Path,
    filled: tuple[list[int], dict[str, Any]],
) -> None:
    tokens, _ = filled
    for path in kept.glob("*.weights"):
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            file.write(b"\xff" * 8)
    found, ready, _ = infer(pair, caches)
    assert found == tokens
    assert all(s["sent_bytes"] == s["expected_bytes"] > 0 for s in ready["shares"])
    found, ready, _ = infer(pair, caches)
    assert found == tokens
    assert [share["sent_bytes"] for share in ready["shares"]] == [0, 0]


def test_off_keeps_nothing_and_the_environment_may_say_it(
    tmp_path: Path, caches: dict[str, str]
) -> None:
    worker = start_worker(tmp_path, "worker", DLLAMA_PY_WEIGHT_CACHE="off", **caches)
    try:
        _, ready, _ = infer([worker], caches)
        assert ready["shares"][0]["source"] == "sent"
    finally:
        worker.stop()
    assert list(Path(caches["XDG_CACHE_HOME"]).rglob("*.weights")) == []


def test_a_worker_that_is_killed_while_it_stores_leaves_what_is_whole(
    tmp_path: Path, caches: dict[str, str]
) -> None:
    """The next worker goes on with the very file."""
    model, tokenizer = write_synthetic("tiny-llama,dim=1024,hidden_dim=4096", tmp_path)
    named = ("--model", model, "--tokenizer", tokenizer)
    kept = tmp_path / "kept"
    cache = ("--weight-cache", kept)
    worker = start_worker(tmp_path, "killed", *cache, **caches)
    arguments = inference_arguments([worker], steps=12, local_weights="send")
    root = start(tmp_path, "root", *arguments, *named, **caches)
    wait_until(lambda: any(p.stat().st_size > 1 << 21 for p in kept.glob("*")), "some pieces")
    worker.stop(signal.SIGKILL)
    root.wait()
    (path,) = kept.iterdir()
    assert path.suffix == ".weights"
    worker = start_worker(tmp_path, "worker", *cache, **caches)
    try:
        _, ready, _ = infer([worker], caches, *named)
        (share,) = ready["shares"]
        assert share["source"] == "cache"
        assert share["cached_bytes"] >= 1 << 20
        assert share["sent_bytes"] == share["expected_bytes"]
    finally:
        worker.stop()
    assert list(kept.iterdir()) == [path]
    assert path.stat().st_size > share["cached_bytes"] + share["sent_bytes"]  # and digests


def test_a_disk_that_takes_no_more_costs_a_word(tmp_path: Path, caches: dict[str, str]) -> None:
    """A file may grow to 64 KiB only: the kernel says so in mid-piece, as on a full disk."""
    kept = tmp_path / "kept"
    worker = start_worker(tmp_path, "worker", "--weight-cache", kept, **caches)
    try:
        assert worker.port
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))
        tokens, ready, _ = infer([worker], caches)
        assert tokens
        assert ready["shares"][0]["source"] == "sent"
        assert f"⚠️  Weights are not kept in {kept}: File too large" in worker.log
        assert "Session error" not in worker.log
    finally:
        worker.stop()
    shutil.rmtree(kept)
