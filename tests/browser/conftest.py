"""A real browser: headless Chromium, or Chrome, with its driver. Needs the extra `browser`."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
DESKTOP = 1280, 900

DRAWN = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[arguments.length - 1], 30)))"
"""Calls back once what was asked for before is drawn."""


@pytest.fixture(scope="session")
def started(tmp_path_factory):
    """The browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.fail("these tests need chromium and chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    made = webdriver.Chrome(options=options, service=Service(driver))
    yield made
    made.quit()


@pytest.fixture
def resized(started):
    """A function that makes the window as large as (width, height) in the page's pixels."""

    def to(size):
        width, height = size
        started.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )

    yield to
    started.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.fixture
def driver(started, resized):
    """The browser as wide as a desktop's; what a test opened may not have complained in its console."""
    resized(DESKTOP)
    started.get_log("browser")
    yield started
    complaints = [line for line in started.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
    assert not complaints


@pytest.fixture
def drawn(started):
    """A function that waits until what was asked for is drawn."""
    return lambda: started.execute_async_script(DRAWN)
