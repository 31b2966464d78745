"""A log file's bytes -> the lines that dllama printed: what shells and editors add is undone.

Each thing that is undone is told in a note; nothing is guessed from a single line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.amounts import counted
from pytest_dllama.backends.dllama.printed.lines import clean, read_line
from pytest_dllama.forensics.logs.archives import MAX_LOG_BYTES, unpacked
from pytest_dllama.forensics.logs.collectors import FEWEST, MARK, Source, sources
from pytest_dllama.forensics.logs.json_logs import without_json
from pytest_dllama.forensics.logs.lost_marks import with_marks
from pytest_dllama.forensics.logs.markup import without_markup
from pytest_dllama.forensics.logs.plain_letters import with_plain_letters
from pytest_dllama.forensics.logs.shown_bytes import without_shown_bytes
from pytest_dllama.forensics.logs.wrapped_lines import unwrapped

_BOMS = (  # the longer ones first: UTF-32's begins like UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# What shells take UTF-8 for: Windows', DOS' and the Mac's code pages, and Latin-1.
_MISREAD_AS = (
    *("cp1252", "cp437", "cp850", "latin-1", "cp1250", "cp1251", "cp866", "koi8-r", "mac_roman"),
    *("cp1254", "cp1257", "cp1253", "cp852", "cp858"),
)
_MAX_MISREADS = 2  # once by the shell, once more by the editor
_SAMPLE_LINES, _SAMPLE_WIDTH = 300, 200
_BY_ZEROS: dict[int, dict[tuple[int, ...], str]] = {  # bytes a letter: which of them are 0
    4: {(1, 2, 3): "utf-32-le", (0, 1, 2): "utf-32-be"},
    2: {(1,): "utf-16-le", (0,): "utf-16-be"},
}
_MOSTLY, _RARELY = 0.3, 0.05  # signs are no plain letters; some letters end with a zero byte
_COUNTED = re.compile(r"(?=.{8}) *(\d+) (.*)", re.DOTALL)
_HOLE = re.compile("\0{8,}")
_OTHER_ENDS = re.compile("[\0\x1e\u2028\u2029\x85]")
_QUOTED_PRINTABLE = re.compile(r"=F0=9F(?:=[0-9A-F]{2}){2}")
_MOST_EMPTY = 3  # lines, behind each


@dataclass(frozen=True, slots=True)
class LogText:
    """What dllama printed, by the program that printed it, and what was undone to see it."""

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()


def read_log(path: Path) -> LogText:
    """Read a log file, packed or not, in whatever a shell or a collector has made of it.

    Raises:
        LogTextError: no regular file, too large, or a broken archive.
        OSError: it cannot be read.
    """
    files, notes = unpacked(path)
    found: list[Source] = []
    for data in files:
        parts, said = _read_text(data)
        found += parts
        notes += [note for note in said if note not in notes]
    return LogText(tuple(found), tuple(f"{path.name}: {note}" for note in notes))


def _read_text(data: bytes) -> tuple[list[Source], list[str]]:
    """The lines of each program in one file's bytes."""
    text, notes = _decoded(data)
    for undo_all in (without_json, without_markup, without_shown_bytes):
        text, said = undo_all(_with_plain_ends(text))
        notes += said
    text, said = _without_holes(text)
    notes += said
    lines, repeats = _without_counts(_as_shown(text).removesuffix("\n").split("\n"))
    lines, said = with_marks(lines)
    found, prefixes = sources(lines)
    notes += [*repeats, *said, *prefixes]
    for source in found:
        for undo in _UNDONE:
            source.lines, said = undo(source.lines)
            notes += [note for note in said if note not in notes]
    return found, notes


def _without_holes(text: str) -> tuple[str, list[str]]:
    """Zero bytes in a row, as a file has them that was cut while a program wrote on."""
    found = _HOLE.sub("", text)
    return found, ["zero bytes of a file that was cut, taken away"] if found != text else []


def _as_shown(text: str) -> str:
    """Lines that were overwritten on the terminal: of each the last that dllama printed."""
    if "\r" not in text:
        return text
    return "\n".join(_last_shown(line) for line in text.split("\n"))


def _last_shown(line: str) -> str:
    parts = [part for part in line.split("\r") if clean(part)]
    if len(parts) > 1 and read_line(clean(parts[0])) is None:
        return next((p for p in reversed(parts) if read_line(clean(p)) is not None), line)
    return parts[0] if len(parts) == 1 else line


def _with_plain_ends(text: str) -> str:
    """Line ends as Unix has them, whatever program wrote others."""
    text = text.replace("\r\r\n", "\n").replace("\r\n", "\n")
    if "\n" not in text.strip("\n"):
        text = _OTHER_ENDS.sub("\n", text.replace("\r", "\n"))
    return text


def _decoded(data: bytes) -> tuple[str, list[str]]:
    """By its byte order mark, by where its zeros stand, else UTF-8; double encoding undone."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            text = data.decode(encoding, errors="replace").lstrip("\ufeff")
            notes = [] if encoding == "utf-8-sig" else [f"{encoding.upper()}, decoded"]
            return _repaired(text, notes)
    if encoding := _encoding_of_zeros(data[:4096]):
        text = data.decode(encoding, errors="replace")
        return _repaired(text, [f"{encoding.upper()}, decoded"])
    text = _of_utf8(data)
    if not MARK.search(text) and len(_QUOTED_PRINTABLE.findall(text)) >= FEWEST:
        text = codecs.decode(data, "quopri").decode("utf-8", errors="replace")
        return text, ["quoted-printable (a mail), decoded"]
    return _repaired(text, [])


def _of_utf8(data: bytes) -> str:
    """Signs may stand as two halves of UTF-16, each encoded by itself (CESU-8)."""
    if b"\xed\xa0" in data:
        try:
            halves = data.decode("utf-8", errors="surrogatepass")
            return halves.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        except UnicodeDecodeError:
            pass  # other bytes are wrong too
    return data.decode("utf-8", errors="replace")


def _encoding_of_zeros(head: bytes) -> str:
    """By where zeros stand in plain letters; empty if they do not tell."""
    if len(head) < 64:
        return ""
    for width, encodings in _BY_ZEROS.items():
        for zero_at, encoding in encodings.items():
            shares = [head[i::width].count(0) / len(head[i::width]) for i in range(width)]
            full = [
                share > _MOSTLY if i in zero_at else share < _RARELY
                for i, share in enumerate(shares)
            ]
            if all(full):
                return encoding
    return ""


def _repaired(text: str, notes: list[str]) -> tuple[str, list[str]]:
    """UTF-8 that a shell took for another encoding and wrote as UTF-8 again, once or twice."""
    lines, undone = text.split("\n"), list[str]()
    for _ in range(_MAX_MISREADS):
        if any(MARK.search(line) for line in lines):
            break
        sample = [line[:_SAMPLE_WIDTH] for line in lines if not line.isascii()][:_SAMPLE_LINES]
        count = {page: _n_signs(sample, page) for page in _MISREAD_AS}
        page = max(_MISREAD_AS, key=lambda name: count[name])
        if count[page] == 0:
            page = next((name for name in _MISREAD_AS if _n_misread_twice(sample, name)), "")
        if not page:
            break
        lines = [_reread(line, page) for line in lines]
        undone.append(f"UTF-8 that was read as {page}, undone")
    if sum(bool(MARK.search(line)) for line in lines) < FEWEST or not undone:
        return text, notes
    return "\n".join(lines), [*notes, *undone]


def _n_signs(lines: list[str], page: str) -> int:
    return sum(bool(MARK.search(_reread(line, page))) for line in lines)


def _n_misread_twice(lines: list[str], page: str) -> bool:
    once = [_reread(line, page) for line in lines[:10]]
    return any(_n_signs(once, other) >= FEWEST for other in _MISREAD_AS)


def _reread(line: str, encoding: str) -> str:
    """The line before it was read wrongly; bytes that the code page lacks stay as they are."""
    if line.isascii():
        return line
    data = bytearray()
    for letter in line:
        try:
            data += letter.encode(encoding)
        except UnicodeEncodeError:
            data += bytes([ord(letter)]) if ord(letter) < 256 else letter.encode()
    return data.decode("utf-8", errors="replace")


def _without_counts(lines: list[str]) -> tuple[list[str], list[str]]:
    """Lines of which `uniq -c` made one, with their number before it."""
    found = [_COUNTED.fullmatch(line) for line in lines]
    counts = [(int(match[1]), match[2]) for match in found if match is not None]
    is_counted = FEWEST < len(counts) == len(lines) and max(n for n, _ in counts) > 1
    if not is_counted or not any(n == 1 and MARK.match(text) for n, text in counts):
        return lines, []
    if sum(n * (len(text) + 1) for n, text in counts) > MAX_LOG_BYTES:
        return lines, []
    return [text for n, text in counts for _ in range(n)], ["lines with their counts, undone"]


def _without_blank_lines(lines: list[str]) -> tuple[list[str], list[str]]:
    """Empty lines, as many, behind each line, as an editor or a mail program makes them."""
    for n_empty in range(1, _MOST_EMPTY + 1):
        step = n_empty + 1
        if len(lines) < step * FEWEST:
            break
        body = lines + [""] * (-len(lines) % step)
        between = [line for i, line in enumerate(body) if i % step]
        if not any(map(str.strip, between)) and any(MARK.search(x) for x in body[::step]):
            which = "an empty line" if n_empty == 1 else f"{n_empty} empty lines"
            return body[::step], [f"{which} after each line, taken away"]
    return lines, []


def _without_doubles(lines: list[str]) -> tuple[list[str], list[str]]:
    """Every line twice, as two collectors of one program leave it."""
    if len(lines) % 2 or len(lines) < 4 * FEWEST or lines[::2] != lines[1::2]:
        return lines, []
    return lines[::2], ["every line stood twice: one of each taken"]


def _without_trailing_blanks(lines: list[str]) -> tuple[list[str], list[str]]:
    """The same blanks at the end of every line."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < FEWEST:
        return lines, []
    n_blanks = min(len(line) - len(line.rstrip(" ")) for line in filled)
    if n_blanks == 0:
        return lines, []
    text = [line[:-n_blanks] if line.strip() else line[n_blanks:] for line in lines]
    return text, [f"{counted(n_blanks, 'blank')} at the end of each line, taken away"]


def _without_padding(lines: list[str]) -> tuple[list[str], list[str]]:
    """Blanks that fill every line up to one width, as a terminal's copy has them."""
    filled = [line for line in lines if line.strip()]
    ends = [line for line in filled if line.endswith(" ")]
    if len(filled) < FEWEST or len(ends) < len(filled) - FEWEST:
        return lines, []
    for width_of in (len, _columns):
        widths = {width_of(line) for line in ends}
        if len(widths) == 1:
            note = f"blanks up to column {widths.pop()}, taken away: a token's last ones are lost"
            return [line.rstrip(" ") for line in lines], [note]
    return lines, []


def _columns(line: str) -> int:
    """A line's width on a terminal: dllama's signs take two columns."""
    return len(line) + len(MARK.findall(line))


_UNDONE = (
    *(_without_blank_lines, _without_doubles, _without_padding, _without_trailing_blanks),
    *(unwrapped, with_plain_letters),
)
