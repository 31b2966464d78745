"""The HTML page in a real browser: no network, tables that sort and filter, narrow and dark.

Needs Chromium or Chrome with its driver (`make test-deps`). On CI they must be there, unless
PYTEST_DLLAMA_NO_BROWSER=1 says that the machine has none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_selenium_python import Axe

from pytest_dllama.history.run_files import read_run
from pytest_dllama.history.store import RunStore
from pytest_dllama.history.trend import trends
from pytest_dllama.report.pages.reports import write_reports
from pytest_dllama.report.pages.trend import Trends, write_trend
from tests import browser as browsers
from tests.data import REPORTS
from tests.plugin.history.night_runs import CLUSTER, night_run
from tests.plugin.history.night_runs import cell as night_cell
from tests.plugin.report.report_runs import verdict

# The driver's own sockets, closed when Python ends.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
REQUESTED = "return performance.getEntriesByType('resource').map((one) => one.name)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    run = read_run(REPORTS / "three_models.json")
    worst = run.cells[-1].id
    _, html = write_reports(run, folder, ["en"], verdict=verdict(run, worst))
    return html


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    found = browsers.programs()
    if found is None:
        if os.environ.get("CI") == "true" and os.environ.get("PYTEST_DLLAMA_NO_BROWSER") != "1":
            pytest.fail(browsers.MISSING, pytrace=False)
        pytest.skip(browsers.MISSING)
    with browsers.opened(found, f"user-data-dir={tmp_path_factory.mktemp('profile')}") as driver:
        yield driver


@pytest.fixture
def browser(driver: Any, page: Path) -> Any:
    """The page as it opens, whatever was done to it before."""
    driver.get(page.as_uri())
    return driver


def _sized(browser: Any, width: int, height: int = 900) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def test_it_loads_nothing_and_complains_of_nothing(browser: Any) -> None:
    assert browser.execute_script(REQUESTED) == []
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


def _column(browser: Any, table: Any, index: int) -> list[str]:
    script = "return [...arguments[0].tBodies[0].rows].map((r) => r.cells[arguments[1]].innerText)"
    return list(browser.execute_script(script, table, index))


def test_tables_sort_by_number_and_by_text(browser: Any) -> None:
    table = browser.find_element("css selector", "table")
    buttons = table.find_elements("css selector", "th button")
    tpot = [button.text for button in buttons].index("TPOT (ms)")
    before = _column(browser, table, tpot)
    cells = _column(browser, table, 0)
    buttons[tpot].click()
    assert _column(browser, table, tpot) == sorted(before, key=float)
    heading = table.find_elements("css selector", "th")[tpot]
    assert heading.get_attribute("aria-sort") == "ascending"
    buttons[tpot].click()
    assert _column(browser, table, tpot) == sorted(before, key=float, reverse=True)
    buttons[0].click()
    assert _column(browser, table, 0) == sorted(cells)


def test_long_tables_filter(browser: Any) -> None:
    browser.execute_script("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    field = browser.find_elements("css selector", "input.filter")[-1]
    table = field.find_element("xpath", "following-sibling::div[1]//table")
    rows = table.find_elements("css selector", "tbody tr")
    wanted = rows[0].text.split()[0]
    field.send_keys(wanted)
    shown = [row for row in rows if row.is_displayed()]
    assert 0 < len(shown) < len(rows)
    assert all(wanted.lower() in row.text.lower() for row in shown)


@pytest.mark.parametrize("width", [400, 1000])
def test_the_page_never_scrolls_sideways(browser: Any, width: int) -> None:
    _sized(browser, width)
    script = "document.querySelectorAll('details').forEach((d) => { d.open = true }); "
    script += "return [document.documentElement.scrollWidth, innerWidth]"
    scrolled, inner = browser.execute_script(script)
    assert inner == width
    assert scrolled <= inner


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_read_it(browser: Any, theme: str) -> None:
    """Contrast, alternative texts, names of fields and the like, by axe-core."""
    _sized(browser, 1000)
    browsers.themed(browser, theme)
    tester = Axe(browser)
    tester.inject()
    found = tester.run()
    assert len(found["passes"]) > 10
    violations = found["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == []


def test_a_dark_page_has_dark_pictures(browser: Any) -> None:
    script = (
        "return [document.body, document.querySelector('svg path')]"
        ".map((one, i) => getComputedStyle(one)[i ? 'fill' : 'backgroundColor'])"
    )
    colours = {}
    for theme in ("light", "dark"):
        browsers.themed(browser, theme)
        colours[theme] = browser.execute_script(script)
    assert colours == {"light": ["rgb(255, 255, 255)"] * 2, "dark": ["rgb(13, 17, 23)"] * 2}


def test_marks_tell_their_values(browser: Any) -> None:
    titles = browser.execute_script(
        "return [...document.querySelectorAll('svg title')].map((one) => one.textContent)"
    )
    assert any("REGRESSED" in title for title in titles)


def test_paper_shows_what_is_folded(browser: Any) -> None:
    browser.execute_script(
        "document.querySelectorAll('details').forEach((d) => { d.open = false })"
    )
    browsers.themed(browser, "light")
    script = "return document.querySelectorAll('details:not([open])').length"
    assert browser.execute_script(script) > 5
    browser.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert browser.execute_script(script) == 0
    browser.execute_script("dispatchEvent(new Event('afterprint'))")
    assert browser.execute_script(script) > 5


@pytest.fixture(scope="module")
def trend_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trend")
    store = RunStore(folder / "h", CLUSTER)
    for night in range(6):
        cells = [night_cell([10.0 + night // 3]), night_cell([20.0 + night // 3], nodes=4)]
        store.add(night_run(night, cells))
    (page,) = write_trend(Trends(CLUSTER, trends(store), {}), folder, ["en"], ["html"])
    return page


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_of_trends_is_as_good(browser: Any, trend_page: Path, theme: str) -> None:
    browser.get(trend_page.as_uri())
    browsers.themed(browser, theme)
    assert browser.execute_script(REQUESTED) == []
    table = browser.find_element("css selector", "table")
    buttons = table.find_elements("css selector", "th button")
    change = [button.text for button in buttons].index("Change")
    most_first = _column(browser, table, change)
    assert most_first[0] == "10.0%"
    buttons[change].click()
    assert _column(browser, table, change) == most_first[::-1]
    buttons[change].click()
    assert _column(browser, table, change) == most_first
    _sized(browser, 400)
    script = "return [document.documentElement.scrollWidth, innerWidth]"
    assert browser.execute_script(script) == [400, 400]
    tester = Axe(browser)
    tester.inject()
    violations = tester.run()["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == []
