"""`dllama-py plan`: who would hold what, and what would cross each link, without loading."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from dllama_engine.cli.flags.arguments import PlanArgs
from dllama_engine.collectives.base import Traffic
from dllama_engine.collectives.traffic import step_traffic
from dllama_engine.formats.config import ModelConfig
from dllama_engine.formats.model_file import ModelFile, model_bytes
from dllama_engine.formats.paths import model_path
from dllama_engine.formats.quants import FloatType
from dllama_engine.sharding.memory import (
    ROOT_RUNTIME_BYTES,
    WORKER_RUNTIME_BYTES,
    RankMemory,
    rank_memory,
)
from dllama_engine.sharding.plan import ShardPlan, SyncMode, make_plan
from dllama_engine.synthetic.shapes import parse_shape
from dllama_engine.system.sizes import format_bytes
from dllama_engine.telemetry.events.session import Plan
from dllama_engine.telemetry.plan import plan_event

_SPANS = ("heads", "kv_heads", "ffn", "vocab")


def show_plan(args: PlanArgs, say: Callable[[str], None]) -> None:
    """Print the plan that the arguments describe.

    Raises:
        EngineError: a model or a shape that is not there, or that cannot be split so.
    """
    config = _config(args)
    plan = make_plan(
        config,
        args.nodes,
        buffer_type=FloatType.parse(args.buffer_float_type),
        sync_mode=SyncMode(args.sync_mode),
        collective=args.collective,
        overlap=args.overlap,
    )
    seq_len = min(args.max_seq_len or config.seq_len, config.seq_len)
    memories = [
        rank_memory(
            plan,
            rank,
            batch_size=args.batch_size,
            max_seq_len=seq_len,
            kv_type=FloatType.parse(args.kv_type),
        )
        for rank in range(args.nodes)
    ]
    described = plan_event(plan, memories)
    if args.json:
        head = {"model": config.to_json(), "model_bytes": model_bytes(config), **_options(args)}
        runtime = {
            "runtime_bytes": ROOT_RUNTIME_BYTES,
            "worker_runtime_bytes": WORKER_RUNTIME_BYTES,
        }
        body = {"max_seq_len": seq_len, **asdict(described), **runtime, "batch": _batch(plan, args)}
        say(json.dumps(head | body, indent=1))
        return
    for line in plan_lines(plan, memories, described, args, seq_len):
        say(line)


def plan_lines(
    plan: ShardPlan,
    memories: Sequence[RankMemory],
    described: Plan,
    args: PlanArgs,
    seq_len: int,
) -> list[str]:
    """The plan as aligned text."""
    config = plan.config
    overlap = "" if plan.overlap.from_tokens == 0 else f"overlap {plan.overlap}, "
    return [
        f"{config.arch.name.lower()}: {config.n_layers} layers, dim {config.dim}, "
        f"{config.n_heads} heads, {config.n_kv_heads} K/V heads, ffn {config.ff_dim}, "
        f"vocab {config.vocab_size}; {config.weight_type.label} weights, "
        f"{format_bytes(model_bytes(config))}",
        f"{plan.world_size} nodes, {args.buffer_float_type} buffers, {args.sync_mode} sync, "
        f"collective {plan.collective}, {overlap}"
        f"{args.kv_type} KV cache of {seq_len} tokens, batches of {args.batch_size}",
        "",
        *_rank_table(described, memories),
        f"total = weights + KV cache + buffers + {format_bytes(ROOT_RUNTIME_BYTES)} (root) or "
        f"{format_bytes(WORKER_RUNTIME_BYTES)} (worker) for Python, its libraries and the kernels",
        "",
        *_link_table(plan, described),
        *_batch_lines(plan, args),
        *_open_lines(plan),
    ]


def _rank_table(described: Plan, memories: Sequence[RankMemory]) -> list[str]:
    head = ["rank", *_SPANS, "weights", "KV cache", "buffers", "total"]
    rows = [
        [
            f"{rank.rank}{' root' if rank.rank == 0 else ''}",
            *(_span(getattr(rank, name)) for name in _SPANS),
            *(
                format_bytes(n)
                for n in (
                    memory.weight_bytes,
                    memory.kv_cache_bytes,
                    memory.buffer_bytes,
                    memory.total_bytes,
                )
            ),
        ]
        for rank, memory in zip(described.ranks, memories, strict=True)
    ]
    return _aligned([head, *rows])


def _link_table(plan: ShardPlan, described: Plan) -> list[str]:
    if plan.world_size == 1:
        return ["one node: nothing is sent"]
    links = {(src, dst): (n_bytes, n) for src, dst, n_bytes, n in described.decode_payload_bytes}
    ranks = range(plan.world_size)
    cells = [[str(links.get((src, dst), ("-",))[0]) for dst in ranks] for src in ranks]
    root_links = [link for ends, link in links.items() if 0 in ends]
    return [
        "payload bytes of one decoded token, from the row's rank to the column's",
        *_aligned([["", *map(str, ranks)], *([str(src), *cells[src]] for src in ranks)]),
        "",
        f"in all {sum(n for n, _ in links.values())} bytes in "
        f"{sum(n for _, n in links.values())} messages; over the root's links "
        f"{sum(n for n, _ in root_links)} bytes in {sum(n for _, n in root_links)} messages",
    ]


def _batch(plan: ShardPlan, args: PlanArgs) -> dict[str, Any]:
    """What a whole batch of a prompt moves over all links, none of its logits being asked for."""
    flows = step_traffic(plan, args.batch_size, 0).values()
    moved = sum(flows, Traffic(0, 0))
    halves = plan.pick_for(args.batch_size).in_halves
    return {"tokens": args.batch_size, "in_halves": halves, **asdict(moved)}


def _batch_lines(plan: ShardPlan, args: PlanArgs) -> list[str]:
    batch = _batch(plan, args)
    if plan.world_size == 1 or args.batch_size == 1:
        return []
    how = " that goes in halves" if batch["in_halves"] else ""
    return [
        f"a batch of {batch['tokens']} prompt tokens{how}: {batch['payload_bytes']} bytes in "
        f"{batch['messages']} messages"
    ]


def _open_lines(plan: ShardPlan) -> list[str]:
    """What only a probe of the links decides, and what stands here in its place."""
    shown = []
    if plan.collective.is_auto:
        shown.append("collective auto: the mesh is shown")
    if plan.overlap.is_auto:
        shown.append("overlap auto: whole batches are shown")
    if not shown or plan.world_size == 1:
        return []
    return ["", f"{'; '.join(shown)}; what serves is picked when nodes have connected"]


def _aligned(rows: list[list[str]]) -> list[str]:
    """Columns of equal width; the first is text, the others stand right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _span(bounds: tuple[int, int]) -> str:
    start, stop = bounds
    return f"{start}-{stop - 1}" if stop > start else "none"


def _options(args: PlanArgs) -> dict[str, Any]:
    """What was asked for, by the names of the flags."""
    return {
        "nodes": args.nodes,
        "buffer_float_type": args.buffer_float_type,
        "sync_mode": args.sync_mode,
        "collective": args.collective,
        "overlap": args.overlap,
        "kv_type": args.kv_type,
        "nbatches": args.batch_size,
    }


def _config(args: PlanArgs) -> ModelConfig:
    if args.shape is not None:
        return parse_shape(args.shape)
    assert args.model is not None  # `options.parse` wants one of them
    with ModelFile.open(model_path(args.model)) as model:
        return model.config
