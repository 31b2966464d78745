"""Logs as shells, collectors, editors and mails leave them: each gives the figures of the log."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import itertools
import json
import lzma
import os
import quopri
import re
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import ImportLogError, import_logs
from pytest_dllama.forensics.imported_run import ImportOptions
from pytest_dllama.forensics.logs.archives import LogTextError
from pytest_dllama.forensics.logs.log_text import read_log
from pytest_dllama.record.run import RunRecord
from tests.data import LOGS

LOG = (LOGS / "v0.16.4_tiny_n2.log").read_text(encoding="utf-8")


def imported(path: Path, nodes: int | None = None) -> RunRecord:
    return import_logs([path], ImportOptions(nodes=nodes))


def figures(run: RunRecord) -> dict[str, float]:
    (cell,) = run.cells
    assert cell.status == "ok", cell.error
    return {name: estimate.value for name, estimate in cell.metrics.items()}


def before_each(prefix: Callable[[int], str]) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        lines = text.rstrip("\n").split("\n")
        return "".join(f"{prefix(i)}{line}\n" for i, line in enumerate(lines)).encode()

    return change


def misread(encoding: str) -> Callable[[str], bytes]:
    """What a shell of that code page writes of UTF-8; holes of the page become control letters."""

    def letter(byte: int) -> str:
        try:
            return bytes([byte]).decode(encoding)
        except UnicodeDecodeError:
            return chr(byte)

    return lambda text: "".join(map(letter, text.encode())).encode("utf-8-sig")


def wrapped(columns: int) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        rows = []
        for line in text.split("\n"):
            rows += [line[i : i + columns] for i in range(0, len(line), columns)] or [""]
        return "\n".join(rows).encode()

    return change


def around_each(before: str, after: str, lines_end: str = "\n") -> Callable[[str], bytes]:
    return lambda text: lines_end.join(
        f"{before}{line}{after}" for line in text.rstrip("\n").split("\n")
    ).encode()


def padded(columns: int) -> Callable[[str], bytes]:
    return lambda text: "\n".join(line.ljust(columns) for line in text.split("\n")).encode()


def zipped(text: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logs/root.log", text)
    return file.getvalue()


def records(key: str, **more: str) -> Callable[[str], bytes]:
    def change(text: str) -> bytes:
        lines = text.rstrip("\n").split("\n")
        return "".join(json.dumps({key: f"{x}\n", **more}) + "\n" for x in lines).encode()

    return change


def journal(text: str) -> bytes:
    """`journalctl -o json`: what is not plain ASCII is a list of bytes."""
    lines = text.rstrip("\n").split("\n")
    said = [line if line.isascii() else list(line.encode()) for line in lines]
    return "\n".join(
        json.dumps({"__REALTIME_TIMESTAMP": str(1764075600_000000 + i), "MESSAGE": line})
        for i, line in enumerate(said)
    ).encode()


def with_signs_as(change: Callable[[str], str]) -> Callable[[str], bytes]:
    """What a console without dllama's signs leaves of them."""
    return lambda text: "".join(c if c.isascii() else change(c) for c in text).encode()


def newest_first(change: Callable[[str], bytes]) -> Callable[[str], bytes]:
    return lambda text: b"\n".join(reversed(change(text).rstrip(b"\n").split(b"\n")))


LOST = "lines without dllama's signs at their start"
SHAPES: dict[str, tuple[Callable[[str], bytes], str]] = {
    "utf-16": (lambda t: codecs.BOM_UTF16_LE + t.encode("utf-16-le"), "UTF-16, decoded"),
    "utf-16 be": (lambda t: codecs.BOM_UTF16_BE + t.encode("utf-16-be"), "UTF-16, decoded"),
    "utf-16, no mark": (lambda t: t.encode("utf-16-le"), "UTF-16-LE, decoded"),
    "utf-32": (lambda t: codecs.BOM_UTF32_LE + t.encode("utf-32-le"), "UTF-32, decoded"),
    "utf-8 with a mark": (lambda t: t.encode("utf-8-sig"), ""),
    "cp1252": (misread("cp1252"), "read as cp1252, undone"),
    "cp437": (misread("cp437"), "read as cp437, undone"),
    "latin-1": (misread("latin-1"), "undone"),
    "gzip": (lambda t: gzip.compress(t.encode()), "gzip, unpacked"),
    "compose": (before_each(lambda i: "dllama-root-1  | "), "a prefix like 'dllama-root-1  |'"),
    "container": (
        before_each(lambda i: f"2026-11-25T13:00:{i % 60:02}.{(i * 7919) % 10**9}Z "),
        "a prefix like '2026-11-25T13:00:00.0Z'",
    ),
    "pipe": (before_each(lambda i: f"2026-11-25T13:00:{i % 60:02}.123Z stdout F "), "stdout F"),
    "journal": (before_each(lambda i: f"Nov 25 13:00:{i % 60:02} pi4 dllama[4711]: "), "pi4"),
    "brackets": (before_each(lambda i: f"[{i:6}] "), "a prefix like '[     0]'"),
    "indented": (before_each(lambda i: "\t"), "blanks before each line"),
    "quoted": (before_each(lambda i: "> "), "a prefix like '>'"),
    "quoted twice": (before_each(lambda i: ">> "), "a prefix like '>>'"),
    "empty lines": (lambda t: t.replace("\n", "\n\n").encode(), "an empty line after each"),
    "windows": (lambda t: t.replace("\n", "\r\n").encode(), ""),
    "blanks at ends": (lambda t: t.replace("\n", "    \n").encode(), "4 blanks at the end"),
    "wrapped": (wrapped(52), "wrapped at 52 columns, joined"),
    "wrapped behind the bytes": (wrapped(60), "wrapped at 60 columns, joined"),
    "cp1251": (misread("cp1251"), "read as cp1251, undone"),
    "cp1250": (misread("cp1250"), "undone"),
    "mac": (misread("mac_roman"), "read as mac_roman, undone"),
    "misread twice": (lambda t: misread("cp1252")(misread("cp1252")(t)[3:].decode()), "undone"),
    "code page without the letters": (
        lambda t: t.encode().decode("cp949", "replace").encode(),
        LOST,
    ),
    "question marks": (with_signs_as(lambda c: "?"), LOST),
    "signs dropped": (with_signs_as(lambda c: ""), LOST),
    "octal": (with_signs_as(lambda c: "".join(f"\\{b:03o}" for b in c.encode())), LOST),
    "signs by name": (
        lambda t: t.replace("🔶", ":large_orange_diamond:").replace("🔷️", ":diamond:").encode(),
        LOST,
    ),
    "bzip2": (lambda t: bz2.compress(t.encode()), "bzip2, unpacked"),
    "xz": (lambda t: lzma.compress(t.encode()), "xz, unpacked"),
    "zip": (zipped, "zip, unpacked"),
    "gzip twice": (lambda t: gzip.compress(gzip.compress(t.encode())), "gzip, unpacked"),
    "container's records": (records("log", stream="stdout"), "JSON records, their 'log' taken"),
    "shipped records": (
        records("message", timestamp="2026-11-25T13:00:00Z", host="pi4"),
        "JSON records, their 'message' taken",
    ),
    "journal's records": (journal, "JSON records, their 'MESSAGE' taken"),
    "a document": (lambda t: json.dumps({"rc": 0, "out": [{"stdout": t}]}).encode(), "JSON, its"),
    "lines of a document": (
        lambda t: json.dumps({"stdout_lines": t.rstrip("\n").split("\n")}, indent=2).encode(),
        "JSON, its texts taken",
    ),
    "mail": (lambda t: quopri.encodestring(t.encode()), "quoted-printable (a mail), decoded"),
    "quotes": (around_each('    "', '",'), """'",' at the end of each line"""),
    "table": (around_each("| ", " |"), "'|' at the end of each line"),
    "zero bytes": (around_each("", "\0"), "at the end of each line"),
    "colours without their escape": (around_each("[32m", "[0m"), "'[0m' at the end of each line"),
    "carriage returns alone": (around_each("", "", "\r"), ""),
    "line separators": (around_each("", "", "\u2028"), ""),
    "doubled carriage returns": (around_each("", "", "\r\r\n"), ""),
    "filled up": (padded(100), "blanks up to column 100"),
    "no-break blanks": (lambda t: t.replace("  ", "\u00a0 ").encode(), "lines with blanks, signs"),
    "no plain blank": (lambda t: t.replace(" ", "\u00a0").encode(), "lines with blanks, signs"),
    "tabs": (lambda t: t.replace("    ", "\t").encode(), "lines with blanks, signs"),
    "coloured signs": (lambda t: t.replace("💡", "💡\ufe0f").encode(), "lines with blanks, signs"),
    "decimal commas": (lambda t: re.sub(r"(?<=\d)\.(?=\d\d )", ",", t).encode(), "decimal commas"),
    "thousands": (lambda t: t.replace("1417.43", "1,417.43").encode(), "decimal commas"),
    "newest first": (newest_first(str.encode), "the newest line first, turned round"),
    "journal's newest first": (
        newest_first(before_each(lambda i: f"Nov 25 13:00:{i % 60:02} pi4 dllama[4711]: ")),
        "before each line, taken away",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_gives_the_figures_and_text_of_the_log(shape: str, tmp_path: Path) -> None:
    change, words = SHAPES[shape]
    path = tmp_path / "root.log"
    path.write_bytes(change(LOG))
    whole, run = imported(LOGS / "v0.16.4_tiny_n2.log"), imported(path)
    assert figures(run) == figures(whole)
    assert run.request.prompt == "One morning, Mina"
    assert run.cells[0].output == whole.cells[0].output
    if words:
        assert words in "\n".join(run.notes)
        assert run.notes[0].startswith("root.log: ")
    else:
        assert run.notes == whole.notes


CASES = {  # file -> (a figure and its value, or words of the failure)
    "A11_v0.5.2.log": ("decode_tokens_per_s", 237.04),
    "A11_v0.10.6-n1.log": ("decode_tokens_per_s", 340.43),
    "A11_v0.10.6-n2.log": ("rct_s", 1.301),
    "A11_v0.11.2-n2.log": ("decode_tokens_per_s", 38.46),
    "A14_warn1.log": ("tokens_per_s", 49.18),
    "A16_utf16.log": ("decode_tokens_per_s", 90.34),
    "B12_root.log.gz": ("decode_tokens_per_s", 90.34),
    "B13_trail.log": ("decode_tokens_per_s", 90.34),
    "B5_indent.log": ("decode_tokens_per_s", 90.34),
    "B5_quote.log": ("decode_tokens_per_s", 90.34),
    "B6_rates.log": ("prefill_tokens_per_s", 5119.45),
    "B7_wrap54.log": ("decode_tokens_per_s", 90.34),
    "B9_blank.log": ("decode_tokens_per_s", 90.34),
}


@pytest.mark.parametrize("name", CASES)
def test_reported_logs(name: str) -> None:
    metric, value = CASES[name]
    assert figures(imported(LOGS / "cases" / name))[metric] == pytest.approx(value, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "versions"),
    [
        ("A11_v0.5.2.log", "v0.5 or v0.6"),
        ("A11_v0.10.6-n2.log", "v0.10.2 to v0.10.6"),
        ("A11_v0.11.2-n2.log", "v0.11"),
    ],
)
def test_old_versions_are_named_and_what_they_do_not_tell_is_missing(
    name: str, versions: str
) -> None:
    run = imported(LOGS / "cases" / name)
    (cell,) = run.cells
    notes = "\n".join(run.notes)
    assert f"dllama's {versions} (upstream)" in notes
    assert "nothing tells where the prompt ends" in notes
    (sample,) = cell.samples
    assert (sample.ttft_s, sample.tokens_per_s, sample.n_input_tokens) == (None, None, None)
    assert "bytes_per_token" not in cell.metrics


def test_warnings_are_no_prompt_and_remarks_no_text() -> None:
    warned = imported(LOGS / "cases/A14_warn1.log")
    assert warned.request.prompt == "hello world"
    assert any("Cannot allocate 134217728 bytes" in note for note in warned.notes)
    run = imported(LOGS / "v0.16.4_invalid_utf8.log")
    assert run.cells[0].output is not None
    assert "Tokenizer:" not in run.cells[0].output.text


@pytest.mark.parametrize("name", ["B10_chat.log", "B10_api.log"])
def test_conversations_are_refused_and_not_stored(name: str) -> None:
    run = imported(LOGS / "cases" / name)
    (cell,) = run.cells
    assert cell.status == "skipped"
    assert "chat or API server, which prints no times" in str(cell.error)
    assert "Noah" not in run.model_dump_json()
    assert "Lily" not in run.model_dump_json()


def test_closing_blocks_alone_give_their_rates() -> None:
    path = LOGS / "cases/B8_closing_only.log"
    with pytest.raises(ImportLogError, match=r"decode 90\.34 tokens/s\); add --nodes N"):
        imported(path)
    run = imported(path, nodes=2)
    found = figures(run)
    assert found["prefill_tokens_per_s"] == pytest.approx(245.88)
    assert found["decode_tokens_per_s"] == pytest.approx(90.34)
    assert not {"ttft_s", "tpot_ms", "bytes_per_token", "sync_share"} & found.keys()
    assert any("Only the closing blocks" in note for note in run.notes)


def test_a_prompts_time_is_not_taken_from_lines_cut_to_whole_ms(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    lines = text.split("\n")
    at = lines.index("Evaluation")
    path.write_text("\n".join(lines[:at] + lines[at + 4 :]), encoding="utf-8")
    run = imported(path)
    (cell,), (whole,) = run.cells, imported(LOGS / "upstream_inference_n2.log").cells
    (sample,) = cell.samples
    assert (sample.ttft_s, sample.rct_s, sample.tokens_per_s, sample.prefill_s) == (None,) * 4
    assert (sample.n_input_tokens, sample.prefill_tokens) == (6, 5)  # by the Eval lines
    assert cell.metrics["tpot_ms"] == whole.metrics["tpot_ms"]
    assert not {"ttft_s", "rct_s", "tokens_per_s", "sync_share"} & cell.metrics.keys()
    assert any("The Evaluation block is not whole. Its 5 tokens" in note for note in run.notes)
    path.write_text("\n".join(line for line in lines if line != "    nTokens: 5"), encoding="utf-8")
    assert figures(imported(path)) == figures(imported(LOGS / "upstream_inference_n2.log"))


@pytest.mark.parametrize("rate", ["inf (0.00 ms/tok)", "-nan (-nan ms/tok)", "nan (inf ms/tok)"])
def test_impossible_rates_are_no_figures(rate: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    path.write_text(text.replace("90.34 (11.07 ms/tok)", rate), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "a rate that is no figure" in str(cell.error)


def test_rates_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "upstream_inference_n2.log").read_text(encoding="utf-8")
    path.write_text(text.replace("90.34 (11.07", "80.34 (11.07"), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "which are not one time" in str(cell.error)


def test_runs_of_other_work_are_no_repeats(tmp_path: Path) -> None:
    first = (LOGS / "v0.16.4_tiny_n2.log").read_text(encoding="utf-8")
    other = first.replace("One morning, Mina", "Another prompt")
    path = tmp_path / "root.log"
    path.write_text(first + first + other, encoding="utf-8")
    run = import_logs([path, LOGS / "v0.12.1_tiny_n2.log"], ImportOptions(model_name="tiny"))
    cells = [(cell.model, cell.nodes, len(cell.samples)) for cell in run.cells]
    assert cells == [("tiny", 2, 2), ("tiny #2", 2, 1), ("tiny #3", 2, 1)]
    assert any("tiny #2, tiny #3 are cells of their own" in note for note in run.notes)


def test_a_node_count_that_the_log_contradicts_is_told() -> None:
    run = imported(LOGS / "v0.16.4_tiny_n2.log", nodes=4)
    assert run.cells[0].nodes == 2
    assert run.notes[0].startswith("--nodes 4 was given, but v0.16.4_tiny_n2.log says 2")


def test_only_whole_regular_files_are_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(LogTextError, match="no regular file"):
        read_log(pipe)
    with pytest.raises(ImportLogError, match="no regular file"):
        imported(tmp_path)
    broken = tmp_path / "root.log.gz"
    broken.write_bytes(gzip.compress(LOG.encode())[:-30])
    with pytest.raises(LogTextError, match="a broken gzip file"):
        read_log(broken)


def test_a_file_that_unpacks_to_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pytest_dllama.forensics.logs.archives.MAX_LOG_BYTES", 1000)
    path = tmp_path / "root.log.gz"
    path.write_bytes(gzip.compress(b"a" * 1001))
    with pytest.raises(LogTextError, match="unpacked, more than"):
        read_log(path)
    path.write_bytes(b"a" * 1001)
    with pytest.raises(LogTextError, match="cut the repeated lines out"):
        read_log(path)


def test_text_that_only_looks_like_a_prefix_stays(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(LOG.replace("One morning, Mina\n", "> One 💡 Dim: 3\n"), encoding="utf-8")
    run = imported(path)
    assert run.request.prompt == "> One 💡 Dim: 3"
    assert not run.notes[0].startswith("root.log")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "terminate called after throwing an instance of 'x'\n  what():  Cannot connect\n",
            "Cannot",
        ),
        (
            "dllama: src/nn/nn-core.cpp:200: NnKvCacheSlice sliceKvCache(NnUint, NnUint, NnUint): "
            "Assertion `kvDim % nNodes == 0' failed.\n",
            "kvDim % nNodes == 0",
        ),
        ("🚨 Critical error: Unknown option: --host\n", "Unknown option: --host"),
    ],
)
def test_last_words_are_told(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(text, encoding="utf-8")
    (cell,) = imported(path, nodes=2).cells
    assert cell.status == "failed"
    assert words in str(cell.error)
    with pytest.raises(ImportLogError, match="it says"):
        imported(path)


ROOT = LOG.rstrip("\n").split("\n")


def test_programs_in_one_log_are_told_apart(tmp_path: Path) -> None:
    worker = (LOGS / "fork_inference_n4.worker1.log").read_text(encoding="utf-8").split("\n")
    other = LOG.replace("One morning, Mina", "Another prompt").rstrip("\n").split("\n")
    path = tmp_path / "compose.log"
    rows = []
    for lines in itertools.zip_longest(ROOT, other, worker[:40]):
        rows += [f"pi-{i}  | {line}" for i, line in enumerate(lines) if line is not None]
    rows.insert(0, "pi-idle  | Listening on 0.0.0.0:9999...")
    path.write_text("\n".join(rows), encoding="utf-8")
    run = imported(path)
    whole = figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    assert [cell.status for cell in run.cells] == ["ok", "ok"]
    for cell in run.cells:
        assert {name: estimate.value for name, estimate in cell.metrics.items()} == whole
        assert cell.output is not None
        assert cell.output.text == " walked to the park with her red ball. It had rained"
    assert run.request.prompt == "One morning, Mina | Another prompt"
    assert any("lines of 4 programs, told apart by it" in note for note in run.notes)


@pytest.mark.parametrize(
    "stamp",
    [
        lambda i: f"2026-11-25T13:00:{i:02}.123456789Z stdout F ",
        lambda i: f"Nov 25 13:00:{i:02} pi4 dllama[4711]: ",
        lambda i: f"[{i + 0.25:12.6f}] ",
        lambda i: f"{1764075600 + i}.5 ",
        lambda i: f"{i // 60:02}:00:{i:02} ",
    ],
)
def test_neighbours_that_changed_places_are_told_by_the_collectors_times(
    stamp: Callable[[int], str], tmp_path: Path
) -> None:
    path = tmp_path / "root.log"
    rows = before_each(stamp)(LOG).decode().rstrip("\n").split("\n")
    first = next(i for i, row in enumerate(rows) if "🔶" in row)
    rows[first], rows[first + 1] = rows[first + 1], rows[first]
    path.write_text("\n".join(rows), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "the collector's times run backwards by 1 s at '🔶 Pred" in str(cell.error)
    assert "sort them by their time, then import anew" in str(cell.error)


def test_a_clock_without_a_date_may_pass_midnight(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    clock = before_each(lambda i: "23:59:59 " if i < 30 else f"00:00:{i:02} ")
    path.write_bytes(clock(LOG))
    assert figures(imported(path)) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))


def test_another_programs_line_among_the_tokens_is_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    at = next(i for i, line in enumerate(ROOT) if line.endswith(" park"))
    lines = [*ROOT[:at], "[warn] thermal throttling of core 3", *ROOT[at:]]
    path.write_text("\n".join(lines), encoding="utf-8")
    run = imported(path)
    assert figures(run) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    words = "1 line among the tokens with more words than a token has, such as '[warn] thermal"
    assert any(words in note for note in run.notes)


def test_a_closing_line_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    text = (LOGS / "fork_inference_n2.log").read_text(encoding="utf-8")
    found = re.search(r"ttftMs: ([\d.]+)", text)
    assert found
    path.write_text(text.replace(found.group(), f"{found.group()} (garbled)"), encoding="utf-8")
    (cell,) = imported(path).cells
    assert "a closing line cannot be read: '" in str(cell.error)
    assert "ttftMs" in str(cell.error)


def test_blanks_that_an_editor_ran_together_are_told(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(re.sub(" +", " ", LOG), encoding="utf-8")
    run = imported(path)
    assert figures(run) == figures(imported(LOGS / "v0.16.4_tiny_n2.log"))
    assert run.notes[0] == (
        "root.log: blanks were run together by an editor: those of the text are lost"
    )


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x28\xb5\x2f\xfd rest", "a zstd archive; unpack it"),
        (b"\x89PNG\r\n\x1a\n", "a picture; give the log as text"),
        (b"root.log" + b"\0" * 249 + b"ustar", "a broken tar file"),
        (b"BZh91AY&SY broken", "a broken bzip2 file"),
        (b"PK\x03\x04 broken", "a broken zip file"),
        (lzma.compress(b"log" * 500)[:60], "a broken xz file"),
    ],
)
def test_files_that_are_no_text_are_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_bytes(data)
    with pytest.raises(ImportLogError, match=words):
        imported(path)


@pytest.mark.parametrize("packed", ["zip", "tar", "tar.gz"])
def test_an_archive_gives_the_logs_in_it(packed: str, tmp_path: Path) -> None:
    names = ("root.log", "two/root.log", "__MACOSX/._root.log")
    texts = (LOG, LOG.replace("One morning, Mina", "Another prompt"), "\0junk")
    path = tmp_path / "logs"
    if packed == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in zip(names, texts, strict=True):
                archive.writestr(name, text)
    else:
        with tarfile.open(path, "w:gz" if packed == "tar.gz" else "w") as tar:
            for name, text in zip(names, texts, strict=True):
                member = tarfile.TarInfo(name)
                member.size = len(text.encode())
                tar.addfile(member, io.BytesIO(text.encode()))
    run = imported(path)
    assert run.request.prompt == "One morning, Mina | Another prompt"
    assert [cell.status for cell in run.cells] == ["ok", "ok"]
    assert any("unpacked: 2 files" in note for note in run.notes)


def test_an_archive_of_many_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "logs.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(65):
            archive.writestr(f"{number}.log", "")
    with pytest.raises(ImportLogError, match="zip with 65 files; unpack it and give the logs in"):
        imported(path)


def test_a_models_absurd_size_is_no_name(tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_text(LOG.replace("💡 Dim: 256", f"💡 Dim: {'9' * 4000}"), encoding="utf-8")
    assert imported(path).cells[0].model == "model"
