"""OpenMetrics text for Prometheus and Grafana, by prometheus_client's own writer.

Every metric of the catalogue is a gauge `dllama_NAME_UNIT` in SI units, labelled by model, nodes,
workload, engine and cluster; `dllama_verdict` is 1 for the verdict that a cell has. Time stamps are
those of the run, so that an old run file can be loaded into a history.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from pytest_dllama.exports.base import ExportError, SiMetric, si_metrics
from pytest_dllama.record.cell import CellRecord
from pytest_dllama.record.run import RunRecord

_UNITS = {"s": "seconds", "B": "bytes", "bit/s": "bits_per_second", "J": "joules", "-": "ratio"}
_LABELS = ("model", "nodes", "workload", "engine", "cluster")
VERDICTS = ("PASS", "FAIL", "INVALID", "ERROR")


def openmetrics_text(run: RunRecord) -> str:
    """The exposition, ending in `# EOF`.

    Raises:
        ExportError: prometheus_client is not installed.
    """
    try:
        from prometheus_client.core import CollectorRegistry
        from prometheus_client.openmetrics import exposition
    except ImportError:
        raise ExportError(
            "OpenMetrics are written by prometheus_client, which is not installed; run: pip "
            "install 'pytest-dllama[exports]'"
        ) from None

    class Run:
        """A collector of one run."""

        def collect(self) -> Iterator[Any]:
            """Its families."""
            return _families(run)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Run())
    write: Any = exposition.generate_latest  # without types in their package
    return str(write(registry).decode())


def _families(run: RunRecord) -> Iterator[Any]:
    from prometheus_client.core import GaugeMetricFamily

    stamp = datetime.fromisoformat(run.created_utc).timestamp()
    found: dict[str, Any] = {}
    for cell in run.cells:
        labels = _labels(run, cell)
        for metric in si_metrics(cell):
            full = _full_name(metric)
            if full not in found:
                found[full] = GaugeMetricFamily(full, metric.definition, labels=_LABELS)
            found[full].add_metric(labels, metric.value, timestamp=stamp)
    yield from found.values()
    verdicts = GaugeMetricFamily(
        "dllama_verdict", "1 for the verdict that the cell has", labels=(*_LABELS, "verdict")
    )
    for cell in run.cells:
        status = cell.verdict.status if cell.verdict else None
        for verdict in VERDICTS:
            verdicts.add_metric(
                (*_labels(run, cell), verdict), float(verdict == status), timestamp=stamp
            )
    yield verdicts


def _full_name(metric: SiMetric) -> str:
    """With its unit at the end, where the name does not begin with it (bytes_per_token)."""
    unit = _UNITS.get(metric.unit, "")
    has_none = not unit or metric.name.startswith(unit)
    return f"dllama_{metric.name}" if has_none else f"dllama_{metric.name}_{unit}"


def _labels(run: RunRecord, cell: CellRecord) -> tuple[str, ...]:
    workload = cell.workload.suffix.removeprefix("-")
    return (cell.model, str(cell.nodes), workload, run.request.engine, run.fingerprint or "")
