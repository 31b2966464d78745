"""Ways in which shells, collectors, editors and mails change a log."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import quopri
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportOptions
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
    "octal": (with_signs_as(lambda c: "".join(f"\\{b:03o}" for b in c.encode())), "bytes shown as"),
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
