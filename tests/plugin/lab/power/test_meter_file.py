"""Files of meters as loggers write them, and what is refused in them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from pytest_dllama.lab.power import meter_file
from pytest_dllama.lab.power.meter_columns import ALL, MeterError
from pytest_dllama.lab.power.meter_file import MeterFile

HOSTS = ("pi-1", "pi2")


def _file(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "meter.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _meter(tmp_path: Path, *lines: str) -> MeterFile:
    return MeterFile(_file(tmp_path, *lines), HOSTS)


def test_a_column_of_each_host_in_its_own_unit(tmp_path: Path) -> None:
    meter = _meter(
        tmp_path,
        "time,pi-1 (W),pi2 [mW],supply_v",
        "2026-11-25T18:00:00+09:00,4.0,2500,5.1",
        "2026-11-25T18:00:01+09:00,6.0,2500,5.1",
        "2026-11-25T09:00:02Z,6.0,2500,5.0",
    )
    assert meter.hosts == HOSTS
    assert meter.curves["pi-1"].joules == (0.0, 5.0, 11.0)
    assert meter.curves["pi2"].joules == (0.0, 2.5, 5.0)
    start, *_, end = meter.curves["pi2"].times_s
    assert (start, end - start) == (1795597200.0, 2.0)


@pytest.mark.parametrize(
    ("title", "values", "joules"),
    [
        ("power_w", ("2", "2", "4"), (0.0, 2.0, 5.0)),
        ("Power (mW)", ("2000", "2000", "4000"), (0.0, 2.0, 5.0)),
        ("energy_j", ("100", "102", "105"), (0.0, 2.0, 5.0)),
        ("Energy [Wh]", ("1", "1.001", "1.002"), (0.0, 3.6, 7.2)),
    ],
)
def test_one_meter_of_all(tmp_path: Path, title: str, values, joules) -> None:
    rows = [f"{1795597200 + n},{value}" for n, value in enumerate(values)]
    meter = _meter(tmp_path, f"timestamp,{title}", *rows)
    assert meter.hosts == (ALL,)
    assert meter.curves[ALL].joules == pytest.approx(joules)


def test_power_wins_over_a_coarse_counter(tmp_path: Path) -> None:
    meter = _meter(tmp_path, "t,energy_wh,power_w", "1795597200,0.01,3", "1795597201,0.01,3")
    assert meter.curves[ALL].joules == (0.0, 3.0)


def test_semicolons_decimal_commas_milliseconds_and_stamps_of_whole_seconds(tmp_path: Path) -> None:
    meter = _meter(
        tmp_path,
        "\ufeffepoch_ms;power_w",
        *("1795597200000;1,5", "1795597201000;9,9", "1795597201000;2,5", "", "1795597202000;2,5"),
    )
    assert meter.curves[ALL].joules == pytest.approx((0.0, 2.0, 4.5))


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (["시간,전력(W)", "2026-11-25 18:00:00+09:00,4.0",
          "2026-11-25 18:00:02+09:00,6.0"], "utf-8"),
        (["일시;소비 전력 (mW)", "2026/11/25 18:00:00+09:00;4000,0",
          "2026/11/25 18:00:02+09:00;6000,0"], "cp949"),
        (["Date\tTime\tPower [W]", "2026.11.25\t18:00:00+09:00\t4,0",
          "2026.11.25\t18:00:02+09:00\t6,0"], "utf-16"),
        (["sep=;", "Timestamp;Watts", "2026-11-25T09:00:00Z;4.0 W", "2026-11-25T09:00:02Z;6.0 W"],
         "utf-8"),
        (["# a logger's remark", "epoch,active_power_watts", "1795597200000000,4",
          "# and one more", "1795597202000000,6"], "utf-8"),
        (["측정일시|에너지 (J)", "2026. 11. 25. 오후 6:00:00+09:00|10",
          "2026. 11. 25. 오후 6:00:02+09:00|20"], "cp949"),
        (["time,power_w", "1795597200,4", "1795597201,", "1795597202,6"], "utf-8"),
    ],
)  # fmt: skip
def test_what_meters_and_spreadsheets_export(tmp_path: Path, lines, encoding: str) -> None:
    path = tmp_path / "meter.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    curve = MeterFile(path, HOSTS).curves[ALL]
    assert curve.times_s == (1795597200.0, 1795597202.0)
    assert curve.joules == (0.0, 10.0)


def test_a_host_without_a_value_in_a_row_keeps_the_others(tmp_path: Path) -> None:
    meter = _meter(tmp_path, "t,pi-1_w,pi2_w", "1795597200,4,2", "1795597201,,2", "1795597202,6,2")
    assert meter.curves["pi-1"].times_s == (1795597200.0, 1795597202.0)
    assert meter.curves["pi2"].joules == (0.0, 2.0, 4.0)


GOOD = "1795597200,4"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["power_w,volts"], r"no column of time among: power_w, volts; call it `time`"),
        (["time,volts,amps"], r"no column of power or energy among: time, volts, amps; a column's"),
        (["time,pi9_w"], r"the column 'pi9_w' is of no host of this run; there are pi-1, pi2, or"),
        (["time,power_w", GOOD, "noon,4"], r"line 3: 'noon' is no time; write ISO 8601"),
        (["time,power_w", "-3,4"], r"line 2: '-3' is no time; write ISO 8601"),
        (["time,power_w", GOOD, "1795597201,off"], r"line 3, column power_w: 'off' is no power"),
        (["time,power_w", GOOD, "1795597201,nan"], r"'nan' is no power; leave out rows without"),
        (["time,power_w", GOOD, "1795597201,-4"], r"'-4' is no power"),
        (["time,power_w", GOOD, "1795597199,4"], r"line 3: '1795597199' is earlier than the line "),
        (["time,energy_j", GOOD, "1795597201,3"], r"column energy_j: the energy falls: the meter"),
        (["time,power_w", "1795597199", GOOD], r"line 2: 1 fields where the header has 2"),
        (["time,power_w", GOOD, "\0"], r"holds NUL characters"),
        (["time,power_w", "25.11.2026 18:00,4"], r"'25.11.2026 18:00' is no time; write ISO 8601"),
        (["# only", "sep=,"], r"is empty: its first line must name the columns"),
        (["time,power_w", f"{GOOD}{'0' * 200_000}"], r"is no CSV: field larger than field limit"),
    ],
)
def test_what_is_refused_says_where_and_what_helps(tmp_path: Path, lines, words: str) -> None:
    with pytest.raises(MeterError, match=words) as caught:
        _meter(tmp_path, *lines)
    assert str(tmp_path / "meter.csv") in str(caught.value)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(MeterError, match="gone cannot be read: No such file"):
        MeterFile(tmp_path / "gone", HOSTS)
    (tmp_path / "empty").touch()
    with pytest.raises(MeterError, match="empty is empty: its first line must name the columns"):
        MeterFile(tmp_path / "empty", HOSTS)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MeterError, match="is no text in UTF-8"):
        MeterFile(tmp_path / "binary", HOSTS)


def test_a_row_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    now_s = time.time()
    path = _file(tmp_path, "time,power_w", f"{now_s - 1},4")
    meter = MeterFile(path, HOSTS)

    def write() -> None:
        with path.open("a") as file:
            file.write(f"{now_s},4\n{now_s + 1},")  # the last line is only begun

    writer = threading.Timer(0.1, write)
    writer.start()
    curve = meter.curve(ALL, now_s)
    writer.join()
    assert curve.times_s[-1] == pytest.approx(now_s)


def test_nobody_waits_for_a_file_of_yesterday(tmp_path: Path, monkeypatch) -> None:
    meter = MeterFile(_file(tmp_path, "time,power_w", GOOD), HOSTS)
    monkeypatch.setattr(meter_file.time, "sleep", lambda seconds: pytest.fail("it waits"))
    assert meter.curve(ALL, time.time() - 86400).times_s == (1795597200.0,)
