"""The section of energy: findings, what is left out, and each reason once."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.energy import EnergyRecord, MachineEnergy, PowerRecord
from pytest_dllama.report.pages.markdown import render
from tests.plugin.report.report_runs import cell, estimate, run

WHY = (
    "it has neither vcgencmd (Raspberry Pi 5) nor counters in /sys/class/powercap (RAPL); give the "
    "file of a meter at its plug with --power"
)


def _cell(nodes: int, *j_per_token: float, **fields: Any) -> CellRecord:
    machines = tuple(
        MachineEnergy(hosts=(f"pi{n}",), ranks=(n,), mean_w=4.0, **fields) for n in range(nodes)
    )
    energy = EnergyRecord(machines=machines, idle_w=2.0 * nodes)
    metrics = {}
    if j_per_token:
        metrics = {"j_per_token": estimate(*j_per_token), "request_j": estimate(9.0)}
    return cell("a", nodes, [9, 10, 11], metrics=metrics, energy=energy)


def _page(cells: list[CellRecord], *power: PowerRecord, language: str = "en") -> str:
    return render(run(cells).model_copy(update={"power": power}), language)


PI = PowerRecord(hosts=("pi0",), source="pmic", detail="12 rails", idle_w=2.5, idle_s=5.0)
BARE = PowerRecord(hosts=("pi1",), why_not=WHY)


def test_the_thriftiest_node_count_is_told_where_ranges_are_apart() -> None:
    text = _page([_cell(1, 0.9, 1.0, 1.1), _cell(2, 2.9, 3.0, 3.1)], PI)
    assert "**a**: a token needs least energy on 1 node: 1.000 J; on 2 nodes 3.00 times" in text
    text = _page([_cell(1, 0.9, 1.0, 3.0), _cell(2, 2.9, 3.0, 3.1)], PI)
    assert "least energy" not in text


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", ("the rails of its power chip (12 rails); idle 2.5", "leave out what never passes")),
        (
            "ko",
            ("레일 합계 (레일 12개); 유휴 전력 2.5", "칩을 거치지 않는 것이 빠져"),
        ),
    ],
)
def test_what_the_rails_leave_out_is_said(language: str, words: tuple[str, ...]) -> None:
    text = _page([_cell(1, 1.0)], PI, language=language)
    assert [one for one in words if one not in text] == []


def test_a_reason_is_told_once_and_a_missing_figure_is_a_dash() -> None:
    text = _page([_cell(1, 1.0), _cell(2, why_not=WHY)], PI, BARE)
    assert text.count("it has neither vcgencmd") == 1
    (row,) = [line for line in text.splitlines() if line.startswith("| a ") and " pi1 " in line]
    assert [entry.strip() for entry in row.split("|")[4:6]] == ["-", "-"]


def test_nobody_asked_and_nothing_is_said() -> None:
    assert "## Energy" not in render(run([cell("a", 1, [9])]), "en")
    assert "<summary>Energy" not in render(run([cell("a", 1, [9])]), "en")
