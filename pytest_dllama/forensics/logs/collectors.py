"""Lines as collectors and pastes leave them -> dllama's own, a list for each program.

A collector puts its time, host, unit or pipe before each line, mixes the lines of several programs
and may show the newest first. What it adds is found by its constant shape in front of dllama's
signs; its times tell whether lines were moved.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from pytest_dllama.backends.dllama.printed.lines import clean, looks_like_dllama, read_line

MARK = re.compile(r"[🔷🔶💡📄📀🧠💿⭕🚁⏩🕒📡🔀]")
FEWEST = 3  # lines with dllama's signs, to speak of a shape
_LEAST_SHARE = 0.9  # of the lines that a prefix must stand before
_MAX_SOURCES = 64
_FIGURES = re.compile(r"\d+")
_CLOCK = r"\d{2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
_ISO = rf"\d{{4}}-\d{{2}}-\d{{2}}[T ]{_CLOCK}"
_ZONE = r"Z|[+-]\d{2}:?\d{2}"
_DAY = rf"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) )?[A-Z][a-z]{{2}} [ \d]\d {_CLOCK}(?: \d{{4}})?"
_EPOCH = r"(?<![\d.])\d{10,19}(?:\.\d{1,9})?(?!\d)"
_UPTIME = r"\[ *\d+\.\d{3,9}\]"
_TIME = re.compile(
    rf"(?P<iso>{_ISO})(?P<zone>{_ZONE})?|(?P<day>{_DAY})|(?P<clock>(?<![\d:]){_CLOCK})"
    rf"|(?P<epoch>{_EPOCH})|(?P<uptime>{_UPTIME})"
)
ANY_TIME = rf"(?:{_ISO}(?:{_ZONE})?|{_DAY}|{_CLOCK}|{_EPOCH}|{_UPTIME})"
_STREAM = re.compile(r"\b(?:stdout|stderr)\b")
_COMPOSE = re.compile(r"[\w.-]+ +\| ")
_HALF_DAY_S, _MANY_DAYS_S = 43_200.0, 300 * 86_400.0


@dataclass(slots=True)
class Source:
    """What one program printed; `damage` tells why its order is not to be trusted."""

    lines: list[str]
    damage: str = ""
    times: list[float] = field(default_factory=list)  # s, the collector's; empty: none


def sources(lines: list[str]) -> tuple[list[Source], list[str]]:
    """The lines of each program without what stands around them, and what was undone."""
    lines, notes = _without_suffix(lines)
    found = _prefixed(lines)
    if found is None:
        parts = [Source(lines)]
    else:
        parts, said = found
        notes += said
    for part in parts:
        notes += _in_order(part)
    return parts, notes


def mark_at(line: str) -> int | None:
    """Where a line of dllama's own begins in a line, if one does."""
    text = clean(line)
    if looks_like_dllama(text):
        return 0
    found = MARK.search(line)
    if found is None or read_line(clean(line[found.start() :])) is None:
        return None
    return found.start()


def _without_suffix(lines: list[str]) -> tuple[list[str], list[str]]:
    """Signs at the end of every line: a closing quote, a table's bar, a byte without a letter."""
    marked = [line for line in lines if MARK.search(line)]
    if len(marked) < FEWEST or not any(MARK.search(x) and "🔶" not in x for x in marked[:-1]):
        return lines, []
    suffix = _common_end(marked[:-1])
    while suffix and (suffix[0].isalnum() or suffix[0] == " "):
        suffix = suffix[1:]
    suffix = suffix if suffix.strip(" ") and not suffix.endswith(")") else ""
    if not suffix:
        return lines, []
    last = suffix.rstrip(",;")
    cut = [line.removesuffix(suffix if line.endswith(suffix) else last) for line in lines]
    return cut, [f"{suffix!r} at the end of each line, taken away"]


def _common_end(lines: list[str]) -> str:
    """The text that all lines end with.

    >>> _common_end(['one",', 'two",'])
    '",'
    """
    end = lines[0]
    for line in lines:
        while not line.endswith(end):
            end = end[1:]
    return end


def _prefixed(lines: list[str]) -> tuple[list[Source], list[str]] | None:
    """The sources by what stands before their lines; None where nothing does."""
    places = [(i, at) for i, line in enumerate(lines) if (at := mark_at(line)) is not None]
    before = [lines[i][:at] for i, at in places if at > 0]
    if len(before) < max(FEWEST, _LEAST_SHARE * len(places)):
        return None
    origins = _origins(before)
    if not origins:
        return None
    return _split(lines, origins, before[0])


def _origins(before: list[str]) -> dict[str, re.Pattern[str]]:
    """A name for each source -> the pattern of its prefixes; empty if they have no shape."""
    count = Counter(_origin(prefix) for prefix in before)
    if 1 < len(count) <= _MAX_SOURCES and 2 * len(count) <= len(before):
        return {origin: re.compile(_pattern(origin, re.escape)) for origin in count}
    shapes = {_pattern(origin, _any_figures) for origin in count}
    if len(shapes) > FEWEST:  # a collector's own figures may grow by a digit
        return {}
    return {"": re.compile("|".join(sorted(shapes, key=len, reverse=True)))}


def _origin(prefix: str) -> str:
    r"""A prefix without its time: what is left names the program.

    >>> _origin("Nov 25 13:00:01 pi4 dllama[11]: ")
    '\x00 pi4 dllama[11]: '
    """
    return _STREAM.sub("\x01", _TIME.sub("\0", prefix))


def _pattern(origin: str, literal: Callable[[str], str]) -> str:
    """A pattern of prefixes; blanks before a figure grow and shrink with it."""
    parts = re.split("([\0\1])", origin)
    known = {"\0": ANY_TIME, "\1": "(?:stdout|stderr)"}
    return "".join(known.get(part) or literal(part) for part in parts if part)


def _any_figures(text: str) -> str:
    r"""A pattern in which figures may differ.

    >>> bool(re.fullmatch(_any_figures("root.log:7:"), "root.log:12:"))
    True
    """
    parts = [re.escape(part) for part in _FIGURES.split(text)]
    return r"\d+".join(re.sub(r"(?:\\ )+$", " *", part) for part in parts[:-1]) + (
        (r"\d+" if len(parts) > 1 else "") + parts[-1]
    )


def _split(
    lines: list[str], origins: dict[str, re.Pattern[str]], example: str
) -> tuple[list[Source], list[str]]:
    found = {origin: Source([]) for origin in origins}
    current = next(iter(origins))
    bare = {o: re.compile(p.pattern.removesuffix(r"\ ")) for o, p in origins.items()}
    for line in lines:
        match = None
        for origin in (current, *origins):
            match = origins[origin].match(line)
            if match is None and bare[origin].fullmatch(line.rstrip(" ")):
                match = bare[origin].match(line)  # an empty line, whose last blank was lost
            if match is not None:
                current = origin
                break
        if match is None and len(origins) > 1 and (other := _COMPOSE.match(line)):
            current = other.group()  # a program that printed none of dllama's signs
            origins[current] = bare[current] = re.compile(re.escape(current))
            found[current], match = Source([]), other
        source = found[current]
        bare_line = line if line.strip() else ""  # `nl` puts blanks before an empty line
        source.lines.append(line[match.end() :] if match else bare_line)
        seconds = _seconds(line[: match.end()]) if match else None
        if seconds is not None:
            source.times.append(seconds)
        elif source.times:
            source.times.append(source.times[-1])
    kind = "blanks" if not example.strip() else f"a prefix like {example.strip()!r}"
    notes = [f"{kind} before each line, taken away"]
    if len(found) > 1:
        notes.append(f"lines of {len(found)} programs, told apart by it")
    return list(found.values()), notes


def _seconds(prefix: str) -> float | None:
    """A prefix's time; the same clock for every line, from wherever it counts."""
    match = _TIME.search(prefix)
    if match is None:
        return None
    text = match.group().strip("[] ").replace(",", ".")
    if match["epoch"] or match["uptime"]:
        value = float(text)
        return value / 10.0 ** max(len(text.split(".")[0]) - 10, 0) if match["epoch"] else value
    clock = re.search(_CLOCK, text)
    assert clock is not None
    hours, minutes, seconds = clock.group().split(":")
    in_day = int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    try:
        return _day_s(match) + in_day
    except ValueError:  # the 31st of a month that has none
        return None


def _day_s(match: re.Match[str]) -> float:
    if match["iso"]:
        day = datetime.strptime(match["iso"][:10], "%Y-%m-%d")
        zone = (match["zone"] or "Z").replace(":", "")
        sign = -1 if zone[0] == "-" else 1
        shift = 0 if zone == "Z" else sign * (int(zone[1:3]) * 3600 + int(zone[3:5]) * 60)
        return day.toordinal() * 86_400.0 - shift
    if match["day"]:
        words = match["day"].split()
        month, date = words[-3:-1] if ":" in words[-1] else words[-4:-2]
        day = datetime.strptime(f"2024 {month} {date}", "%Y %b %d")  # a leap year
        return day.toordinal() * 86_400.0
    return 0.0


def _in_order(source: Source) -> list[str]:
    """Turn lines that stand newest first; name a time that runs backwards."""
    if _is_newest_first(source):
        source.lines.reverse()
        source.times.reverse()
        return ["the newest line first, turned round", *_in_order_of_time(source)]
    return _in_order_of_time(source)


def _is_newest_first(source: Source) -> bool:
    """By the closing blocks: the last of them stands first, and the head last."""
    words = [text for line in source.lines if (text := clean(line).strip())]
    titles = [w for w in words if w in ("Evaluation", "Prediction")]
    old = [w for w in words if w.startswith(("Generated tokens:", "Avg transfer time:"))]
    is_turned = titles[:2] == ["Prediction", "Evaluation"] or (
        bool(old) and old[0].startswith("Avg transfer")
    )
    steps = [i for i, word in enumerate(words) if word.startswith(("🔶", "🔷"))]
    closing = [i for i, w in enumerate(words) if w in titles or w in old]
    return is_turned and bool(steps) and closing[0] < steps[0]


def _in_order_of_time(source: Source) -> list[str]:
    times = source.times
    n_untimed = len(source.lines) - len(times)
    for i in range(1, len(times)):
        back_s = times[i - 1] - times[i]
        is_new_day = times[i] < 86_400.0 and back_s > _HALF_DAY_S  # a clock without a date
        if back_s > 0 and not is_new_day and back_s < _MANY_DAYS_S:
            line = source.lines[n_untimed + i]
            source.damage = (
                f"the collector's times run backwards by {back_s:.3g} s at {line[:60]!r}: lines "
                "were moved, or its clock was set back; sort them by their time, then import anew"
            )
            break
    return []
