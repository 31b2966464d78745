"""A real browser without a window, for pages and for the pictures of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver

MISSING = "no Chromium with its driver (Debian: apt install chromium chromium-driver)"
_PROGRAMS = ("chromium", "google-chrome", "chromium-browser")
_ARGUMENTS = ("headless=new", "no-sandbox", "disable-gpu")


def programs() -> tuple[str, str] | None:
    """The browser and its driver; None where one of them is not installed."""
    program = next(filter(None, map(shutil.which, _PROGRAMS)), None)
    driver = shutil.which("chromedriver")
    return (program, driver) if program and driver else None


@contextmanager
def opened(found: tuple[str, str], *more: str) -> Iterator[webdriver.Chrome]:
    """A browser that keeps what it logs, until the end of the block.

    Args:
        found: the `programs`.
        more: of its arguments, without dashes.
    """
    program, driver = found
    options = webdriver.ChromeOptions()
    for argument in (*_ARGUMENTS, *more):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = program
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    browser.set_script_timeout(60)
    browser.set_page_load_timeout(60)
    try:
        yield browser
    finally:
        browser.quit()


def themed(browser: webdriver.Chrome, theme: str) -> None:
    """Show pages as a system does that prefers `light` or `dark`."""
    feature = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
