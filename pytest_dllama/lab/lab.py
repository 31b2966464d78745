"""One session: measures each cell once, keeps the records, writes the run file as it grows."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pytest_dllama.backends.base import Backend, FillsContext
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.stream import Event, Step
from pytest_dllama.events.stream import Progress as LoadProgress
from pytest_dllama.history.run_files import RUN_FILE, archive_previous, write_run, write_whole
from pytest_dllama.hosts.base import HostError, Hosts, Progress
from pytest_dllama.hosts.controller import fingerprint, probe_environment
from pytest_dllama.hosts.course import counted
from pytest_dllama.hosts.local import LocalHosts
from pytest_dllama.lab import assembly
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.checks import model_needs
from pytest_dllama.lab.cluster import Cluster, ClusterError, Worker
from pytest_dllama.lab.losses import Losses
from pytest_dllama.lab.oracle import Oracle, find_oracle, output_against
from pytest_dllama.lab.power.cell_energy import stamped
from pytest_dllama.lab.power.meter_file import MeterError
from pytest_dllama.lab.power.watch import energy_watch, not_asked
from pytest_dllama.lab.progress import announce_compilation
from pytest_dllama.lab.roofline_probe import Rooflines
from pytest_dllama.lab.runner import (
    RequestFailed,
    RequestRun,
    check_work,
    engine_request,
    run_request,
)
from pytest_dllama.lab.session.tracing import TraceMissing, joined, trace_file
from pytest_dllama.metrics import catalog
from pytest_dllama.metrics.samples import session_sample
from pytest_dllama.models.under_test import ModelUnderTest, open_model
from pytest_dllama.models.workloads import Options, configured, engine_options
from pytest_dllama.record.cell import (
    CellRecord,
    OutputRecord,
    Workload,
)
from pytest_dllama.record.hosts import HostRecord
from pytest_dllama.record.notes import run_notes
from pytest_dllama.record.run import ModelRecord, RunRecord
from pytest_dllama.record.verdict import CellVerdict, VerdictFile
from pytest_dllama.verdict.cell import cell_record, failed_cell
from pytest_dllama.verdict.scaling import ScalingLimit
from pytest_dllama.verdict.thresholds import Thresholds

LOG_FOLDER = "logs"
_PHASES = {"fill": "filling the context", "cache": "weights from the workers' caches"}
CellError = (ClusterError, RequestFailed, ConfigError, HostError, MeterError)


class Lab:
    """Measures cells on one cluster.

    Args:
        config: what the user asked for.
        keys: the cells this session will read; the cluster is made for the largest.
        thresholds: limits to judge by.
        backend: the engine.
        swept: the engine with swept options of its own, by these.
        progress: where to tell how far it is.
        hosts: the machines; this one if none are given.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        backend: Backend,
        progress: Progress,
        hosts: Hosts | None = None,
        swept: Mapping[Options, Backend] | None = None,
    ) -> None:
        self.config = config
        self.keys = tuple(keys)
        self.run_file = config.report_folder / RUN_FILE
        self._thresholds = thresholds
        self._backend = backend
        self._swept = swept or {}
        self._progress = progress
        self._hosts: Hosts = hosts or LocalHosts()
        self._rooflines = Rooflines(self._hosts, progress)
        self._started = datetime.now(UTC)
        self._start_s = time.monotonic()
        self._environment = probe_environment()
        self._revision = assembly.revision_under_test(config)
        self._specs = {spec.name: spec for spec in config.models}
        self._models: dict[str, ModelUnderTest] = {}
        self._oracles: dict[CellKey, Oracle] = {}  # by the one-node cell
        self._records: dict[CellKey, CellRecord] = {}
        self._identified: Sequence[HostRecord | None] = ()
        self._cluster: Cluster | None = None
        self._archived = False
        self._losses = Losses(config.retry_lost)  # of the cell at hand
        self.unsaved: dict[Path, str] = {}  # files of results, and why they cannot be written
        self._energy = energy_watch(config)
        self._engine_notes: dict[CellKey, list[str]] = {}
        self._n_batches: int | None = None  # the engine's own choice, known from its events

    @property
    def logs(self) -> Path:
        """This run's own folder of logs."""
        return self.config.report_folder / LOG_FOLDER / f"{self._started:%Y%m%dT%H%M%SZ}"

    def fingerprint(self) -> str:
        """Of the machines that this session will measure on; connects to them."""
        if self._hosts.kind == "ssh":
            with self._progress.running():
                self._progress.stage("looking at the hosts")
                self._identified = self._hosts.identify(max(key.nodes for key in self.keys))
        return fingerprint(
            self._environment, self._hosts.kind, self._identified, self._hosts.network
        )

    def cell(self, key: CellKey) -> CellRecord:
        """The record of a cell, measured on first use; a failed cell has a record too."""
        if key not in self._records:
            with self._progress.running():
                self._tell_course(0)
                self._records[key] = self._measure_or_fail(key)
                self._progress.settle(assembly.in_one_line(self._records[key]))
            self.save()
        return self._records[key]

    def _tell_course(self, runs: int) -> None:
        """How far the session is, after so many runs of the cell at hand."""
        before, all_runs = len(self._records), self.config.warmup + self.config.repeats
        what = f"cell {min(before + 1, len(self.keys))} of {len(self.keys)}"
        self._progress.course(what, before + runs / all_runs, len(self.keys))

    def give_up(self, key: CellKey, why: str) -> CellRecord:
        """Make a cell an ERROR whose measurement was broken off from outside; the rest goes on.

        Its processes are in the middle of something: all are stopped, the next cell starts anew.
        """
        if self._cluster is not None:
            self._cluster.stop()
        if key not in self._records:
            self._records[key] = failed_cell(key.model, key.nodes, why, workload=key.workload)
        self.save()
        return self._records[key]

    def measured(self, key: CellKey) -> CellRecord | None:
        """The record of a cell, if it was measured or failed."""
        return self._records.get(key)

    def scaling_limits(self, model: str) -> tuple[ScalingLimit, ...]:
        """Limits between node counts of a model."""
        return self._thresholds.scaling_of(model)

    @property
    def how_often(self) -> str:
        """How often each cell is measured, in words."""
        return counted(self.config.repeats, "repeat")

    def comparison(self, key: CellKey) -> CellVerdict | None:
        """How a cell compares with a base's; None where nothing is compared."""
        return None

    def verdict(self) -> VerdictFile | None:
        """The verdict on the whole session; None where nothing is compared."""
        return None

    def _measure_or_fail(self, key: CellKey) -> CellRecord:
        self._losses = Losses(self.config.retry_lost)
        while True:
            try:
                record = self._measure(key)
            except CellError as error:
                if self._losses.allow(error):
                    self._start_anew(key)
                    continue
                logs = error.log_files if isinstance(error, RequestFailed) else ()
                names = assembly.relative(logs, self.config.report_folder)
                why = str(error)
                record = failed_cell(key.model, key.nodes, why, names, workload=key.workload)
            lost = assembly.relative(self._losses.log_files, self.config.report_folder)
            return self._losses.marked(record, lost)

    def _start_anew(self, key: CellKey) -> None:
        """A rank was lost: none of the cluster's processes is trusted any more."""
        self._progress.settle(f"{key}: lost: {self._losses.reasons[-1]}; measuring it anew")
        if self._cluster is not None:
            self._cluster.stop()

    def _measure(self, key: CellKey) -> CellRecord:
        if (why := self._why_skipped(key)) is not None:
            return failed_cell(key.model, key.nodes, why, workload=key.workload, skipped=True)
        if self._cluster is None:
            self._look_at_hosts(key)
        own, backend = configured(self.config, key.workload), self._engine(key.workload)
        model = self._model(key.model)
        request = engine_request(self.config, model, key.workload)
        cluster = self._provision(key, own, backend)
        has_reference = backend.reference is not None
        oracle = self._oracle(model, key) if key.nodes > 1 or has_reference else None
        warmup, repeats = self.config.warmup, self.config.repeats
        for n in range(1, warmup + 1):
            self._run(cluster, model, key, f"warm-up {n}/{warmup}", f"warmup{n}")
            self._tell_course(n)
        runs = []
        for n in range(1, repeats + 1):
            runs.append(self._run(cluster, model, key, f"repeat {n}/{repeats}", f"repeat{n}"))
            self._tell_course(warmup + n)
        if oracle is None:
            self._oracles.setdefault(key, Oracle(runs[0]))
        output = output_against(oracle, runs[0], request, backend)
        if self.config.trace_folder is not None:
            self._trace(cluster, model, key, trace_file(self.config.trace_folder, key))
        return self._record(key, runs, cluster.workers(key.nodes), output)

    def _trace(self, cluster: Cluster, model: ModelUnderTest, key: CellKey, path: Path) -> None:
        """One request more, for its trace; if it fails, the cell is measured all the same."""
        try:
            run = self._run(cluster, model, key, "tracing", "trace", traced=True)
            text = joined(run.trace.trace_parts)
        except (*CellError, TraceMissing) as error:
            self._progress.settle(f"{key}: not traced: {error}")
            return
        self.write(path, lambda: write_whole(path, text))

    def _why_skipped(self, key: CellKey) -> str | None:
        """Why this engine has no such cell; None: it can be measured."""
        backend = self._engine(key.workload)
        if key.workload.context_depth and not isinstance(backend, FillsContext):
            return (
                f"{backend.name} cannot fill a part of the context before a request's clock starts"
            )
        return None

    def _record(
        self,
        key: CellKey,
        runs: Sequence[RequestRun],
        workers: Sequence[Worker],
        output: OutputRecord,
    ) -> CellRecord:
        """The record of a cell whose requests all ended well."""
        model = self._model(key.model)
        request = engine_request(self.config, model, key.workload)
        self._n_batches = runs[0].trace.start.batch_size if runs[0].trace.start else None
        self._engine_notes[key] = [note for run in runs for note in run.trace.notes]
        size = model.request_size(configured(self.config, key.workload), key.workload)
        if size.note:
            self._engine_notes[key].append(size.note)
        samples = [stamped(session_sample(run.traces), run.last_token_s) for run in runs]
        energy = roofline = None
        if "roofline_share" not in self._engine(key.workload).cannot_give:
            roofline = self._rooflines.of(model, key.nodes, request, samples)
        if self._energy is not None:
            samples, energy = self._energy.of(key.nodes, samples)
        return cell_record(
            key.model,
            key.nodes,
            [run.trace for run in runs],
            samples,
            output,
            workload=key.workload,
            limits=self._thresholds.of(key.model, key.nodes, key.workload),
            cannot_give=self.cannot_give(key),
            roofline=roofline,
            energy=energy,
            commands=assembly.commands_of(runs, workers),
            logs=assembly.logs_of(runs, workers, self.config.report_folder),
            max_seq_len=request.max_seq_len,
            links=assembly.links_of(self.config.topology, key.nodes, runs),
            memory_bps=self.config.memory_bps,
        )

    def _engine(self, workload: Workload) -> Backend:
        """The engine with the options that this workload sweeps of its own."""
        return self._swept.get(engine_options(workload), self._backend)

    def _model(self, name: str) -> ModelUnderTest:
        if name not in self._models:
            self._progress.stage(f"{name}: opening the model")
            self._models[name] = open_model(self._specs[name], self._progress.transfer)
        return self._models[name]

    def _look_at_hosts(self, key: CellKey) -> None:
        """Before a synthetic model is written: can they hold what will be asked of them?"""
        largest = max(key.nodes for key in self.keys)
        needs = model_needs(self.config, self.keys)
        self._hosts.check(largest, key.nodes, needs, self._progress)

    def _provision(self, key: CellKey, own: LabConfig, backend: Backend) -> Cluster:
        """Workers for the largest cell at first; later only what this cell needs is looked at."""
        if self._cluster is None:
            largest = max(key.nodes for key in self.keys)
            models = [self._model(name).model_file for name in self._names()]
            hosts = self._hosts.prepare(largest, key.nodes, models, self._progress)
            if self._energy is not None:
                sites, hostname = self._hosts.power_sites(largest), self._environment.hostname
                self._energy.start(sites, hostname)
                self._energy.measure_idle(self._progress)
            if self._hosts.kind == "local":
                announce_compilation(backend, self._progress)
            self._cluster = Cluster(hosts, backend, self.logs, own.nthreads, self._hosts.kept_token)
            if largest > 1:
                workers = counted(largest - 1, "worker")
                self._progress.stage(f"provisioning {workers} for {largest} nodes")
            try:
                self._cluster.ensure(largest, self._progress.bar)
            except ClusterError:
                if largest == key.nodes:
                    raise  # a smaller cell may do without the worker that did not come up
        self._cluster.use(backend, own.nthreads)
        self._cluster.ensure(key.nodes, self._progress.bar)
        return self._cluster

    def _names(self) -> list[str]:
        """The models of this session's cells."""
        return list(dict.fromkeys(key.model for key in self.keys))

    def _oracle(self, model: ModelUnderTest, key: CellKey) -> Oracle:
        """The one-node run that outputs are compared with: a measured one, or one run extra."""
        alone = CellKey(key.model, 1, key.workload)
        if alone not in self._oracles:
            assert self._cluster is not None
            self._oracles[alone] = self._reference_run(self._cluster, model, alone)
        return self._oracles[alone]

    def _reference_run(self, cluster: Cluster, model: ModelUnderTest, key: CellKey) -> Oracle:
        measured = self._engine(key.workload)

        def run_by(engine: Backend) -> RequestRun:
            log = "oracle" if engine is measured else f"oracle.{engine.name}"
            try:
                return self._run(cluster, model, key, "reference output", log, engine)
            except RequestFailed as error:
                if not self._losses.allow(error):
                    raise
                return self._run(cluster, model, key, "reference output", log, engine)

        return find_oracle(measured, run_by)

    def _run(
        self,
        cluster: Cluster,
        model: ModelUnderTest,
        key: CellKey,
        what: str,
        log: str,
        engine: Backend | None = None,
        *,
        traced: bool = False,
    ) -> RequestRun:
        self._progress.stage(f"{key}: {what}")
        if self.config.cooldown_c > 0:
            self._hosts.cool_down(self.config.cooldown_c, self._progress)
        self._progress.detail("starting")
        run = run_request(
            cluster,
            replace(engine_request(self.config, model, key.workload), trace=traced),
            key.nodes,
            f"{key.id}.{self._losses.prefix}{log}.root",
            self._on_event,
            engine,
        )
        check_work(run.trace, key.workload)
        return run

    def _on_event(self, event: Event) -> None:
        if isinstance(event, LoadProgress):
            self._progress.detail(_PHASES.get(event.phase, f"{event.phase}ing"))
            tell = self._progress.transfer if event.unit == "bytes" else self._progress.bar
            tell(event.done, event.total)
        elif isinstance(event, Step):
            is_prompt = event.phase != "decode"
            what = "reading the prompt" if is_prompt else counted(event.index + 1, "token")
            self._progress.detail(what)

    def run_record(self) -> RunRecord:
        """The run so far: cells in the order they were asked for, unmeasured ones left out."""
        return RunRecord(
            created_utc=f"{self._started:%Y-%m-%dT%H:%M:%SZ}",
            wall_s=time.monotonic() - self._start_s,
            environment=self._environment,
            revision=self._revision,
            request=assembly.request_record(
                self.config, self._backend.name, self._hosts.kind, self._n_batches
            ),
            models=self._model_records(),
            cells=tuple(self._records[key] for key in self.keys if key in self._records),
            fingerprint=fingerprint(
                self._environment, self._hosts.kind, self._hosts.records(), self._hosts.network
            ),
            hosts=self._hosts.records(),
            pairs=self._hosts.pairs,
            memory=self._rooflines.records,
            emulation=assembly.emulation_record(self.config.topology, self._cluster),
            power=self._energy.records if self._energy else (),
            definitions=catalog.all_definitions(),
            notes=(
                *self._hosts.notes,
                *run_notes({str(key): notes for key, notes in self._engine_notes.items()}),
            ),
        )

    def _model_records(self) -> tuple[ModelRecord, ...]:
        return tuple(self._models[name].record for name in self._specs if name in self._models)

    def save(self) -> RunRecord:
        """Write the run file and return it; the first time, an older run moves out of the way."""
        run = self.run_record()
        self.write(self.run_file, lambda: self._write_run(run))
        return run

    def write(self, path: Path, write: Callable[[], object]) -> None:
        """Write a file of results; one that cannot be costs no cell and no table: see `unsaved`."""
        try:
            write()
        except OSError as error:
            self.unsaved[path] = error.strerror or str(error)
        else:
            self.unsaved.pop(path, None)

    def _write_run(self, run: RunRecord) -> None:
        if not self._archived:
            archive_previous(self.config.report_folder)
            self._archived = True
        write_run(run, self.run_file)

    def cannot_give(self, key: CellKey) -> Mapping[str, str]:
        """Metrics that the cell's engine never tells or nobody asked for, with the reason."""
        return {**self._engine(key.workload).cannot_give, **not_asked(self._energy)}

    @property
    def hosts_known(self) -> list[dict[str, Any]]:
        """What the machines behind SSH are, for files beside the run file; empty without any."""
        names = {"name", "rank", "board", "cpu_model", "machine", "cores", "kernel"}
        return [host.model_dump(include=names) for host in self._identified if host]

    @property
    def has_cells(self) -> bool:
        """Whether anything was measured."""
        return bool(self._records)

    def stop(self) -> None:
        """Stop every process of the session; safe to call twice."""
        if self._cluster is not None:
            self._cluster.stop()
        if self._energy is not None:
            self._energy.stop()
        for problem in self._hosts.close():
            self._progress.settle(problem)
