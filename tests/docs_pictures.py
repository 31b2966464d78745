"""`python -m tests.docs_pictures`: the pictures of pages in docs/images, drawn again.

    python -m tests.docs_pictures trend docs/images/trend.png
    python -m tests.docs_pictures report/report.en.html docs/images/report.png

The first is an example of 45 nights with drawn numbers; the second takes the first screen of any
page. `--dark` shows it as a dark system does. Needs Chromium with its driver (`make test-deps`).
"""

from __future__ import annotations

import argparse
import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pytest_dllama.history.accepted import Acceptance, acceptances
from pytest_dllama.history.nights import Night, SeriesAlarm, nights_of
from pytest_dllama.history.store import RunStore
from pytest_dllama.history.trend import trends
from pytest_dllama.record.run import Revision
from pytest_dllama.report.pages.trend import Trends, write_trend
from tests import browser
from tests.plugin.history.night_runs import cell, night_run

CLUSTER = "ssh-4x-raspberry-pi-5-model-b-rev-1-0-5e1f09aa"
NIGHTS = 45
BETTER, ACCEPTED, WORSE = 18, 20, 30  # nights: one commit helps both cells, a later one harms one
WIDTH, LEFT = 1060, 16  # of the picture; what is kept beside the text
MARGIN = 12  # below what is shown
# What is shown ends where the first section begins.
END = "return window.scrollY + document.querySelector('h2').getBoundingClientRect().top - 24"
TEXT_AT = "return document.querySelector('h1').getBoundingClientRect().left"


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("page", help="an HTML page, or: trend")
    parser.add_argument("picture", type=Path)
    parser.add_argument("--dark", action="store_true")
    wanted = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        page = trend_page(Path(folder)) if wanted.page == "trend" else Path(wanted.page)
        photograph(page, wanted.picture, wanted.dark)


def trend_page(folder: Path) -> Path:
    """A page of nights whose figures are drawn from a seed."""
    store, noise = RunStore(folder / "history", CLUSTER), np.random.default_rng(7)
    for night in range(NIGHTS):
        helped = 0.94 if night >= BETTER else 1.0
        harmed = 1.13 if night >= WORSE else 1.0
        four, two = (1 + 0.006 * noise.standard_normal(2)) * (52.0 * helped * harmed, 86.0 * helped)
        commit = next(n for n in (WORSE, BETTER, 0) if night >= n)
        revision = Revision(
            commit=f"{commit + 1:x}" * 20, committed_utc="-", subject=f"change {commit}"
        )
        cells = [cell([four], "llama3-1b", 4), cell([two], "llama3-1b", 2)]
        run = store.add(night_run(night, cells, fingerprint=CLUSTER, revision=revision))
        alarms = (_alarm(store, night),) if night >= WORSE + 2 else ()
        nights_of(store).add(Night(run=run, created_utc=f"{night:03}", alarms=alarms))
        for kind in {0: ("accepted", "anchor"), ACCEPTED: ("accepted",)}.get(night, ()):
            values = {"kind": kind, "run": run, "engine": "embedded", "decided_utc": "-"}
            acceptances(store).add(Acceptance.model_validate(values))
    found = trends(store, ("tpot_ms", "rct_s"))
    _, html = write_trend(Trends(CLUSTER, found, {}), folder, ["en"])
    return html


def _alarm(store: RunStore, night: int) -> SeriesAlarm:
    (key,) = [one.key for one in trends(store, ["tpot_ms"]) if one.key.cell == "llama3-1b-4"]
    return SeriesAlarm(
        cell=key.cell, metric=key.metric, work=key.work, nights_since=night - WORSE + 1, step=0.13,
        score=40.0, limit=9.0, judged="REGRESSED" if night > WORSE + 2 else None,
    )  # fmt: skip


def photograph(page: Path, picture: Path, dark: bool = False) -> None:
    """The first screen of a page, as wide as a document shows it.

    Raises:
        SystemExit: there is no browser.
    """
    found = browser.programs()
    if found is None:
        raise SystemExit(browser.MISSING)
    with browser.opened(found, "hide-scrollbars", f"window-size={WIDTH + 100},900") as chrome:
        browser.themed(chrome, "dark" if dark else "light")
        chrome.get(page.resolve().as_uri())
        left, end = float(chrome.execute_script(TEXT_AT)), float(chrome.execute_script(END))
        clip = {"x": left - LEFT, "y": 0, "width": WIDTH, "height": end + MARGIN, "scale": 1}
        shot = chrome.execute_cdp_cmd(
            "Page.captureScreenshot", {"clip": clip, "captureBeyondViewport": True}
        )
        picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
