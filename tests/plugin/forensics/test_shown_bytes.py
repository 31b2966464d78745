r"""Logs that a program showed: bytes as `M-pM-^_` or `\\360`, numbers and counts before lines."""

from __future__ import annotations

import itertools
import lzma
import urllib.parse
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dllama.forensics.import_log import import_logs
from pytest_dllama.forensics.imported_run import ImportLogError, ImportOptions
from pytest_dllama.record.run import RunRecord
from tests.data import LOGS

NAMES = ("v0.16.4_tiny_n2.log", "fork_inference_n2.log", "v0.10.6_tiny_n2.log")


def cat_v(text: str) -> str:
    shown = []
    for byte in text.encode():
        low = byte & 0x7F
        letter = f"^{chr(low ^ 0x40)}" if low < 32 or low == 127 else chr(low)
        shown.append("\n" if byte == 10 else f"M-{letter}" if byte > 127 else letter)
    return "".join(shown)


def octal(text: str) -> str:
    text = text.replace("\\", "\\\\")
    return "".join(chr(b) if b < 128 else f"\\{b:03o}" for b in text.encode())


def sed_l(text: str) -> str:
    rows = []
    for line in octal(text).removesuffix("\n").split("\n"):
        while len(line) > 69:
            cut = next(at for at in range(69, 0, -1) if "\\" not in line[at - 4 : at])
            rows.append(line[:cut] + "\\")
            line = line[cut:]
        rows.append(line + "$")
    return "\n".join(rows) + "\n"


def nl(text: str) -> str:
    lines, number = [], itertools.count(1)
    for line in text.removesuffix("\n").split("\n"):
        lines.append(f"{next(number):6}\t{line}" if line else " " * 7)
    return "\n".join(lines) + "\n"


def uniq_c(text: str) -> str:
    groups = itertools.groupby(text.removesuffix("\n").split("\n"))
    return "".join(f"{len(list(same)):7} {line}\n" for line, same in groups)


SHAPES: dict[str, tuple[Callable[[str], str | bytes], str]] = {
    "cat -v": (cat_v, "bytes shown as M-x and ^x"),
    "cat -A": (lambda t: cat_v(t).replace("\n", "$\n"), "bytes shown as M-x and ^x"),
    "git": (octal, r"bytes shown as \ooo, undone"),
    "sed -n l": (sed_l, r"bytes shown as \ooo, undone"),
    "C": (lambda t: hex_of(t), r"bytes shown as \xHH, undone"),
    "a link": (urllib.parse.quote, "bytes shown as %HH, undone"),
    "nl": (nl, "a prefix like"),
    "uniq -c": (uniq_c, ""),
    "bars of Markdown": (lambda t: t.replace("|", r"\|"), ""),
    "zeros": (lambda t: t.removesuffix("\n").replace("\n", "\0"), ""),
    "records": (lambda t: t.removesuffix("\n").replace("\n", "\x1e"), ""),
    "lzma": (lambda t: lzma.compress(t.encode(), format=lzma.FORMAT_ALONE), "lzma, unpacked"),
    "zlib": (lambda t: zlib.compress(t.encode()), "zlib, unpacked"),
}


def hex_of(text: str) -> str:
    return "".join(chr(b) if b < 128 else f"\\x{b:02x}" for b in text.encode())


def imported(path: Path) -> tuple[RunRecord, dict[str, float], str]:
    run = import_logs([path], ImportOptions())
    (cell,) = run.cells
    assert cell.status == "ok", cell.error
    assert cell.output is not None
    return run, {name: e.value for name, e in cell.metrics.items()}, cell.output.text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_program_showed_is_read(shape: str, name: str, tmp_path: Path) -> None:
    change, words = SHAPES[shape]
    whole, figures, text = imported(LOGS / name)
    changed = change((LOGS / name).read_text(encoding="utf-8"))
    path = tmp_path / "root.log"
    path.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    run, found, shown = imported(path)
    assert (found, shown) == (figures, text)
    assert run.request.prompt == whole.request.prompt
    assert words in "\n".join(run.notes)


def test_text_with_such_letters_stays_as_it_is(tmp_path: Path) -> None:
    """A token may be `%F0%9F` or `M-p`: nothing more could be read without it."""
    path = tmp_path / "root.log"
    text = (LOGS / NAMES[0]).read_text(encoding="utf-8")
    path.write_text(text.replace("|  red", r"| %F0%9FM-pM-^_\360\xf0"), encoding="utf-8")
    run, _, shown = imported(path)
    assert r"%F0%9FM-pM-^_\360\xf0" in shown
    assert not any("bytes shown" in note for note in run.notes)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (rb"{\rtf1\ansi log}", r"a document \(RTF\); save it as plain text"),
        (b"LPKSHHRH and more", r"a journal of systemd; give what `journalctl --file` prints"),
        (b"ElfFile\0 and more", "an event log of Windows; export its text"),
        (b"SQLite format 3\0", "a database; give the log as text"),
        (b"\x1f\x9d\x90", r"an archive of compress; unpack it \(uncompress\)"),
        (b"\xff\x06\0\0sNaPpY", "a snappy archive; unpack it"),
        (zlib.compress(b"x" * 999)[:-6], "a broken zlib file: it ends too early"),
    ],
)
def test_what_is_no_text_is_named(data: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "root.log"
    path.write_bytes(data)
    with pytest.raises(ImportLogError, match=words):
        import_logs([path], ImportOptions())
