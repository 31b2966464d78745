"""Accepting a run: the decision, how its version runs again, and what creep is judged by."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pytest_dllama.config.baseline import parse_baseline
from pytest_dllama.config.values import ConfigError
from pytest_dllama.history.accepted import Acceptance, Kind, acceptances, accepted_runs
from pytest_dllama.history.nights import runs_of_nights, watched
from pytest_dllama.history.noise.priors import NoisePriors
from pytest_dllama.history.series import series_of, work_digest
from pytest_dllama.history.store import HistoryError, RunStore, StoredRun
from pytest_dllama.lab.builds.revisions import own_checkout
from pytest_dllama.record.run import RunRecord
from pytest_dllama.stats.prior import VariancePrior
from pytest_dllama.stats.unpaired import NightNoise
from pytest_dllama.verdict.past.alarm import WATCHED, level_noise, replay


def decide_on(
    store: RunStore, found: StoredRun, kind: Kind, given: str | None = None, note: str = ""
) -> None:
    """Make a run the accepted one, or the anchor, and say so.

    Args:
        store: of its cluster.
        found: the run.
        kind: what it becomes.
        given: SPEC that runs this version again; None: by its commit, where it has one.
        note: why.

    Raises:
        HistoryError: a SPEC that is none, or names nothing that stays.
    """
    spec = spec_of(found.run, given)
    acceptances(store).add(
        Acceptance(
            kind=kind,
            run=found.name,
            engine=found.run.request.engine,
            decided_utc=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            baseline=spec,
            note=note,
        )
    )
    print(f"{kind}: {found.name} of {store.fingerprint}, again by {spec or '-'}")
    if spec is None:
        print(
            "nothing tells how to run this version again, so it can only be compared with as "
            "stored, unpaired; --as SPEC says how"
        )
    revision = found.run.revision
    if revision and revision.is_dirty and given is None and spec:
        print(
            f"warning: the run was measured with changes that {revision.commit[:10]} does not "
            "have; pairs against it will lack them"
        )


def spec_of(run: RunRecord, given: str | None) -> str | None:
    """How `--baseline` runs the version of this run again; None: it cannot.

    Raises:
        HistoryError: a SPEC that is none, or one that means this run or the engine of the day.
    """
    if given is None:
        has_checkout = run.request.engine == "embedded" and own_checkout() is not None
        return f"git:{run.revision.commit}" if run.revision and has_checkout else None
    try:
        kind = parse_baseline(given).kind
    except ConfigError as error:
        raise HistoryError(str(error).replace("--baseline", "--as", 1)) from None
    if kind not in ("git", "dllama"):
        raise HistoryError(
            f"--as {given}: it must name a version that stays: git:REV, git:PATH@REV, "
            "dllama:PATH or dllama:CHECKOUT@REV"
        )
    return given


def night_noise_of(store: RunStore, run: RunRecord) -> Mapping[tuple[str, str], NightNoise]:
    """Noise of nights of every watched series of this run's work, where enough nights are known."""
    nights = watched(store)
    by_run = {night.run: night for night in nights}
    accepted = accepted_runs(store)
    found = {}
    for key, points in series_of(runs_of_nights(store, nights), WATCHED).items():
        works = {work_digest(run, cell.model) for cell in run.cells if cell.id == key.cell}
        noise = level_noise(replay(key, points, by_run, accepted))
        if key.work in works and noise is not None:
            found[key.cell, key.metric] = noise
    return found


def priors_of(store: RunStore) -> dict[str, VariancePrior | None]:
    """Of the variance of a pair, by metric."""
    priors = NoisePriors(store.cluster.parent, store.cluster.name)
    return {metric: priors.prior(metric) for metric in WATCHED}
