"""`python -m benchmarks.wire.pieces`: what sending a decoded token in pieces could win at most.

A token has no halves as a batch has, but the vector that an exchange sums has rows: a node could
send the first of them while it computes the last. Computed, not measured: a board's products take
their bytes over its memory's rate (`--emulate`), exchanges what `--collective auto` reckons with.
A piece more costs each of its messages once more; nothing else is charged, so this is a bound.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import page
from dllama_engine.collectives.choice import LinkCosts, predicted_s, rounds_s
from dllama_engine.collectives.registry import COLLECTIVES
from dllama_engine.sharding.collective import Collective
from dllama_engine.sharding.plan import ShardPlan, make_plan, vector_bytes
from dllama_engine.synthetic.shapes import parse_shape
from pytest_dllama.emulation.boards import BOARDS

NAME = "pieces"  # of its place in a document
# As the page's other table has them: a switch of one kind is not like another.
SWITCHES = {
    "1 Gbit": LinkCosts(120e-6, 4e-6, 8 / 940e6),
    "100 Mbit": LinkCosts(250e-6, 5e-6, 8 / 94e6),
}
NODES = (2, 4, 8)
MODELS = ("llama-160m", "tinyllama-1.1b", "llama3.1-8b", "llama-13b")
PIECES = (2, 3, 4, 6, 8, 12, 16)


@dataclass(frozen=True, slots=True)
class Products:
    """Seconds that the products of the busiest rank take: of a layer, and behind the last."""

    before_first_s: float  # up to the attention's output projection
    first_s: float  # the projection, whose rows could go in pieces
    before_second_s: float
    second_s: float  # the feed-forward's last product
    logits_s: float

    @property
    def layer_s(self) -> float:
        """All of a layer."""
        return self.before_first_s + self.first_s + self.before_second_s + self.second_s


def products(plan: ShardPlan, memory_bps: float) -> Products:
    """Of dense models: bytes of the weights over the rate at which the memory reads them."""
    config = plan.config
    heads = max(rank.heads.size for rank in plan.ranks) * config.head_dim
    kv_heads = max(rank.kv_heads.size for rank in plan.ranks) * config.head_dim
    hidden = max(rank.ffn.size for rank in plan.ranks)
    rows = max(rank.vocab.size for rank in plan.ranks)

    def read_s(n_rows: int, n_columns: int) -> float:
        return n_rows * vector_bytes(config.weight_type, n_columns) / memory_bps

    return Products(
        before_first_s=read_s(heads + 2 * kv_heads, config.dim),
        first_s=read_s(config.dim, heads),
        before_second_s=read_s(2 * hidden, config.dim),
        second_s=read_s(config.dim, hidden),
        logits_s=read_s(rows, config.dim),
    )


def won_s(costs: LinkCosts, plan: ShardPlan, name: Collective, product_s: float) -> float:
    """What an exchange is shorter in the best number of pieces, with the product before it.

    Whole: the product, rounds, and what keeps the port busy. In k pieces the port is busy while the
    product goes on, and both the product's first piece and the port's last piece hide nothing.
    Rounds wait for the switch as long as before.
    """
    whole_s = sum(rounds_s(LinkCosts(0.0, costs.message_s, costs.byte_s), plan, name, 1))
    best_s = 0.0
    for k in PIECES:
        part = LinkCosts(0.0, costs.message_s, costs.byte_s / k)
        rounds = rounds_s(part, plan, name, 1)
        piece_s = sum(rounds)
        more_s = (k - 1) * len(rounds) * costs.message_s  # of further pieces the first messages too
        port_bound_s = product_s * (k - 1) / k + whole_s - k * piece_s - more_s
        product_bound_s = whole_s - piece_s
        best_s = max(best_s, min(port_bound_s, product_bound_s))
    return best_s


def share_won(costs: LinkCosts, plan: ShardPlan, name: Collective, memory_bps: float) -> float:
    """What that is of a token's time."""
    found, n, config = products(plan, memory_bps), plan.world_size, plan.config
    exchange_s = predicted_s(costs, plan, name, 1)
    broadcast_s = (
        costs.round_s + (n - 2) * costs.message_s + 4 * config.dim * (n - 1) * costs.byte_s
    )
    gather_s = costs.round_s + 4 * config.vocab_size * (n - 1) / n * costs.byte_s
    layers_s = config.n_layers * (found.layer_s + 2 * exchange_s)
    token_s = layers_s + found.logits_s + broadcast_s + gather_s
    won = sum(won_s(costs, plan, name, s) for s in (found.first_s, found.second_s))
    return config.n_layers * won / token_s


def rows(board: str) -> Iterator[str]:
    """The table: of the mesh, and of the collective that is the fastest there without pieces."""
    yield f"| {board}, switch, nodes | {' | '.join(MODELS)} |"
    yield f"|---|{'---|' * len(MODELS)}"
    for switch, costs in SWITCHES.items():
        for nodes in NODES:
            cells = [_cell(costs, nodes, model, BOARDS[board].memory_bps) for model in MODELS]
            yield f"| {switch}, {nodes} | {' | '.join(cells)} |"


def _cell(costs: LinkCosts, nodes: int, model: str, memory_bps: float) -> str:
    plan = make_plan(parse_shape(model), nodes)
    best = min(COLLECTIVES, key=lambda name: predicted_s(costs, plan, name, 1))
    shown = f"{100 * share_won(costs, plan, Collective.MESH, memory_bps):.1f} %"
    if best is Collective.MESH:
        return shown
    return f"{shown}, {best} {100 * share_won(costs, plan, best, memory_bps):.1f} %"


def table() -> str:
    """All boards."""
    return "\n\n".join("\n".join(rows(board)) for board in BOARDS)


def main() -> None:
    """Print the tables, or put them into a document."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wire.pieces", description=__doc__)
    parser.add_argument("--write", type=Path, metavar="FILE", help="put them into this document")
    options = parser.parse_args()
    if options.write is None:
        print(table())
    else:
        page.write(options.write, NAME, table())


if __name__ == "__main__":
    main()
