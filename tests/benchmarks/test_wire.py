"""Exchanges beside the C program, whose frames are the engine's; pictures of traces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wire import auto, overlap, trace_picture
from benchmarks.wire.exchange.__main__ import NAMES
from benchmarks.wire.exchange.schedule import NO_FRAME, frames
from dllama_engine.collectives.base import Traffic
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.asked import CollectiveOption
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import split_units
from dllama_engine.tracing.perfetto import arrow_id
from tests.data import ROOT as REPOSITORY


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_both_ends_of_a_link_have_the_same_frames_in_the_same_round(name: str, n: int) -> None:
    """And they are as many, of as many bytes, as the collective's closed form says."""
    collective, size = COLLECTIVES[Collective(name)], 96
    rounds = [frames(Collective(name), rank, n, size) for rank in range(n)]
    chunks = [size if rank == 0 else 0 for rank in range(n)]
    if name != "star":
        chunks = [chunk.size for chunk in split_units(size, 4, n)]
    flow = collective.reduce_flow(size, chunks)
    for src in range(n):
        for dst in set(range(n)) - {src}:
            sent = [found[dst][0] for found in rounds[src] if found[dst][0] != NO_FRAME]
            received = [found[src][1] for found in rounds[dst] if found[src][1] != NO_FRAME]
            assert sent == received
            assert Traffic(len(sent), sum(sent)) == flow.get((src, dst), Traffic(0, 0))


def test_exchanges_are_measured_beside_the_c_program(tmp_path: Path) -> None:
    """Real processes on both sides; how fast they were is not asserted."""
    path = tmp_path / "table.md"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.wire.exchange", "--ranks", "3", "--sizes", "4096"),
            *("--rounds", "1", "--exchanges", "40", "--markdown", str(path)),
        ],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = path.read_text().splitlines()
    for name in NAMES:
        (of_frames,) = (row for row in rows if f"frames of 4096 B among 3, {name} |" in row)
        assert ("| C: " in of_frames) is bool(shutil.which("cc"))
        assert any(f"sum of 4096 B in f32 on 3, {name} |" in row for row in rows)


def test_a_pick_stands_beside_the_fastest() -> None:
    picked = [CollectiveOption.parse(text) for text in ("mesh", "mesh", "gather-bcast,ring@9")]
    case = auto.Case("tiny", 8, picked)
    for name, times_ms in zip(auto.CANDIDATES, ([2.0, 2.4], [2.2, 2.2], [1.6, 1.6]), strict=True):
        case.tpot_ms[name] += times_ms
    cells = case.cells()
    assert len(cells) == len(auto.HEAD)
    assert cells[:3] == ["tiny", "8", "2 x mesh, 1 x gather-bcast,ring@9"]
    assert cells[-1] == "mesh 1.38, gather-bcast 1.00"


def traced() -> list[dict[str, Any]]:
    """Two ranks, two tokens of a millisecond each; one message in each."""
    events: list[dict[str, Any]] = []
    for token in (0, 1):
        at = 1000.0 * token
        for rank in (0, 1):
            for track, name, start, length in (
                (trace_picture.STEPS, f"token at {token}", at, 1000.0),
                (trace_picture.COMPUTE, "qkv", at + 100, 300.0),
                (trace_picture.EXCHANGE, "SYNC_NODE_SLICES", at + 400, 700.0),
                (trace_picture.EXCHANGE, "wait for rank 1", at + 500, 200.0),
            ):
                events.append(
                    {"ph": "X", "pid": rank, "tid": track, "name": name, "ts": start, "dur": length}
                )
        ends = ({"ph": "s", "pid": 0, "ts": at + 400}, {"ph": "f", "pid": 1, "ts": at + 700})
        events += [end | {"tid": 9, "id": arrow_id(0, 1, token)} for end in ends]
    return events


def test_a_picture_of_a_trace_is_cut_at_its_tokens(tmp_path: Path) -> None:
    window = trace_picture.Window.of_tokens(traced(), 1, 1)
    assert window.ms == 1.0
    assert list(window.slices(1, trace_picture.COMPUTE)) == [("qkv", 0.1, 0.3)]
    exchanges = list(window.slices(0, trace_picture.EXCHANGE))
    assert exchanges[0] == ("SYNC_NODE_SLICES", 0.0, 0.1)  # of the token before, what is left
    assert exchanges[-2:] == [("SYNC_NODE_SLICES", 0.4, 0.6), ("wait for rank 1", 0.5, 0.2)]
    assert list(window.messages()) == [(0, 1, 0.4, 0.7)]
    with pytest.raises(SystemExit, match="no token 2"):
        trace_picture.Window.of_tokens(traced(), 2, 1)
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": traced()}))
    picture = tmp_path / "t.png"
    asked = [str(tmp_path / "t.json"), "--picture", str(picture), "--token", "0", "--dpi", "50"]
    assert trace_picture.main(asked) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("main", [auto.main, overlap.main])
def test_a_model_that_is_none_is_a_usage_error(
    main: Callable[[Sequence[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--models", "llama-160m"])
    assert ended.value.code == 2
    assert "for random weights write synthetic:llama-160m" in capsys.readouterr().err
