"""Notes of cells -> notes of a run: what all share is said once, the rest names its cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence


def run_notes(by_cell: Mapping[str, Sequence[str]]) -> list[str]:
    """Merge the notes of cells, by the cell's name; cells without any do not count.

    >>> run_notes({"a": ["kB are 1024", "slow"], "b": ["kB are 1024"], "c": []})
    ['kB are 1024', 'a: slow']
    """
    noted = {cell: tuple(dict.fromkeys(notes)) for cell, notes in by_cell.items() if notes}
    if not noted:
        return []
    shared = set.intersection(*(set(notes) for notes in noted.values()))
    first = next(iter(noted.values()))
    said = [note for note in first if note in shared]
    for cell, notes in noted.items():
        said += [f"{cell}: {note}" for note in notes if note not in shared]
    return said


def picked_otherwise(by_repeat: Iterable[Iterable[tuple[str, str]]]) -> list[str]:
    """That `auto` did not pick the same in every repeat of a cell: its figures are of two programs.

    Args:
        by_repeat: options that were `auto`, and what was picked.

    >>> picked_otherwise([[("--overlap", "off")], [("--overlap", "off")]])
    []
    >>> for note in picked_otherwise([[("--overlap", "off")], [("--overlap", "on")]]):
    ...     print(note)
    --overlap auto did not pick the same in every repeat: name one before figures are compared
    """
    picked: dict[str, set[str]] = {}
    for repeat in by_repeat:
        for option, what in repeat:
            picked.setdefault(option, set()).add(what)
    return [
        f"{option} auto did not pick the same in every repeat: name one before figures are compared"
        for option, found in sorted(picked.items())
        if len(found) > 1
    ]
