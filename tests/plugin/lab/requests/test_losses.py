"""What is measured anew, and what never is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dllama.config.values import ConfigError
from pytest_dllama.lab.requests.cluster import ClusterError
from pytest_dllama.lab.requests.failure import KILLED, RequestFailed
from pytest_dllama.lab.requests.losses import Losses
from tests.plugin.report.report_runs import cell


@pytest.mark.parametrize(
    "kind", ["WorkerLost", "WorkerNotReady", "HostError", "TimeoutError", KILLED, "NET_TIMEOUT"]
)
def test_a_loss_of_a_machine_is_tried_anew_so_often_as_allowed(kind: str) -> None:
    losses = Losses(1)
    assert losses.prefix == ""
    assert losses.allow(RequestFailed("worker 2\n  is gone", kind, (Path("a.log"),)))
    assert losses.prefix == "retry1."
    assert not losses.allow(RequestFailed("again", kind))
    record = losses.marked(cell("m", 2, [20]), ["a.log"])
    assert (record.retried, record.logs[0]) == ("worker 2 is gone", "a.log")


@pytest.mark.parametrize(
    "error",
    [
        RequestFailed("too long", "RequestError"),
        RequestFailed("not enough", "InsufficientMemoryError"),
        RequestFailed("exit code 2", "ExitCode"),
        ClusterError("does not listen"),
        ConfigError("cannot be"),
    ],
)
def test_what_would_fail_again_or_was_asked_for_wrongly_is_not(error: Exception) -> None:
    losses = Losses(3)
    assert not losses.allow(error)
    assert losses.marked(cell("m", 2, [20]), []).retried is None


def test_none_is_allowed_where_none_is_asked_for() -> None:
    assert not Losses(0).allow(RequestFailed("gone", "WorkerLost"))
