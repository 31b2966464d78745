"""What earlier pairs of a cluster know about noise: files that are added, never changed.

Each finished comparison leaves one file of variances below the cluster's fingerprint. Only pairs of
one side against another of valid cells count; their variance does not depend on the effect.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pytest_dllama.files.user_files import RECORD_BYTES, read_text
from pytest_dllama.history.places import cluster_folder
from pytest_dllama.history.places import default_folder as default_folder
from pytest_dllama.stats.errors import DataError
from pytest_dllama.stats.prior import VarianceGroup, VariancePrior, fit_prior

_SCHEMA = 2  # 2: of several requests a session, which those who read 1 would take for one


class NoisePriors:
    """The variances of one cluster.

    Args:
        folder: of the history.
        fingerprint: of the machines.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = cluster_folder(folder, fingerprint) / "pairs"

    def add(self, groups: Mapping[str, Sequence[VarianceGroup]], requests: int = 1) -> Path | None:
        """Keep new variances by metric, in a file of their own, written whole; None if none.

        Args:
            groups: of pairs of sessions with so many requests each.
            requests: of a session.

        Raises:
            OSError: it cannot be written.
        """
        content = {
            metric: [[group.df, group.variance] for group in some]
            for metric, some in groups.items()
            if some
        }
        if not content:
            return None
        self._folder.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{os.getpid()}-{secrets.token_hex(3)}"
        temporary, path = self._folder / f".{name}.tmp", self._folder / f"{name}.json"
        about: dict[str, object] = {"schema_version": 1, "groups": content}
        if requests > 1:
            about |= {"schema_version": _SCHEMA, "requests": requests}
        temporary.write_text(json.dumps(about))
        temporary.rename(path)
        return path

    def groups(self, metric: str, requests: int = 1) -> list[VarianceGroup]:
        """All variances of a metric, of so many requests a session.

        A damaged or newer file is passed over.
        """
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                data = json.loads(read_text(path, RECORD_BYTES))
                if data["schema_version"] > _SCHEMA or data.get("requests", 1) != requests:
                    continue
                rows = data["groups"].get(metric, ())
                found += [VarianceGroup(int(df), float(variance)) for df, variance in rows]
            except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
                continue
        return found

    def prior(self, metric: str, requests: int = 1) -> VariancePrior | None:
        """The prior of a metric; None while there are too few variances, or most of them are 0."""
        try:
            return fit_prior(self.groups(metric, requests))
        except DataError:  # more than half without any: a clock too coarse to tell
            return None
