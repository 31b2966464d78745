"""Notes of cells -> notes of a run: what all share is said once, the rest names its cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

BASE_PROBES = (
    "auto of the base is picked anew by each of its sessions: that revision cannot be asked for "
    "what was picked; name a collective to compare the same program every time"
)
PICKED_OTHERWISE = (
    "auto did not pick the same in every repeat: name one before figures are compared"
)


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


def picks_of_cell(kept: Iterable[object], by_repeat: Sequence[Sequence[object]]) -> list[str]:
    """What `auto` picked for a cell.

    Args:
        kept: by its first session, for all others; empty where the engine cannot be asked for it.
        by_repeat: what each repeat picked of its own.

    >>> picks_of_cell(["--overlap auto picked off"], [])
    ['--overlap auto picked off, used for all sessions of this cell']
    >>> for note in picks_of_cell([], [["off"], ["on@4"]]):
    ...     print(note)
    off
    on@4
    auto did not pick the same in every repeat: name one before figures are compared
    """
    settled = [f"{picked}, used for all sessions of this cell" for picked in kept]
    if settled:
        return settled
    said = dict.fromkeys(str(picked) for picks in by_repeat for picked in picks)
    differ = len({tuple(map(str, picks)) for picks in by_repeat}) > 1
    return [*said, *([PICKED_OTHERWISE] if differ else [])]


def picks_of_sides(
    base: Sequence[object], new: Sequence[object], base_probes: bool = False
) -> list[str]:
    """That the two sides of a comparison exchange otherwise, as each has its own pick.

    Args:
        base: what `auto` picked for all its sessions.
        new: the same of the new side.
        base_probes: whether each session of the base picks anew.

    >>> picks_of_sides(["--collective auto picked mesh"], ["--collective auto picked star"])
    ['CHANGED: --collective auto picked mesh in the base, --collective auto picked star here']
    """
    if base_probes:
        return [BASE_PROBES]
    if list(base) == list(new) or not base or not new:
        return []
    before, now = (", ".join(map(str, picks)) for picks in (base, new))
    return [f"CHANGED: {before} in the base, {now} here"]
