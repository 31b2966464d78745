"""What the run was: overview, hosts, and the summary of each model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dllama.record.cell import Workload
from pytest_dllama.record.run import Environment, RunRecord
from pytest_dllama.report.figures.quantities import SPEED
from pytest_dllama.report.figures.view import RunView
from pytest_dllama.report.pages.blocks import (
    Block,
    Items,
    Note,
    Piece,
    Strong,
    TableBlock,
    Words,
    heading,
    joined,
    label,
    labelled,
    said,
    table,
)
from pytest_dllama.report.pages.sections.questions import MOST_MODELS, MOST_NOTES
from pytest_dllama.report.rules.hosts import about_hosts, about_links
from pytest_dllama.report.tables.answer import metrics_table
from pytest_dllama.report.tables.columns import Code
from pytest_dllama.report.tables.hosts import hosts_table, links_table, state_table
from pytest_dllama.report.tables.models import (
    models_table,
    percentiles_table,
    spread_table,
    summary_table,
)
from pytest_dllama.report.tables.token_time import parts_table
from pytest_dllama.report.text.alike import alike
from pytest_dllama.report.text.numbers import MISSING, count, short, size


def setup(view: RunView) -> Iterator[Block]:
    """What was run, and where."""
    run = view.run
    yield heading(2, "sections.setup")
    yield said("text.overview")
    yield Items(tuple(_fields(run)))
    if run.models:
        yield TableBlock(models_table(view))
    if len(run.notes) > min(MOST_NOTES, len(alike(run.notes))):  # not all of them stand above
        yield label("note")
        yield Items(tuple(map(Note, run.notes)))


def _fields(run: RunRecord) -> Iterator[Piece]:
    request = run.request
    seed = MISSING if request.seed is None else str(request.seed)
    yield labelled("models", *codes([model.model_file for model in run.models]))
    yield labelled("tokenizers", *codes([model.tokenizer_file for model in run.models]))
    yield labelled("buffer_type", Code(request.buffer_float_type))
    yield labelled("sync_mode", Code(request.sync_mode))
    if request.collective not in (None, "mesh"):
        yield labelled("collective", Code(request.collective))
    if request.overlap not in (None, "off"):
        yield labelled("overlap", Code(request.overlap))
    yield from _work(run)
    yield labelled("threads", count(request.nthreads))
    yield labelled("sampling", f"temperature {short(request.temperature)}, seed {seed}")
    yield labelled("repeats", count(request.repeats))
    yield labelled("warmup", count(request.warmup))
    yield labelled("engine", request.engine)
    if run.revision:
        dirty = (" ", Words("text.dirty")) if run.revision.is_dirty else ""
        yield labelled(
            "revision", Code(run.revision.commit[:12]), f" {run.revision.subject}", dirty
        )
    yield labelled("host_kind", Words(f"host_kind.{request.host_kind}"))
    yield labelled("machine", *_machine(run.environment))
    yield labelled("versions", _versions(run.environment))


def _work(run: RunRecord) -> Iterator[Piece]:
    """What a request is, where the cells do not differ in it, and how they do where they do."""
    request, loads = run.request, [cell.workload for cell in run.cells]
    if request.prompt:
        yield labelled("prompt", "“", request.prompt, "”")
    else:
        yield labelled(
            "prompt", Words("phrases.made_prompts", sizes=_sizes(loads, "prompt_tokens"))
        )
    if any(load.output_tokens for load in loads):
        yield labelled("output_tokens", _sizes(loads, "output_tokens"))
    else:
        yield labelled("steps", count(request.steps))
    if any(load.context_depth for load in loads):
        yield labelled("context_depth", _sizes(loads, "context_depth"))
    swept = dict.fromkeys(option for load in loads for option in load.options)
    if swept:
        yield labelled("swept", *codes([f"{name}={value}" for name, value in swept]))
    caches = sorted({cell.max_seq_len for cell in run.cells if cell.max_seq_len is not None})
    if request.kv_type is not None and caches:
        ends = dict.fromkeys((caches[0], caches[-1]))
        positions = "–".join(map(count, ends))
        yield labelled(
            "kv_cache", Code(request.kv_type), Words("phrases.positions", positions=positions)
        )


def _sizes(loads: Sequence[Workload], name: str) -> str:
    """`16, 512`: what the cells have of one size."""
    return ", ".join(count(n) for n in dict.fromkeys(getattr(load, name) for load in loads))


def codes(texts: list[str]) -> tuple[Piece, ...]:
    """Names in a row, each as code."""
    return joined([Code(text) for text in texts]) or (MISSING,)


def _machine(machine: Environment) -> tuple[Piece, ...]:
    """Board or CPU, cores, memory, OS."""
    return joined(
        [
            *([machine.board] if machine.board else []),
            f"{machine.cpu_model} ({machine.machine})",
            (f"{machine.cpu_count} ", Words("labels.cores")),
            (Words("labels.memory_short"), f" {size(machine.memory_bytes)}"),
            machine.os,
        ]
    )


def _versions(machine: Environment) -> str:
    return (
        f"pytest-dllama {machine.pytest_dllama}, Python {machine.python}, "
        f"numpy {machine.numpy}, numba {machine.numba}"
    )


def hosts(view: RunView) -> Iterator[Block]:
    """The machines and the ways between them; nothing where all nodes are processes here."""
    if not view.run.hosts:
        return
    yield heading(2, "sections.hosts")
    yield said("text.hosts")
    yield TableBlock(hosts_table(view))
    yield said("text.host_states")
    yield TableBlock(state_table(view))
    yield Items(tuple(about_hosts(view)))
    if view.run.pairs:
        yield heading(3, "headings.ways")
        yield said("text.ways")
        yield TableBlock(links_table(view))
        yield Items(tuple(about_links(view)))


def verdicts(view: RunView) -> Iterator[Block]:
    """Every metric of every cell against the baseline, and every part of a token."""
    yield heading(2, "sections.verdicts")
    yield from table(metrics_table(view), said("text.verdicts"))
    yield heading(2, "sections.parts")
    yield from table(parts_table(view))


def summary(view: RunView) -> Iterator[Block]:
    """How far the repeats of each model spread, and what the columns mean."""
    yield heading(2, "sections.summary")
    yield said("text.nodes_rule")
    for model in view.models:
        if len(view.models) > MOST_MODELS:
            yield heading(3, "headings.model", model=model)
            yield TableBlock(summary_table(view, model))
        spread = spread_table(view, model)
        yield from table(spread, heading(3, "headings.model", model=model), said("text.spread"))
    yield from table(percentiles_table(view), heading(3, "headings.percentiles"))
    yield label("explained")
    explained: list[tuple[str, str]] = [
        (f"quantities.{q.key}.short", f"quantities.{q.key}.explained") for q in SPEED
    ]
    explained += [
        ("columns.output", "text.output_explained"),
        ("columns.verdict", "text.verdict_explained"),
    ]
    yield Items(tuple((Strong(Words(name)), ": ", Words(text)) for name, text in explained))
