"""Logs that pages, mails, programs and stores quoted, and lines that others wrote among them.

Each gives the figures and the very text of the log. The text holds every letter that a form of
quoting takes for its own.
"""

from __future__ import annotations

import base64
import html
import json
import re
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportOptions
from pytest_dllama.record.run import RunRecord
from tests.data import LOGS

PLAIN = (LOGS / "v0.16.4_tiny_n2.log").read_text(encoding="utf-8")
OLD = (LOGS / "v0.5.2_tiny_n2.log").read_text(encoding="utf-8")
PIECES = (" said", ' "Hi"', " <b>", " &", "'s", ".\n", " |", " a", " 12", " ,", "é", " 한국")


def _with_pieces(text: str) -> str:
    pieces = iter(PIECES)
    lines = text.split("\n")
    return "\n".join(
        line[: line.rindex("| ") + 2] + next(pieces, "x") if line.startswith("🔶") else line
        for line in lines
    )


LOG = _with_pieces(PLAIN)
Change = Callable[[str], bytes]


def imported(data: bytes, folder: Path, name: str = "root.log") -> RunRecord:
    path = folder / name
    path.write_bytes(data)
    return import_logs([path], ImportOptions())


def figures(run: RunRecord) -> dict[str, float]:
    (cell,) = run.cells
    assert cell.status == "ok", cell.error
    return {name: estimate.value for name, estimate in cell.metrics.items()}


def lines_of(text: str) -> list[str]:
    return text.rstrip("\n").split("\n")


def each(change: Callable[[int, str], str]) -> Change:
    return lambda text: "\n".join(change(i, x) for i, x in enumerate(lines_of(text))).encode()


def document(change: Callable[[list[str]], object]) -> Change:
    return lambda text: json.dumps(change(lines_of(text))).encode()


def cast(text: str) -> bytes:
    """A recorded terminal: a head, then what was printed, in pieces of any length."""
    shown = text.replace("\n", "\r\n")
    events = [[i / 10, "o", shown[i : i + 37]] for i in range(0, len(shown), 37)]
    head = {"version": 2, "width": 120, "height": 40}
    return "\n".join(json.dumps(item) for item in [head, *events]).encode()


def mail(text: str) -> bytes:
    body = base64.encodebytes(text.encode()).decode()
    return (
        "From: a@example.org\nSubject: log\nMIME-Version: 1.0\n"
        "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" + body
    ).encode()


def rows_of(text: str, width: int) -> bytes:
    return "\n".join(
        line[i : i + width] for line in text.split("\n") for i in range(0, max(len(line), 1), width)
    ).encode()


def by_words(text: str) -> bytes:
    return "\n".join(
        "\n".join(textwrap.wrap(line, 40) or [""]) if line.startswith("🔷") else line
        for line in text.split("\n")
    ).encode()


SHAPES: dict[str, tuple[Change, str]] = {
    "HTML escapes": (lambda t: html.escape(t).encode(), "escapes of HTML, undone"),
    "numbers of letters": (
        lambda t: html.escape(t).encode("ascii", "xmlcharrefreplace"),
        "escapes of HTML, undone",
    ),
    "a page": (
        lambda t: f"<html><body><pre>\n{html.escape(t)}</pre></body></html>".encode(),
        "a page of HTML or XML, its text taken",
    ),
    "rows of a page": (
        lambda t: "".join(f"<tr><td>{html.escape(x)}</td></tr>\n" for x in lines_of(t)).encode(),
        "a page of HTML or XML",
    ),
    "breaks": (lambda t: "<br/>".join(lines_of(t)).encode(), "a page of HTML or XML"),
    "a test report": (
        lambda t: f"<testcase><system-out>{html.escape(t)}</system-out></testcase>".encode(),
        "a page of HTML or XML",
    ),
    "a test report's CDATA": (
        lambda t: f"<testcase><system-out><![CDATA[{t}]]></system-out></testcase>".encode(),
        "a page of HTML or XML",
    ),
    "mail": (mail, "a mail, its texts taken"),
    "base64": (lambda t: base64.encodebytes(t.encode()), "base64, decoded"),
    "Python's bytes": (lambda t: repr(t.encode()).encode(), "a program's literal, read"),
    "Python's list": (lambda t: repr(lines_of(t)).encode(), "a program's literal, read"),
    "one line": (lambda t: t.replace("\n", "\\n").encode(), r"line ends written as \n"),
    "strings of a list": (each(lambda i, x: f"  - {json.dumps(x)}"), "escaped as in JSON"),
    "a log store": (
        document(
            lambda rows: {
                "data": {
                    "result": [
                        {
                            "stream": {"app": "dllama"},
                            "values": [[str(10**18 + i), x] for i, x in enumerate(rows)][::-1],
                        }
                    ]
                }
            }
        ),
        "the newest line first, turned round",
    ),
    "a search engine": (
        document(lambda rows: {"hits": {"hits": [{"_source": {"message": x}} for x in rows]}}),
        "JSON, its records' '_source.message' taken",
    ),
    "records in records": (
        lambda t: "\n".join(
            json.dumps({"log": {"text": x}, "event": {"original": x}}) for x in lines_of(t)
        ).encode(),
        "JSON records, their 'log.text' taken",
    ),
    "told twice": (
        document(lambda rows: {"stdout": "\n".join(rows), "stdout_lines": rows}),
        "JSON, its texts taken",
    ),
    "a recorded terminal": (cast, "a recorded terminal, its output taken"),
    "progress on one line": (
        lambda t: t.replace("💿 Weights", "\rloading 50 %\r\x1b[2K💿 Weights").encode(),
        "",
    ),
    "lines erased before": (lambda t: t.replace("🔶", "\x1b[2K\r🔶").encode(), ""),
    "two empty lines": (lambda t: t.replace("\n", "\n\n\n").encode(), "2 empty lines after each"),
    "doubled": (
        lambda t: "\n".join(x for line in lines_of(t) for x in (line, line)).encode(),
        "every line stood twice",
    ),
    "utf-32, no mark": (lambda t: t.encode("utf-32-be"), "UTF-32-BE, decoded"),
    "halves of signs": (
        lambda t: re.sub(
            "[\U00010000-\U0010ffff]",
            lambda m: "".join(
                chr(0xD800 + (ord(m[0]) - 0x10000 >> 10)) + chr(0xDC00 + (ord(m[0]) & 0x3FF))
            ),
            t,
        ).encode("utf-8", "surrogatepass"),
        "",
    ),
    "a hole": (lambda t: (t[:900] + "\0" * 512 + t[900:]).encode(), "zero bytes of a file"),
    "unseen letters": (lambda t: t.replace("🔶", "🔶\u200b").encode(), "put right"),
    "a table's bars": (
        lambda t: re.sub(r"\| (?=Sent|\()", "│ ", t).encode(),
        "put right",
    ),
    "times within": (
        lambda t: t.replace(" ms Sync", " ms [13:00:01] Sync").encode(),
        "put right",
    ),
    "narrow": (lambda t: rows_of(t, 20), "wrapped at 20 columns, joined"),
    "wide": (lambda t: rows_of(t, 66), "wrapped at 66 columns, joined"),
    "between words": (by_words, "wrapped between words, joined"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_what_quoted_a_log_is_undone(shape: str, tmp_path: Path) -> None:
    change, words = SHAPES[shape]
    whole, run = imported(LOG.encode(), tmp_path), imported(change(LOG), tmp_path)
    assert figures(run) == figures(whole)
    assert run.request.prompt == "One morning, Mina"
    assert run.cells[0].output is not None
    assert run.cells[0].output.text == "".join(PIECES)
    assert words in "\n".join(run.notes)


def test_letters_that_no_form_explains_stay(tmp_path: Path) -> None:
    """Text of a model that writes HTML is no page, nor is it escaped."""
    pieces = iter((" &lt;", " <br>", " </b>", r" \n", " &amp;"))
    text = "\n".join(
        line[: line.rindex("| ") + 2] + next(pieces, "") if line.startswith("🔶") else line
        for line in PLAIN.split("\n")
    )
    output = imported(text.encode(), tmp_path).cells[0].output
    assert output is not None
    assert output.text == r" &lt; <br> </b> \n &amp;"


@pytest.mark.parametrize("text", [LOG, (LOGS / "v0.11.2_tiny_n2.log").read_text(encoding="utf-8")])
def test_runs_one_after_another_are_repeats_and_a_copy_is_told(text: str, tmp_path: Path) -> None:
    run = imported((text + text).encode(), tmp_path)
    assert [len(cell.samples) for cell in run.cells] == [2]
    assert any("two runs are the same to the last digit: if one is a copy" in n for n in run.notes)


def test_a_log_given_twice_counts_once(tmp_path: Path) -> None:
    paths = [tmp_path / "root.log", tmp_path / "copy.log"]
    for path in paths:
        path.write_text(LOG, encoding="utf-8")
    run = import_logs([*paths, paths[0]], ImportOptions())
    assert [len(cell.samples) for cell in run.cells] == [1]
    assert any("copy.log: a run that root.log holds too" in note for note in run.notes)
    assert any("root.log is given twice: read once" in note for note in run.notes)


@pytest.mark.parametrize(
    "line",
    ["throttled=0x50005", "temp=81.2'C", "--More--", "==> root.log.1 <==", "^C", "[warn] a b c d"],
)
def test_other_programs_lines_are_left_out_of_prompt_and_text(line: str, tmp_path: Path) -> None:
    rows = lines_of(LOG)
    for word in ("One morning", "🔶", "   nBatches"):
        at = next(i for i, row in enumerate(rows) if row.startswith(word))
        rows.insert(at + (word == "🔶"), line)
    if line == "[warn] a b c d":  # nothing tells it from a prompt's first line
        rows.remove(line)
    run = imported("\n".join(rows).encode(), tmp_path)
    assert figures(run) == figures(imported(LOG.encode(), tmp_path))
    assert run.request.prompt == "One morning, Mina"
    output = run.cells[0].output
    assert output is not None
    assert output.text == "".join(PIECES)
    assert any("taken for another program's and left out of the text" in n for n in run.notes)


def test_a_line_that_cannot_be_read_is_no_prompt(tmp_path: Path) -> None:
    run = imported(LOG.replace(" ms Sync", " msec Sync").encode(), tmp_path)
    assert "lines of an unknown format: 13," in str(run.cells[0].error)
    assert run.request.prompt == "One morning, Mina"


def first_versions(text: str, with_positions: bool) -> str:
    """What v0.1 to v0.4 print of the same run: no rate; bytes, or each pass's position."""
    rows = [row for row in lines_of(text) if not row.startswith("Avg tokens")]
    if not with_positions:
        return "\n".join(rows).replace("Loaded 3989 kB", "Loaded 4085120 bytes")
    passes = iter(range(99))
    return "\n".join(
        row.replace("🔶 G", f"🔶 {next(passes):4} G") if row.startswith("🔶") else row
        for row in rows
    )


@pytest.mark.parametrize(("with_positions", "versions"), [(True, "v0.4"), (False, "v0.1 to v0.3")])
def test_the_first_versions_are_read(with_positions: bool, versions: str, tmp_path: Path) -> None:
    run = imported(first_versions(OLD, with_positions).encode(), tmp_path)
    whole = imported(OLD.encode(), tmp_path)
    assert figures(run) == pytest.approx(figures(whole), rel=1e-4)
    assert run.cells[0].output == whole.cells[0].output
    assert any(f"dllama's {versions} (upstream)" in note for note in run.notes)


def test_positions_that_do_not_count_up_are_told(tmp_path: Path) -> None:
    rows = lines_of(first_versions(OLD, with_positions=True))
    at = next(i for i, row in enumerate(rows) if row.startswith("🔶    3"))
    rows[at], rows[at + 1] = rows[at + 1], rows[at]
    (cell,) = imported("\n".join(rows).encode(), tmp_path).cells
    assert "positions of the forward passes do not count up" in str(cell.error)


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("./run.sh: line 9: 26804 Segmentation fault      sudo nice -n -20 ./main", "Segmentation"),
        ("zsh: segmentation fault  sudo nice ./dllama inference", "segmentation fault"),
        ("Killed", "Killed"),
        ("Aborted (core dumped)", "Aborted"),
    ],
)
def test_what_the_shell_said_of_a_death_is_told(last: str, words: str, tmp_path: Path) -> None:
    rows = lines_of(LOG)
    first = next(i for i, row in enumerate(rows) if row.startswith("🔶"))
    for n_kept in (first - 4, first + 3):
        (cell,) = imported("\n".join([*rows[:n_kept], last]).encode(), tmp_path).cells
        assert f"; the shell said: {words}" in str(cell.error)


def test_bytes_of_thousands_are_read_as_one_number(tmp_path: Path) -> None:
    wide = LOG.replace("Sent     4 kB", "Sent  1004 kB")
    for sign in ("'", ".", ","):
        run = imported(wide.replace("1004", f"1{sign}004").encode(), tmp_path)
        assert figures(run) == figures(imported(wide.encode(), tmp_path))


def test_an_old_version_that_met_the_texts_end_has_its_averages(tmp_path: Path) -> None:
    """It counts its last pass and does not print it: 17 passes in 28 ms."""
    ended = OLD.replace("kB ark\nGenerated tokens:    16", "kB </s>\nGenerated tokens:    17")
    for old, new in (
        ("571.43", "607.14"),
        (" 1.75", " 1.65"),
        (" 0.44", " 0.41"),
        ("1.31", "1.24"),
    ):
        ended = ended.replace(old, new)
    run = imported(ended.encode(), tmp_path)
    assert figures(run) == pytest.approx({"rct_s": 0.028, "decode_tokens_per_s": 607.14}, rel=1e-3)
    assert any("counts a last pass that it does not print" in note for note in run.notes)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("Invalid tokenizer header key:9", "9 and 10 came with v0.14.0"),
        ("Unsupported header key", "Qwen3 came with v0.14.0"),
        ("This version supports only Q40 weights with Q80 sync type", "--buffer-float-type q80"),
    ],
)
def test_what_an_error_of_dllamas_means_is_said(error: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(f"🚨 Critical error: {error}\n", encoding="utf-8")
    (cell,) = import_logs([path], ImportOptions(nodes=1)).cells
    assert f"{error}: " in str(cell.error)
    assert words in str(cell.error)
