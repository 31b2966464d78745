"""`--trace-dir`: one request more a cell, whose trace comes back in parts."""

from __future__ import annotations

import base64
import dataclasses
import json
import zlib
from pathlib import Path

import pytest

from pytest_dllama.backends.embedded import EmbeddedBackend
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.session import TracePart
from pytest_dllama.lab.requests.tracing import TraceMissing, check_tracing, joined
from tests.data import ROOT
from tests.engine.tracing.trace_format import problems
from tests.plugin.real_runs import SMALL_MODEL, RealRun

TEXT = '{"traceEvents": ["é"]}'


def parts(text: str = TEXT, size: int = 8) -> list[TracePart]:
    data = base64.b64encode(zlib.compress(text.encode())).decode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    return [
        TracePart(event="trace_part", index=i, parts=len(pieces), data=piece)
        for i, piece in enumerate(pieces)
    ]


def test_parts_are_put_together() -> None:
    assert joined(parts()) == TEXT


def test_a_trace_that_is_not_whole_is_none() -> None:
    whole = parts()
    for broken, words in (
        ([], "0 of 1 parts"),
        (whole[:-1], f"{len(whole) - 1} of {len(whole)} parts"),
        ([whole[1], whole[0], *whole[2:]], "parts of the trace came"),
        (parts("no JSON"), "is damaged"),
        ([whole[0].model_copy(update={"data": "!" * 8}), *whole[1:]], "is damaged"),
    ):
        with pytest.raises(TraceMissing, match=words):
            joined(broken)


class Silent(EmbeddedBackend):
    """An engine that tells no spans."""

    name = "silent"
    tells_spans = False


def test_what_cannot_be_traced_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = LabConfig.of_texts({"trace-dir": "t"}, tmp_path)
    assert config.trace_folder == tmp_path / "t"
    check_tracing(config, EmbeddedBackend())
    with pytest.raises(ConfigError, match="the engine silent tells no spans"):
        check_tracing(config, Silent())
    compared = LabConfig.of_texts({"trace-dir": "t", "baseline": "self"}, tmp_path)
    with pytest.raises(ConfigError, match="pairs are not traced"):
        check_tracing(compared, EmbeddedBackend())
    check_tracing(dataclasses.replace(compared, trace_folder=None), Silent())


def test_a_cell_leaves_a_trace_and_no_other_figures(tmp_path: Path) -> None:
    run = RealRun(tmp_path)
    run.start(
        [
            *(str(ROOT / "suites/test_latency.py"), "--models", SMALL_MODEL, "--nodes", "2"),
            *("--repeats", "1", "--warmup", "0", "--steps", "24", "--trace-dir", "traces"),
            *("--history", "off"),
        ]
    )
    assert run.finish() == pytest.ExitCode.OK, run.output
    (file,) = (tmp_path / "traces").iterdir()
    assert file.name == "llama_q40-2.trace.json"
    trace = json.loads(file.read_text("utf-8"))
    assert problems(trace)[:5] == []
    assert {event["pid"] for event in trace["traceEvents"]} == {0, 1}
    (cell,) = json.loads((run.report / "run.json").read_text("utf-8"))["cells"]
    assert len(cell["samples"]) == 1
    assert "--trace" not in cell["commands"]["root"]
    assert {(link["rank"], link["peer"]) for link in cell["network"]["times"]} == {(0, 1), (1, 0)}
