"""Several local nodes: real processes through `dllama-py`, against one node with two threads."""

from __future__ import annotations

from pathlib import Path

from benchmarks.sessions.processes import one_request
from benchmarks.table import Row, target

# Against one node with two threads, on two cores: by a full mesh, and by a star, which has the
# fewest messages and bytes, but casts sums a second time.
TARGETS = {2: 0.9, 4: 0.8, 8: 0.7}
BY_STAR = {8: 0.75}
LOADS_AT_MOST = {8: 2.5}  # of what that one takes


def node_rows(model: Path, counts: list[int], rounds: int) -> list[Row]:
    """Decode on each node count, in turns with one node on two threads; and how they load."""
    name = model.stem.removeprefix("synthetic-")
    one_node_load = Row(f"load, {name}, 1 node x 2 threads", "s", "")
    decode = [
        Row(f"decode, {name}, {n} nodes x 1 thread", "tokens/s", "1 node x 2") for n in counts
    ]
    for n, row in zip(counts, decode, strict=True):
        row.target = target(name, TARGETS.get(n))
    by_star = {
        n: Row(f"{row.what}, --collective star", row.unit, row.yardstick)
        for n, row in zip(counts, decode, strict=True)
        if n in BY_STAR
    }
    for n, row in by_star.items():
        row.target = target(name, BY_STAR[n])
    load = [Row(f"load, {name}, {n} nodes x 1 thread", "s", "1 node x 2") for n in counts]
    for n, row in zip(counts, load, strict=True):
        row.at_most = target(name, LOADS_AT_MOST.get(n))
    for _ in range(rounds):
        alone, alone_s = one_request(model, 1, 2)
        one_node_load.samples.append(alone_s)
        for n, decode_row, load_row in zip(counts, decode, load, strict=True):
            found, load_s = one_request(model, n, 1)
            decode_row.samples.append(found)
            decode_row.yard_samples.append(alone)
            load_row.samples.append(load_s)
            load_row.yard_samples.append(alone_s)
        for n, row in by_star.items():
            row.samples.append(one_request(model, n, 1, "--collective", "star")[0])
            row.yard_samples.append(alone)
    return [*decode, *by_star.values(), one_node_load, *load]
