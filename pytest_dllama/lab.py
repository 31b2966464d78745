"""One session: measures each cell once, keeps the records, writes the run file as it grows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama import metrics, recording, validity
from pytest_dllama.backends import Backend, EngineRequest
from pytest_dllama.cells import CellKey
from pytest_dllama.cluster import Cluster, ClusterError
from pytest_dllama.config import ConfigError, LabConfig
from pytest_dllama.environment import probe_environment
from pytest_dllama.events import Event, Step
from pytest_dllama.events import Progress as LoadProgress
from pytest_dllama.history import RUN_FILE, archive_previous, write_run
from pytest_dllama.hosts import LocalHost
from pytest_dllama.models import ModelUnderTest, open_model
from pytest_dllama.progress import Progress
from pytest_dllama.record import (
    CellRecord,
    Commands,
    ModelRecord,
    OutputRecord,
    Request,
    RunRecord,
)
from pytest_dllama.runner import RequestFailed, RequestRun, run_request
from pytest_dllama.thresholds import Thresholds
from pytest_dllama.verdict import judge

LOG_FOLDER = "logs"
CellError = (ClusterError, RequestFailed, ConfigError)


@dataclass(frozen=True, slots=True)
class _Oracle:
    """The one-node run of a model, or why there is none."""

    run: RequestRun | None
    why_not: str = ""


class Lab:
    """Measures cells on one cluster.

    Args:
        config: what the user asked for.
        keys: the cells this session will read; the cluster is made for the largest.
        thresholds: limits to judge by.
        backend: the engine.
        progress: where to tell how far it is.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        backend: Backend,
        progress: Progress,
    ) -> None:
        self.config = config
        self.keys = tuple(keys)
        self.run_file = config.report_folder / RUN_FILE
        self._thresholds = thresholds
        self._backend = backend
        self._progress = progress
        self._started = datetime.now(UTC)
        self._start_s = time.monotonic()
        self._environment = probe_environment()
        self._specs = {spec.name: spec for spec in config.models}
        self._models: dict[str, ModelUnderTest] = {}
        self._oracles: dict[str, _Oracle] = {}
        self._records: dict[CellKey, CellRecord] = {}
        self._cluster: Cluster | None = None
        self._archived = False
        self._n_batches: int | None = None  # the engine's own choice, known from its events

    @property
    def logs(self) -> Path:
        """This run's own folder of logs."""
        return self.config.report_folder / LOG_FOLDER / f"{self._started:%Y%m%dT%H%M%SZ}"

    def cell(self, key: CellKey) -> CellRecord:
        """The record of a cell, measured on first use; a failed cell has a record too."""
        if key not in self._records:
            with self._progress.running():
                self._records[key] = self._measure_or_fail(key)
                self._progress.settle(_settled(self._records[key]))
            self.save()
        return self._records[key]

    def _measure_or_fail(self, key: CellKey) -> CellRecord:
        try:
            return self._measure(key)
        except CellError as error:
            logs = error.log_files if isinstance(error, RequestFailed) else ()
            return CellRecord(
                model=key.model,
                nodes=key.nodes,
                status="failed",
                error=str(error),
                logs=self._relative(logs),
                verdict=judge(error=str(error)),
            )

    def _measure(self, key: CellKey) -> CellRecord:
        model = self._model(key.model)
        cluster = self._provision(key)
        oracle = self._oracle(model) if key.nodes > 1 else None
        for n in range(1, self.config.warmup + 1):
            self._run(cluster, model, key, f"warm-up {n}/{self.config.warmup}", f"warmup{n}")
        repeats = self.config.repeats
        runs = [
            self._run(cluster, model, key, f"repeat {n}/{repeats}", f"repeat{n}")
            for n in range(1, repeats + 1)
        ]
        if key.nodes == 1:
            self._oracles.setdefault(key.model, _Oracle(runs[0]))
        return self._record(key, cluster, runs, oracle)

    def _model(self, name: str) -> ModelUnderTest:
        if name not in self._models:
            self._progress.stage(f"{name}: opening the model")
            self._models[name] = open_model(self._specs[name], self.config, self._progress.bar)
        return self._models[name]

    def _provision(self, key: CellKey) -> Cluster:
        """Workers for the largest cell at first; later only what this cell needs is looked at."""
        if self._cluster is None:
            largest = max(key.nodes for key in self.keys)
            self._cluster = Cluster(
                [LocalHost()] * largest,
                self._backend,
                self.logs,
                self.config.nthreads,
            )
            self._progress.stage(f"provisioning {largest - 1} workers for {largest} nodes")
            try:
                self._cluster.ensure(largest, self._progress.bar)
            except ClusterError:
                if largest == key.nodes:
                    raise  # a smaller cell may do without the worker that did not come up
        self._cluster.ensure(key.nodes, self._progress.bar)
        return self._cluster

    def _oracle(self, model: ModelUnderTest) -> _Oracle:
        """The one-node run that outputs are compared with: a measured one, or one run extra."""
        name = model.record.name
        if name not in self._oracles:
            assert self._cluster is not None
            key = CellKey(name, 1)
            try:
                run = self._run(self._cluster, model, key, "reference output", "oracle")
                self._oracles[name] = _Oracle(run)
            except RequestFailed as error:
                self._oracles[name] = _Oracle(None, f"the one-node run failed: {error}")
        return self._oracles[name]

    def _run(
        self, cluster: Cluster, model: ModelUnderTest, key: CellKey, what: str, log: str
    ) -> RequestRun:
        self._progress.stage(f"{key}: {what}")
        self._progress.detail("starting (a machine's first run compiles kernels)")
        return run_request(
            cluster, self._request(model), key.nodes, f"{key.id}.{log}.root", self._on_event
        )

    def _on_event(self, event: Event) -> None:
        if isinstance(event, LoadProgress):
            self._progress.detail(f"{event.phase}ing")
            self._progress.bar(event.done, event.total)
        elif isinstance(event, Step):
            what = f"{event.index + 1} tokens" if event.phase == "pred" else "reading the prompt"
            self._progress.detail(what)

    def _request(self, model: ModelUnderTest) -> EngineRequest:
        config = self.config
        return EngineRequest(
            model_file=model.model_file,
            tokenizer_file=model.tokenizer_file,
            prompt=config.prompt,
            steps=config.steps,
            nthreads=config.nthreads,
            buffer_float_type=config.buffer_float_type,
            sync_mode=config.sync_mode,
            temperature=config.temperature,
            seed=config.seed,
            timeout_s=config.request_timeout_s,
        )

    def _record(
        self, key: CellKey, cluster: Cluster, runs: Sequence[RequestRun], oracle: _Oracle | None
    ) -> CellRecord:
        traces = [run.trace for run in runs]
        self._n_batches = traces[0].start.n_batches if traces[0].start else None
        samples = tuple(recording.sample_of(trace) for trace in traces)
        median = traces[metrics.median_index([sample.rct_s for sample in samples])]
        figures = recording.cell_metrics(traces, samples)
        output = self._output(runs[0], oracle)
        limits = tuple(
            limit.check(figures.get(limit.metric))
            for limit in self._thresholds.of(key.model, key.nodes)
        )
        workers = cluster.workers(key.nodes)
        logs = [file for run in runs for file in run.log_files]
        logs += [file for worker in workers for file in worker.process.log_files]
        return CellRecord(
            model=key.model,
            nodes=key.nodes,
            status="ok",
            commands=Commands(
                root=runs[-1].command, workers=tuple(worker.command for worker in workers)
            ),
            samples=samples,
            metrics=figures,
            ranks=recording.rank_records(median),
            network=recording.network_record(traces, median),
            output=output,
            thresholds=limits,
            verdict=judge(
                invalid=validity.faults(traces, output),
                output=output,
                thresholds=limits,
            ),
            logs=self._relative(logs),
        )

    def _output(self, run: RequestRun, oracle: _Oracle | None) -> OutputRecord:
        if oracle is None:
            return validity.oracle_output(run.trace)
        if oracle.run is None:
            return validity.unchecked_output(run.trace, f"output unchecked: {oracle.why_not}")
        return validity.compare_output(
            oracle.run.trace,
            run.trace,
            buffer_float_type=self.config.buffer_float_type,
            sync_mode=self.config.sync_mode,
            temperature=self.config.temperature,
        )

    def _relative(self, files: Sequence[Path]) -> tuple[str, ...]:
        return tuple(file.relative_to(self.config.report_folder).as_posix() for file in files)

    def run_record(self) -> RunRecord:
        """The run so far: cells in the order they were asked for, unmeasured ones left out."""
        return RunRecord(
            created_utc=f"{self._started:%Y-%m-%dT%H:%M:%SZ}",
            wall_s=time.monotonic() - self._start_s,
            environment=self._environment,
            request=self._request_record(),
            models=self._model_records(),
            cells=tuple(self._records[key] for key in self.keys if key in self._records),
            definitions=metrics.DEFINITIONS,
            notes=self._notes(),
        )

    def _model_records(self) -> tuple[ModelRecord, ...]:
        return tuple(self._models[name].record for name in self._specs if name in self._models)

    def _request_record(self) -> Request:
        config = self.config
        return Request(
            prompt=config.prompt,
            steps=config.steps,
            repeats=config.repeats,
            warmup=config.warmup,
            nthreads=config.nthreads,
            buffer_float_type=config.buffer_float_type,
            sync_mode=config.sync_mode,
            temperature=config.temperature,
            seed=config.seed,
            node_counts=config.node_counts,
            engine=self._backend.name,
            host_kind="local",
            n_batches=self._n_batches,
        )

    def _notes(self) -> tuple[str, ...]:
        """What a reader must know before believing a figure."""
        threads = max(key.nodes for key in self.keys) * self.config.nthreads
        cores = self._environment.cpu_count
        if threads <= cores:
            return ()
        return (
            f"Up to {threads} threads shared the {cores} cores of one machine: more nodes cannot "
            "be faster here; the figures show overheads, not the speed of separate machines.",
        )

    def save(self) -> None:
        """Write the run file; the first time, an older run moves out of the way."""
        if not self._archived:
            archive_previous(self.config.report_folder)
            self._archived = True
        write_run(self.run_record(), self.run_file)

    @property
    def has_cells(self) -> bool:
        """Whether anything was measured."""
        return bool(self._records)

    def stop(self) -> None:
        """Stop every process of the session; safe to call twice."""
        if self._cluster is not None:
            self._cluster.stop()


def _settled(record: CellRecord) -> str:
    """A finished cell in one line."""
    key = CellKey(record.model, record.nodes)
    if record.error is not None:
        return f"{key}: failed: {record.error}"
    figures = {name: record.metrics[name].value for name in ("tokens_per_s", "ttft_s")}
    return f"{key}: {figures['tokens_per_s']:.2f} tokens/s, TTFT {figures['ttft_s']:.3f} s"
