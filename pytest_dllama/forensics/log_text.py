"""A log file's bytes -> the lines that dllama printed: what shells and collectors add is undone.

Each thing that is undone is told in a note; nothing is guessed from a single line.
"""

from __future__ import annotations

import codecs
import gzip
import re
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.backends.dllama.lines import clean, looks_like_dllama, read_line

MAX_LOG_BYTES = 256 * 2**20  # a fork is known to have written 14 GB in an endless loop
_BOMS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What shells take UTF-8 for: Windows' Western and DOS code pages, and Latin-1.
_MISREAD_AS = ("cp1252", "cp437", "cp850", "latin-1")
_GZIP_MAGIC = b"\x1f\x8b"
_LEAST_SHARE = 0.9  # of the lines that a prefix must stand before
_FEWEST = 3  # lines with dllama's marks, to speak of a shape
_MARK = re.compile(r"[🔷🔶💡📄📀🧠💿⭕🚁⏩🕒📡🔀]")
_FIGURES = re.compile(r"\d+")


class LogTextError(ValueError):
    """A file that is no log that could be read; the message says why."""


@dataclass(frozen=True, slots=True)
class LogText:
    """What dllama printed, and what was undone to see it."""

    text: str
    notes: tuple[str, ...] = ()


def read_log(path: Path) -> LogText:
    """Read a log file, compressed or not, in whatever a shell has made of it.

    Raises:
        LogTextError: no regular file, too large, or a broken archive.
        OSError: it cannot be read.
    """
    data, notes = _bytes_of(path)
    text, said = _decoded(data)
    notes += said
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    for undo in (_without_prefix, _without_blank_lines, _without_trailing_blanks, _unwrapped):
        lines, said = undo(lines)
        notes += said
    return LogText("\n".join(lines), tuple(f"{path.name}: {note}" for note in notes))


def _bytes_of(path: Path) -> tuple[bytes, list[str]]:
    about = path.stat()
    if not stat.S_ISREG(about.st_mode):
        raise LogTextError(f"{path}: no regular file; give a file that holds dllama's output")
    if about.st_size > MAX_LOG_BYTES:
        raise _too_large(path, f"{about.st_size >> 20} MiB")
    data = path.read_bytes()
    if not data.startswith(_GZIP_MAGIC):
        return data, []
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_LOG_BYTES + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise LogTextError(f"{path}: a broken gzip file: {error}; compress it anew") from error
    if len(data) > MAX_LOG_BYTES:
        raise _too_large(path, "unpacked")
    return data, ["gzip, unpacked"]


def _too_large(path: Path, found: str) -> LogTextError:
    return LogTextError(
        f"{path}: {found}, more than {MAX_LOG_BYTES >> 20} MiB; cut the repeated lines out of it"
    )


def _decoded(data: bytes) -> tuple[str, list[str]]:
    """By its byte order mark, by where its zeros stand, else UTF-8; double encoding undone."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text = data.decode(encoding, errors="replace").lstrip("\ufeff")
            notes = [] if encoding == "utf-8-sig" else [f"{encoding.upper()}, decoded"]
            return _repaired(text, notes)
    head = data[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[offset::2].count(0)
        if len(head) > 64 and zeros > 0.3 * len(head) / 2 and head[1 - offset :: 2].count(0) == 0:
            return _repaired(
                data.decode(encoding, errors="replace"), [f"{encoding.upper()}, decoded"]
            )
    return _repaired(data.decode("utf-8", errors="replace"), [])


def _repaired(text: str, notes: list[str]) -> tuple[str, list[str]]:
    """UTF-8 that a shell took for another encoding and wrote as UTF-8 again."""
    if _MARK.search(text):
        return text, notes
    for encoding in _MISREAD_AS:
        lines = [_reread(line, encoding) for line in text.split("\n")]
        if sum(bool(_MARK.search(line)) for line in lines) >= _FEWEST:
            return "\n".join(lines), [*notes, f"UTF-8 that was read as {encoding}, undone"]
    return text, notes


def _reread(line: str, encoding: str) -> str:
    """The line before it was read wrongly; bytes that the code page lacks stay as they are."""
    data = bytearray()
    for letter in line:
        try:
            data += letter.encode(encoding)
        except UnicodeEncodeError:
            data += bytes([ord(letter)]) if ord(letter) < 256 else letter.encode()
    return data.decode("utf-8", errors="replace")


def _without_prefix(lines: list[str]) -> tuple[list[str], list[str]]:
    """What stands before every line of dllama's: a collector's time, host and pipe, or a quote."""
    marked = [(i, _mark_at(line)) for i, line in enumerate(lines)]
    places = [(i, at) for i, at in marked if at is not None]
    before = [lines[i][:at] for i, at in places if at > 0]
    if len(before) < max(_FEWEST, _LEAST_SHARE * len(places)):
        return lines, []
    shapes = {_shape(prefix) for prefix in before}
    if len(shapes) > 3:  # a collector's own figures may grow by a digit
        return lines, []
    pattern = re.compile("|".join(sorted(shapes, key=len, reverse=True)))
    bare = {shape.rstrip(" ") for shape in shapes}
    stripped = []
    for line in lines:
        found = pattern.match(line)
        if found is None and any(re.fullmatch(shape, line.rstrip(" ")) for shape in bare):
            stripped.append("")  # an empty line, whose last blank was lost
            continue
        stripped.append(line[found.end() :] if found else line)
    kind = "blanks" if not before[0].strip() else f"a prefix like {before[0].strip()!r}"
    return stripped, [f"{kind} before each line, taken away"]


def _mark_at(line: str) -> int | None:
    """Where a line of dllama's own begins in a line, if one does."""
    text = clean(line)
    if text.startswith("\ufeff"):
        text = text[1:]
    if looks_like_dllama(text):
        return 0
    found = _MARK.search(line)
    if found is None or read_line(clean(line[found.start() :])) is None:
        return None
    return found.start()


def _shape(prefix: str) -> str:
    """A pattern for prefixes of this form: figures and words of one kind may differ.

    >>> bool(re.fullmatch(_shape("web-1  | "), "web-2  | "))
    True
    """
    parts = _FIGURES.split(prefix)
    literal = r"\d+".join(re.escape(part) for part in parts)
    for day in ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"):
        literal = literal.replace(day, "[A-Z][a-z]{2}")
    # syslog pads days of one digit with a blank; streams of one container have two names
    return re.sub(r"stdout|stderr", "(?:stdout|stderr)", literal)


def _without_blank_lines(lines: list[str]) -> tuple[list[str], list[str]]:
    """Every second line is empty, as an editor or a mail program makes it."""
    if len(lines) < 2 * _FEWEST:
        return lines, []
    body = lines if len(lines) % 2 == 0 else [*lines, ""]
    if any(line.strip() for line in body[1::2]) or not any(_MARK.search(x) for x in body[::2]):
        return lines, []
    return body[::2], ["an empty line after each line, taken away"]


def _without_trailing_blanks(lines: list[str]) -> tuple[list[str], list[str]]:
    """The same blanks at the end of every line."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < _FEWEST:
        return lines, []
    n_blanks = min(len(line) - len(line.rstrip(" ")) for line in filled)
    if n_blanks == 0:
        return lines, []
    text = [line[:-n_blanks] if line.strip() else line[n_blanks:] for line in lines]
    return text, [f"{n_blanks} blanks at the end of each line, taken away"]


def _unwrapped(lines: list[str]) -> tuple[list[str], list[str]]:
    """Lines that a terminal cut at its width: joined where that makes lines of dllama's."""
    cut = [i for i, line in enumerate(lines[:-1]) if _is_cut_step(line)]
    if len(cut) < _FEWEST:
        return lines, []
    widths = {len(lines[i]) for i in cut}
    width = max(widths)
    joined: list[str] = []
    i = 0
    while i < len(lines):
        line = lines[i]
        while i + 1 < len(lines) and _is_cut_step(line) and read_line(clean(line)) is None:
            i += 1
            line += lines[i]
        joined.append(line)
        i += 1
    if sum(_is_cut_step(line) for line in joined) > 0:
        return lines, []
    return joined, [f"wrapped at {width} columns, joined"]


def _is_cut_step(line: str) -> bool:
    """Whether a step line stops before its figures end."""
    return line.startswith(("🔷", "🔶")) and read_line(clean(line)) is None
