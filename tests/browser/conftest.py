"""A real headless Chromium, one for all tests; a page that complains on its console fails the test."""

import shutil

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip

DESKTOP, PHONE = (1280, 900), (390, 844)


def installed(*names):
    """The first of these programs that is there."""
    found = next(filter(None, map(shutil.which, names)), None)
    assert found, f"These tests need a browser: install one of {', '.join(names)}."
    return found


@pytest.fixture(scope="session")
def chromium():
    options = webdriver.ChromeOptions()
    options.binary_location = installed("chromium", "chromium-browser", "google-chrome")
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(installed("chromedriver")))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def browser(chromium):
    """The browser at desktop size with an empty console, which must stay empty; pages do not move by themselves."""
    chromium.get("about:blank")
    chromium.get_log("browser")
    resize(chromium, *DESKTOP)
    media(chromium, motion="reduce")
    yield chromium
    assert chromium.get_log("browser") == []


def resize(driver, width, height):
    """The size of the page's window in CSS pixels."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def media(driver, *, motion="no-preference", scheme="light"):
    """What the reader prefers."""
    features = [
        {"name": "prefers-reduced-motion", "value": motion}, {"name": "prefers-color-scheme", "value": scheme},
    ]  # fmt: skip
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def drawn(driver):
    """Wait until what was asked for is drawn."""
    frame = "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(arguments[0], 30)))"
    driver.execute_async_script(frame)


@pytest.fixture
def at_size(browser):
    """`at_size(width, height)` resizes the window."""
    return lambda width, height: resize(browser, width, height)
