"""A log file's bytes -> the lines that dllama printed: what shells and editors add is undone.

Each thing that is undone is told in a note; nothing is guessed from a single line.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from pytest_dllama.backends.dllama.lines import clean, read_line
from pytest_dllama.forensics.logs.archives import unpacked
from pytest_dllama.forensics.logs.collectors import FEWEST, MARK, Source, sources
from pytest_dllama.forensics.logs.json_logs import without_json
from pytest_dllama.forensics.logs.lost_marks import with_marks
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
_OTHER_ENDS = re.compile("[\u2028\u2029\x85]")
_OTHER_BLANKS = re.compile("[\t\u00a0\u2000-\u200a\u202f\u3000]")
_QUOTED_PRINTABLE = re.compile(r"=F0=9F(?:=[0-9A-F]{2}){2}")
# dllama fills up its figures to a width
_RUN_TOGETHER = re.compile(r"(?:🔷️?|🔶) (?:Eval|Pred|E|P|G) \d{1,3} ms")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}\.)")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


@dataclass(frozen=True, slots=True)
class LogText:
    """What dllama printed, by the program that printed it, and what was undone to see it."""

    sources: tuple[Source, ...]
    notes: tuple[str, ...] = ()


def read_log(path: Path) -> LogText:
    """Read a log file, compressed or not, in whatever a shell or a collector has made of it.

    Raises:
        LogTextError: no regular file, too large, or a broken archive.
        OSError: it cannot be read.
    """
    data, notes = unpacked(path)
    text, said = _decoded(data)
    notes += said
    text, said = without_json(_with_plain_ends(text))
    lines, more = with_marks(text.removesuffix("\n").split("\n"))
    found, prefixes = sources(lines)
    notes += [*said, *more, *prefixes]
    for source in found:
        for undo in (_without_blank_lines, _without_padding, _without_trailing_blanks, unwrapped):
            source.lines, said = undo(source.lines)
            notes += [note for note in said if note not in notes]
        source.lines, said = _with_plain_blanks(source.lines)
        notes += [note for note in said if note not in notes]
    return LogText(tuple(found), tuple(f"{path.name}: {note}" for note in notes))


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
    head = data[:4096]
    for offset, encoding in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[offset::2].count(0)
        if len(head) > 64 and zeros > 0.3 * len(head) / 2 and head[1 - offset :: 2].count(0) == 0:
            return _repaired(
                data.decode(encoding, errors="replace"), [f"{encoding.upper()}, decoded"]
            )
    text = data.decode("utf-8", errors="replace")
    if not MARK.search(text) and len(_QUOTED_PRINTABLE.findall(text)) >= FEWEST:
        text = codecs.decode(data, "quopri").decode("utf-8", errors="replace")
        return text, ["quoted-printable (a mail), decoded"]
    return _repaired(text, [])


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


def _without_blank_lines(lines: list[str]) -> tuple[list[str], list[str]]:
    """Every second line is empty, as an editor or a mail program makes it."""
    if len(lines) < 2 * FEWEST:
        return lines, []
    body = lines if len(lines) % 2 == 0 else [*lines, ""]
    if any(line.strip() for line in body[1::2]) or not any(MARK.search(x) for x in body[::2]):
        return lines, []
    return body[::2], ["an empty line after each line, taken away"]


def _without_trailing_blanks(lines: list[str]) -> tuple[list[str], list[str]]:
    """The same blanks at the end of every line."""
    filled = [line for line in lines if line.strip()]
    if len(filled) < FEWEST:
        return lines, []
    n_blanks = min(len(line) - len(line.rstrip(" ")) for line in filled)
    if n_blanks == 0:
        return lines, []
    text = [line[:-n_blanks] if line.strip() else line[n_blanks:] for line in lines]
    return text, [f"{n_blanks} blanks at the end of each line, taken away"]


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


def _with_plain_blanks(lines: list[str]) -> tuple[list[str], list[str]]:
    """Tabs, no-break blanks, variants of signs and decimal commas of an editor's copy."""
    if any(_RUN_TOGETHER.match(line) for line in lines):
        return lines, ["blanks were run together by an editor: those of the text are lost"]
    changed = [_plain(line) for line in lines]
    n_changed = sum(new is not None for new in changed)
    if not n_changed:
        return lines, []
    if not any(" " in line for line in lines):  # then the text has other blanks too
        changed = [
            new or _OTHER_BLANKS.sub(" ", old) for new, old in zip(changed, lines, strict=True)
        ]
    note = f"{n_changed} lines with blanks, signs or decimal commas of an editor's, put right"
    return [new or line for line, new in zip(lines, changed, strict=True)], [note]


def _plain(line: str) -> str | None:
    """The line as dllama prints it; None if it is already so, or no line of dllama's at all."""
    if (line.isascii() and not {"\t", ","} & set(line)) or read_line(clean(line)) is not None:
        return None
    text = _OTHER_BLANKS.sub(" ", line.replace("\ufe0f", ""))
    if read_line(clean(text)) is None:
        text = _DECIMAL_COMMA.sub(".", _THOUSANDS.sub("", text))
    return text if read_line(clean(text)) is not None else None
