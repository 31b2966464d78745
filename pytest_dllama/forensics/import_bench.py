"""Result files of other benchmarks -> a run file, as far as their data go."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.files.user_files import RECORD_BYTES, read_text
from pytest_dllama.forensics.bench.base import BenchCell, BenchFile, BenchFileError, told_apart
from pytest_dllama.forensics.bench.files import parse_bench_file
from pytest_dllama.forensics.imported_run import ImportLogError
from pytest_dllama.hosts.controller import probe_environment
from pytest_dllama.metrics import catalog
from pytest_dllama.record.cell import CellRecord, OutputRecord, Sample
from pytest_dllama.record.run import Request, RunRecord
from pytest_dllama.verdict.judge import judge

_UNCHECKED = "output unchecked: the file holds no tokens"


def import_bench(paths: Sequence[Path], nodes: int, model: str = "") -> RunRecord:
    """Read files of one engine on so many nodes; one run with a cell a model and workload.

    Raises:
        ImportLogError: a file of another form, or the same cell twice.
        OSError: one cannot be read, is no regular file or too large.
    """
    files = [_read(path) for path in paths]
    known = [cell for file in files for cell in file.cells if cell.samples]
    cells = [_cell(cell, nodes, model) for cell in told_apart(known)]
    ids = [cell.id for cell in cells]
    for cell_id in ids:
        if ids.count(cell_id) > 1:
            raise ImportLogError(
                f"{cell_id} is in these files twice: runs of other work are no repeats; import "
                "them apart, or name them apart with --model-name"
            )
    return RunRecord(
        created_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        environment=probe_environment(),
        request=_request(files, cells, nodes),
        models=(),
        cells=tuple(cells),
        definitions=catalog.all_definitions(),
        notes=(
            f"Imported from {', '.join(path.name for path in paths)} "
            f"({', '.join(dict.fromkeys(file.tool for file in files))}); the machine above is the "
            "one that read it.",
            *dict.fromkeys(note for file in files for note in file.notes),
        ),
    )


def _read(path: Path) -> BenchFile:
    try:
        return parse_bench_file(read_text(path, RECORD_BYTES).removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise ImportLogError(f"{path}: no UTF-8 text") from None
    except BenchFileError as error:
        raise ImportLogError(f"{path}: {error}") from None


def _cell(cell: BenchCell, nodes: int, model: str) -> CellRecord:
    samples = tuple(cell.samples)
    output = OutputRecord(text="", token_ids=(), status="unchecked", note=_UNCHECKED)
    return CellRecord(
        model=model or cell.model.replace("/", "_"),
        nodes=nodes,
        workload=cell.workload,
        status="ok",
        samples=samples,
        metrics=catalog.sample_metrics(samples),
        output=output,
        verdict=judge(output=output),
    )


def _request(files: Sequence[BenchFile], cells: Sequence[CellRecord], nodes: int) -> Request:
    first: Sample = cells[0].samples[0]
    return Request(
        prompt="-",
        steps=(first.n_input_tokens or 0) + first.n_output_tokens or None,
        repeats=max(len(cell.samples) for cell in cells),
        warmup=0,
        nthreads=None,
        buffer_float_type="-",
        sync_mode="-",
        temperature=None,
        seed=None,
        node_counts=(nodes,),
        engine="/".join(dict.fromkeys(file.tool for file in files)),
        host_kind="log",
    )
