"""One session: measures each cell once, keeps the records, writes the run file as it grows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from pytest_dllama.amounts import counted
from pytest_dllama.backends.base import is_able
from pytest_dllama.config.settings import LabConfig
from pytest_dllama.config.values import ConfigError
from pytest_dllama.events.trace import Picked
from pytest_dllama.files.whole_file import write_whole
from pytest_dllama.hosts.base import HostError, Progress
from pytest_dllama.lab import assembly
from pytest_dllama.lab.cells import CellKey
from pytest_dllama.lab.engines import Engines
from pytest_dllama.lab.machines.identity import Identity
from pytest_dllama.lab.machines.provisioning import Provisioning
from pytest_dllama.lab.machines.roofline_probe import Rooflines
from pytest_dllama.lab.opened_models import OpenedModels
from pytest_dllama.lab.power.cell_energy import stamped
from pytest_dllama.lab.power.meter_columns import MeterError
from pytest_dllama.lab.power.watch import energy_watch, not_asked
from pytest_dllama.lab.requests.asked import engine_request
from pytest_dllama.lab.requests.cell_requests import CellRequests
from pytest_dllama.lab.requests.cluster import Cluster, ClusterError, Worker
from pytest_dllama.lab.requests.failure import RequestFailed
from pytest_dllama.lab.requests.losses import Losses
from pytest_dllama.lab.requests.oracle import Oracle, output_against
from pytest_dllama.lab.requests.picks import Picks
from pytest_dllama.lab.requests.runner import RequestRun
from pytest_dllama.lab.requests.tracing import TraceMissing, joined, trace_file
from pytest_dllama.lab.result_files import ResultFiles
from pytest_dllama.metrics import catalog
from pytest_dllama.metrics.samples import session_sample
from pytest_dllama.models.workloads import configured
from pytest_dllama.record.cell import CellRecord, OutputRecord
from pytest_dllama.record.notes import picks_of_cell, run_notes
from pytest_dllama.record.run import RunRecord
from pytest_dllama.record.verdict import CellVerdict, VerdictFile
from pytest_dllama.verdict.cell import MeasuredCell, cell_record, failed_cell
from pytest_dllama.verdict.limits.scaling import ScalingLimit
from pytest_dllama.verdict.limits.thresholds import Thresholds

LOG_FOLDER = "logs"
CellError = (ClusterError, RequestFailed, ConfigError, HostError, MeterError)


class Lab:
    """Measures cells on one cluster.

    Args:
        config: what the user asked for.
        keys: the cells this session will read; the cluster is made for the largest.
        thresholds: limits to judge by.
        engines: what is measured, and where.
        progress: where to tell how far it is.
    """

    def __init__(
        self,
        config: LabConfig,
        keys: Sequence[CellKey],
        thresholds: Thresholds,
        engines: Engines,
        progress: Progress,
    ) -> None:
        self.config = config
        self.keys = tuple(keys)
        self.files = ResultFiles(config.report_folder)
        self._thresholds = thresholds
        self._engines = engines
        self._progress = progress
        self._hosts = engines.hosts
        self._rooflines = Rooflines(self._hosts, progress)
        self._started = datetime.now(UTC)
        self._start_s = time.monotonic()
        self._identity = Identity(self._hosts, max((key.nodes for key in keys), default=1))
        self._revision = assembly.revision_under_test(config)
        self._models = OpenedModels(config.models, progress)
        self._provisioning = Provisioning(self._hosts, keys, config, self.logs, progress)
        self._oracles: dict[CellKey, Oracle] = {}  # by the one-node cell
        self._records: dict[CellKey, CellRecord] = {}
        self._losses = Losses(config.retry_lost)  # of the cell at hand
        self._picks = Picks()
        self._energy = energy_watch(config)
        self._engine_notes: dict[CellKey, list[str]] = {}
        self._n_batches: int | None = None  # the engine's own choice, known from its events

    @property
    def logs(self) -> Path:
        """This run's own folder of logs."""
        return self.config.report_folder / LOG_FOLDER / f"{self._started:%Y%m%dT%H%M%SZ}"

    def fingerprint(self) -> str:
        """Of the machines that this session will measure on; connects to them."""
        if not self._identity.needs_connections:
            return self._identity.before()
        with self._progress.running():
            self._progress.stage("looking at the hosts")
            return self._identity.before()

    def cell(self, key: CellKey) -> CellRecord:
        """The record of a cell, measured on first use; a failed cell has a record too."""
        if key not in self._records:
            with self._progress.running():
                self._tell_overall(0)
                self._records[key] = self._measure_or_fail(key)
                self._progress.settle(assembly.in_one_line(self._records[key]))
            self.save()
        return self._records[key]

    def _tell_overall(self, runs: int) -> None:
        """How far the session is, after so many runs of the cell at hand."""
        before, all_runs = len(self._records), self.config.warmup + self.config.repeats
        what = f"cell {min(before + 1, len(self.keys))} of {len(self.keys)}"
        self._progress.overall(what, before + runs / all_runs, len(self.keys))

    def give_up(self, key: CellKey, why: str) -> CellRecord:
        """Make a cell an ERROR whose measurement was broken off from outside; the rest goes on.

        Its processes are in the middle of something: all are stopped, the next cell starts anew.
        """
        self._provisioning.stop_cluster()
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
        asked = self.config.comparison
        if asked is not None and not asked.baseline.is_stored:  # pairs that are collected only
            return f"up to {asked.looks[-1]} pairs against {asked.baseline.text}"
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
        self._provisioning.stop_cluster()

    def _measure(self, key: CellKey) -> CellRecord:
        if (why := self._why_skipped(key)) is not None:
            return failed_cell(key.model, key.nodes, why, workload=key.workload, skipped=True)
        self._provisioning.check(key.nodes)
        backend, model = self._engines.of(key.workload), self._models.of(key.model)
        request = engine_request(self.config, model, key.workload)  # can the context hold it?
        cluster = self._provision(key)
        requests = CellRequests(
            *(self.config, key, model, cluster, self._hosts, self._losses, self._progress),
            picks=self._picks,
        )
        needs_oracle = key.nodes > 1 or backend.reference is not None
        oracle = self._oracle(requests) if needs_oracle else None
        runs = self._repeats(requests)
        if oracle is None:
            self._oracles.setdefault(key, Oracle(runs[0]))
        output = output_against(oracle, runs[0], request, backend)
        if self.config.trace_folder is not None:
            self._trace(requests, trace_file(self.config.trace_folder, key))
        return self._record(key, runs, cluster.workers(key.nodes), output)

    def _repeats(self, requests: CellRequests) -> list[RequestRun]:
        """The measured requests, after those that warm up."""
        warmup, repeats = self.config.warmup, self.config.repeats
        for n in range(1, warmup + 1):
            requests.run(f"warm-up {n}/{warmup}", f"warmup{n}")
            self._tell_overall(n)
        runs = []
        for n in range(1, repeats + 1):
            runs.append(requests.run(f"repeat {n}/{repeats}", f"repeat{n}"))
            self._tell_overall(warmup + n)
        return runs

    def _oracle(self, requests: CellRequests) -> Oracle:
        """The one-node run that outputs are compared with: a measured one, or one run extra."""
        alone = CellKey(requests.key.model, 1, requests.key.workload)
        if alone not in self._oracles:
            self._oracles[alone] = requests.oracle(self._engines.of(alone.workload))
        return self._oracles[alone]

    def _trace(self, requests: CellRequests, path: Path) -> None:
        """One request more, for its trace; if it fails, the cell is measured all the same."""
        try:
            run = requests.run("tracing", "trace", traced=True)
            text = joined(run.trace.trace_parts)
        except (*CellError, TraceMissing) as error:
            self._progress.settle(f"{requests.key}: not traced: {error}")
            return
        self.files.write(path, lambda: write_whole(path, text))

    def _why_skipped(self, key: CellKey) -> str | None:
        """Why this engine has no such cell; None: it can be measured."""
        backend = self._engines.of(key.workload)
        if key.workload.context_depth and not is_able(backend, "fills_context"):
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
        model = self._models.of(key.model)
        request = engine_request(self.config, model, key.workload)
        self._n_batches = runs[0].trace.start.batch_size if runs[0].trace.start else None
        noted = chain.from_iterable(run.trace.notes for run in runs)
        by_repeat = [trace.picked for run in runs for trace in run.traces if trace.picked]
        self._engine_notes[key] = [*noted, *picks_of_cell(self._picks_of(key), by_repeat)]
        size = model.request_size(configured(self.config, key.workload), key.workload)
        if size.note:
            self._engine_notes[key].append(size.note)
        samples = [stamped(session_sample(run.traces), run.last_token_s) for run in runs]
        energy = roofline = None
        if "roofline_share" not in self._engines.of(key.workload).cannot_give:
            roofline = self._rooflines.of(model, key.nodes, request, samples)
        if self._energy is not None:
            samples, energy = self._energy.of(key.nodes, samples)
        measured = MeasuredCell(
            key.model,
            key.nodes,
            [run.trace for run in runs],
            samples,
            output,
            workload=key.workload,
            roofline=roofline,
            energy=energy,
            commands=assembly.commands_of(runs, workers),
            logs=assembly.logs_of(runs, workers, self.config.report_folder),
            max_seq_len=request.max_seq_len,
            links=assembly.links_of(self.config.topology, key.nodes, runs),
            memory_bps=self.config.memory_bps,
        )
        limits = self._thresholds.of(key.model, key.nodes, key.workload)
        return cell_record(measured, limits, self.cannot_give(key))

    def _picks_of(self, key: CellKey) -> Sequence[Picked]:
        """What `auto` picked for all sessions of a cell."""
        return self._picks.of(key)

    def _provision(self, key: CellKey) -> Cluster:
        """Workers for a cell; meters are read from when the hosts are ready on."""
        if self._provisioning.cluster is None:
            self._provisioning.prepare(key.nodes, self._models)
            if self._energy is not None:
                sites = self._hosts.power_sites(max(key.nodes for key in self.keys))
                self._energy.start(sites, self._identity.environment.hostname)
                self._energy.measure_idle(self._progress)
        nthreads = configured(self.config, key.workload).nthreads
        return self._provisioning.provide(key.nodes, self._engines.of(key.workload), nthreads)

    def run_record(self) -> RunRecord:
        """The run so far: cells in the order they were asked for, unmeasured ones left out."""
        return RunRecord(
            created_utc=f"{self._started:%Y-%m-%dT%H:%M:%SZ}",
            wall_s=time.monotonic() - self._start_s,
            environment=self._identity.environment,
            revision=self._revision,
            request=assembly.request_record(
                self.config, self._engines.backend.name, self._hosts.kind, self._n_batches
            ),
            models=self._models.records,
            cells=tuple(self._records[key] for key in self.keys if key in self._records),
            fingerprint=self._identity.after(),
            hosts=self._hosts.records(),
            pairs=self._hosts.pairs,
            memory=self._rooflines.records,
            emulation=assembly.emulation_record(self.config.topology, self._provisioning.cluster),
            power=self._energy.records if self._energy else (),
            definitions=catalog.all_definitions(),
            notes=(
                *self._hosts.notes,
                *run_notes({str(key): notes for key, notes in self._engine_notes.items()}),
            ),
        )

    def save(self) -> RunRecord:
        """Write the run file and return it."""
        run = self.run_record()
        self.files.write_run(run)
        return run

    def cannot_give(self, key: CellKey) -> Mapping[str, str]:
        """Metrics that the cell's engine never tells or nobody asked for, with the reason."""
        return {**self._engines.of(key.workload).cannot_give, **not_asked(self._energy)}

    @property
    def hosts_known(self) -> list[dict[str, Any]]:
        """What the machines behind SSH are, for files beside the run file; empty without any."""
        return self._identity.descriptions

    @property
    def has_cells(self) -> bool:
        """Whether anything was measured."""
        return bool(self._records)

    def stop(self) -> None:
        """Stop every process of the session; safe to call twice."""
        self._provisioning.stop_cluster()
        if self._energy is not None:
            self._energy.stop()
        for problem in self._hosts.close():
            self._progress.settle(problem)
