from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from pytest_dllama.exports.samples_csv import write_samples
from pytest_dllama.files import whole_file
from pytest_dllama.history.run_files import RunFileError, archive_previous, read_run, write_run
from pytest_dllama.hosts import controller
from pytest_dllama.metrics import catalog
from pytest_dllama.record.cell import CellRecord, Fault, Percentiles, Workload
from pytest_dllama.record.hosts import HostRecord
from pytest_dllama.record.run import SCHEMA_VERSION, Environment, Request, RunRecord
from pytest_dllama.verdict.judge import judge
from tests.data import REPORTS, RUNS


def _run(created_utc: str = "2026-01-02T03:04:05Z") -> RunRecord:
    return RunRecord(
        created_utc=created_utc,
        environment=controller.probe_environment(),
        request=Request(
            prompt="héllo",
            steps=8,
            repeats=1,
            warmup=0,
            nthreads=1,
            buffer_float_type="q80",
            sync_mode="reduce",
            temperature=0,
            seed=1,
            node_counts=(1, 2),
            engine="embedded",
            host_kind="local",
        ),
        models=(),
        cells=(),
        definitions=catalog.all_definitions(),
    )


def test_what_is_written_is_read(tmp_path) -> None:
    path = write_run(_run(), tmp_path / "deep" / "run.json")
    assert read_run(path) == _run()
    assert [file.name for file in path.parent.iterdir()] == ["run.json"]  # nothing half-written


@pytest.mark.parametrize("path", sorted(REPORTS.glob("*.json")), ids=lambda path: path.stem)
def test_every_older_run_file_is_read(path: Path, tmp_path: Path) -> None:
    run = read_run(path)
    assert run.schema_version == json.loads(path.read_text())["schema_version"]
    assert run.cells
    assert read_run(write_run(run, tmp_path / "again.json")) == run


def test_a_run_file_of_every_version_is_read(tmp_path: Path) -> None:
    """Those that older releases wrote, whole: nothing of them is lost in a new file."""
    for version in range(1, SCHEMA_VERSION + 1):
        path = RUNS / f"schema{version}.json"
        run = read_run(path)
        assert run.schema_version == version
        before = json.loads(path.read_text())
        after = json.loads(write_run(run, tmp_path / path.name).read_text())
        assert _lost(before, after) == []


def _lost(before: object, after: object, where: str = "") -> list[str]:
    """Places whose value of `before` is not in `after`."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [w for k in before for w in _lost(before[k], after.get(k), f"{where}.{k}")]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [w for i, (b, a) in pairs for w in _lost(b, a, f"{where}[{i}]")]
    return [] if before == after else [where]


def test_faults_are_kept_with_their_kinds(tmp_path: Path) -> None:
    fault = Fault(kind="wire", repeat=2, step=7, text="repeat 2: wire: one byte more")
    cell = CellRecord(model="m", nodes=2, status="ok", verdict=judge(faults=[fault]))
    run = _run().model_copy(update={"cells": (cell,)})
    found = json.loads(write_run(run, tmp_path / "run.json").read_text())
    assert found["schema_version"] == SCHEMA_VERSION
    assert found["cells"][0]["verdict"] == {
        "status": "INVALID",
        "reasons": ["repeat 2: wire: one byte more"],
        "faults": [{"kind": "wire", "repeat": 2, "step": 7, "text": fault.text}],
    }
    assert read_run(tmp_path / "run.json") == run


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch) -> None:
    path = write_run(_run(), tmp_path / "run.json")

    def no_space(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(whole_file.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_run(_run("2027-01-01T00:00:00Z"), path)
    assert read_run(path) == _run()
    assert list(tmp_path.iterdir()) == [path]


def _change(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_messages_name_file_and_field(tmp_path) -> None:
    path = tmp_path / "run.json"
    with pytest.raises(RunFileError, match=r"run\.json: cannot be read"):
        read_run(path)
    write_run(_run(), path)
    _change(path, schema_version=99)
    with pytest.raises(RunFileError, match="schema version 99, this pytest-dllama reads up to 3"):
        read_run(path)
    _change(path, schema_version=1, celsl=[])
    with pytest.raises(RunFileError, match="field celsl: Extra inputs"):
        read_run(path)
    path.write_text(path.read_text()[:100])
    with pytest.raises(RunFileError, match="was it cut short"):
        read_run(path)
    path.write_text("[]")
    with pytest.raises(RunFileError, match="top level"):
        read_run(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper than any run file is"),
        ('{"cells": ' * 50_000, "nested deeper than any run file is"),
        (f'{{"wall_s": {"9" * 400}}}', r"the number 99999999\.\.\. of 400 digits has more than 64"),
        (
            f'{{"wall_s": {"9" * 9000}}}',
            r"the number 9+\.\.\. of 9000 digits has more than 64 bits; no",
        ),
        ('{"wall_s": 9223372036854775808}', "the number 9223372036854775808 has more than 64"),
        ('{"wall_s": 1e400}', "the number 1e400 is not finite"),
        ('{"wall_s": NaN}', "the number NaN is not finite"),
    ],
    ids=lambda value: value[:20],
)
def test_content_beyond_any_run_file_is_refused_in_a_line(tmp_path, text, message) -> None:
    path = tmp_path / "run.json"
    path.write_text(text)
    with pytest.raises(RunFileError, match=rf"run\.json: {message}") as refused:
        read_run(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200 + len(str(path))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(RunFileError, match=f"{path}: not a regular file; give a run.json"):
            read_run(path)


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_the_umask_decides_who_may_read(tmp_path, umask: int, mode: int) -> None:
    before = os.umask(umask)
    try:
        path = write_run(_run(), tmp_path / "run.json")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("path", sorted(REPORTS.rglob("*.json")), ids=lambda path: path.name)
def test_run_files_of_every_age_are_read(path: Path) -> None:
    assert read_run(path).cells


def test_every_sample_is_a_line(tmp_path) -> None:
    runs = [read_run(path) for path in sorted(REPORTS.rglob("*.json"))]
    run = max(runs, key=lambda run: sum(len(cell.samples) for cell in run.cells))
    cells = (*run.cells, CellRecord(model="m", nodes=3, status="failed", error="gone, really"))
    run = run.model_copy(update={"cells": cells})
    path = write_samples(run, tmp_path / "deep" / "samples.csv")
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    expected = [(cell, sample) for cell in run.cells for sample in cell.samples]
    assert len(lines) == len(expected) + sum(not cell.samples for cell in run.cells)
    measured = [line for line in lines if line["repeat"]]
    for line, (cell, sample) in zip(measured, expected, strict=True):
        assert (line["model"], int(line["nodes"])) == (cell.model, cell.nodes)
        assert float(line["rct_s"]) == sample.rct_s
        assert line["tpot_ms"] == ("" if sample.tpot_ms is None else str(sample.tpot_ms))
        assert tuple(map(float, line["itl_ms"].split())) == sample.itl_ms
    assert (lines[-1]["model"], lines[-1]["error"], lines[-1]["rct_s"]) == ("m", "gone, really", "")
    assert "parts" not in lines[0]  # of records: no plain value


def test_a_workload_and_its_percentiles_stand_in_each_line(tmp_path) -> None:
    load = Workload(prompt_tokens=4, context_depth=8, options=(("nthreads", "2"), ("seed", "7")))
    one = read_run(next(RUNS.glob("*.json"))).cells[0].samples[0]
    cell = CellRecord(
        model="m", nodes=2, workload=load, status="ok", samples=(one,) * 2,
        percentiles={"rct_s": Percentiles(n=50, p50=1.5, p90=2.5)},
    )  # fmt: skip
    run = _run().model_copy(update={"cells": (cell,)})
    with write_samples(run, tmp_path / "samples.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["cell"] for line in lines] == ["m-2-pp4-d8-nthreads2-seed7"] * 2
    for line in lines:
        sizes = [line[name] for name in ("prompt_tokens", "output_tokens", "context_depth")]
        assert (sizes, line["options"]) == (["4", "", "8"], "nthreads=2 seed=7")
        assert [line[f"rct_s_{p}"] for p in ("p50", "p90", "p95", "p99")] == ["1.5", "2.5", "", ""]
        assert line["ttft_s_p50"] == ""


def test_an_older_run_moves_to_the_history(tmp_path) -> None:
    assert archive_previous(tmp_path) is None
    for _ in range(2):
        write_run(_run(), tmp_path / "run.json")
        archive_previous(tmp_path)
    (tmp_path / "run.json").write_text("broken")
    archive_previous(tmp_path)
    names = sorted(file.name for file in (tmp_path / "history").iterdir())
    assert names == ["20260102T030405Z-2.json", "20260102T030405Z.json", "unreadable.json"]


def test_fingerprint_is_of_the_machine_not_of_the_software() -> None:
    here = controller.probe_environment()
    same = here.model_copy(update={"python": "9.9", "hostname": "other", "pytest_dllama": "9"})
    other = here.model_copy(update={"cpu_count": here.cpu_count + 1})
    assert controller.fingerprint(here, "local") == controller.fingerprint(same, "local")
    assert controller.fingerprint(here, "local") != controller.fingerprint(other, "local")
    assert controller.fingerprint(here, "local") != controller.fingerprint(here, "ssh")


def _pi(rank: int, **more: object) -> HostRecord:
    values: dict[str, object] = {name: None for name in HostRecord.model_fields}
    values |= {"name": f"pi{rank}", "rank": rank, "board": "Raspberry Pi 5", "cores": 4}
    values |= {"kernel": "6.6", "machine": "aarch64", "bits": 64, "memory_bytes": 8 << 30}
    return HostRecord.model_construct(None, **{**values, **more})


def test_fingerprint_of_hosts_is_theirs_in_rank_order() -> None:
    laptop = controller.probe_environment()
    another = laptop.model_copy(update={"cpu_model": "Another", "cpu_count": 99})
    pis = [_pi(0), _pi(1)]
    name = controller.fingerprint(laptop, "ssh", pis)
    assert name.startswith("ssh-2h-8x-raspberry-pi-5-")
    assert controller.fingerprint(another, "ssh", pis) == name
    assert controller.fingerprint(laptop, "ssh", [_pi(0, name="x"), _pi(1)]) == name
    for changed in (
        *({"board": "Raspberry Pi 4"}, {"cores": 2}, {"kernel": "6.12"}, {"bits": 32}),
        *({"memory_bytes": 4 << 30}, {"machine": "x86_64"}),
    ):
        assert controller.fingerprint(laptop, "ssh", [pis[0], _pi(1, **changed)]) != name
    assert controller.fingerprint(laptop, "ssh", pis[:1]) != name
    assert controller.fingerprint(laptop, "ssh", [pis[0], None]) != name
    four = _pi(0, board="Raspberry Pi 4")
    mixed = [controller.fingerprint(laptop, "ssh", pair) for pair in ([four, pis[1]],)]
    mixed += [controller.fingerprint(laptop, "ssh", [pis[0], _pi(1, board="Raspberry Pi 4")])]
    assert len({*mixed, name}) == 3


def test_the_controller_counts_where_the_root_runs_on_it() -> None:
    laptop = controller.probe_environment()
    another = laptop.model_copy(update={"cpu_model": "Another"})
    workers = [_pi(1), _pi(2)]
    names = {controller.fingerprint(machine, "ssh", workers) for machine in (laptop, another)}
    assert len(names) == 2


def test_fingerprint_is_a_folder_name() -> None:
    pi = Environment.model_construct(
        board="Raspberry Pi 5 Model B Rev 1.0",
        cpu_model="",
        machine="aarch64",
        cpu_count=4,
        memory_bytes=8 << 30,
    )
    name = controller.fingerprint(pi, "ssh")
    assert name.startswith("ssh-4x-raspberry-pi-5-model-b-rev-1-0-")
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
