"""The report of a real comparison, in a real browser."""

import io
import json
import re

import numpy as np
import pytest
from matplotlib import image
from selenium.webdriver.common.by import By

import gdjax
from gdjax import tasks
from gdjax.report.baselines import baselines
from gdjax.report.page import page
from gdjax.report.schedules import schedules_for
from gdjax.report.text import verdict

PHONE = 390, 844


@pytest.fixture(scope="module")
def comparison():
    task = tasks.load("moons", rows=200)
    return gdjax.compare(
        task.loss, task.init, task.train, optimizers={"gd": gdjax.gd, "adam": gdjax.adam},
        regimes=[gdjax.full_batch(), gdjax.mini_batch(16), gdjax.stochastic()],
        schedules={"step": schedules_for(4)["step"]},
        validation=task.validation, test=task.test, metrics=task.metrics, epochs=4, seeds=3, baselines=baselines(task),
    )  # fmt: skip


@pytest.fixture(scope="module")
def address(comparison, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page(comparison, verdict(comparison, "moons"), "moons", "print('again')"), "utf-8")
    return path.as_uri()


@pytest.fixture
def opened(driver, address):
    driver.get(address)
    return driver


def column(driver, heading):
    """What the table's rows, without the baselines, show under a heading."""
    headings = [each.text.strip(" ↑↓") for each in driver.find_elements(By.CSS_SELECTOR, "#table th")]
    rows = driver.find_elements(By.CSS_SELECTOR, "#table tbody tr:not(.baseline)")
    return [row.find_elements(By.TAG_NAME, "td")[headings.index(heading)].text for row in rows]


def heading(driver, words):
    return next(b for b in driver.find_elements(By.CSS_SELECTOR, "#table th button") if b.text.strip(" ↑↓") == words)


def drawn(driver, chart):
    """The names of the lines of a chart."""
    return driver.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} polyline`)].map((line) => line.dataset.name)", chart
    )


def points(driver, chart, name):
    """Where a line's points lie, in pixels [points, 2]."""
    text = driver.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} polyline`)]"
        ".find((line) => line.dataset.name === arguments[1]).getAttribute('points')", chart, name,
    )  # fmt: skip
    return np.asarray([[float(x) for x in point.split(",")] for point in text.split()])


def switch(driver, group, value):
    driver.find_element(By.CSS_SELECTOR, f"#{group} input[value='{value}']").click()


def test_the_verdict_is_first_and_five_questions_are_answered(opened, comparison):
    assert opened.find_element(By.TAG_NAME, "h1").text == verdict(comparison, "moons")
    assert len(opened.find_elements(By.CSS_SELECTOR, ".answers dt")) == 5
    assert all(each.text for each in opened.find_elements(By.CSS_SELECTOR, ".answers dd"))
    assert "print('again')" in opened.find_element(By.CSS_SELECTOR, "pre code").text


def test_the_table_is_the_comparison(opened, comparison):
    assert column(opened, "optimizer") == [row.optimizer for row in comparison.rows]
    assert column(opened, "=") == [{True: "=", False: "", None: "?"}[row.tied] for row in comparison.rows]
    baseline = [each.text for each in opened.find_elements(By.CSS_SELECTOR, "#table tr.baseline")]
    assert len(baseline) == 2
    assert all(name in text for name, text in zip(comparison.baselines, baseline, strict=True))


@pytest.mark.parametrize("words", ["rate", "test loss", "updates", "seconds"])
def test_the_table_sorts_by_numbers(opened, words):
    heading(opened, words).click()
    up = [float(re.match(r"[\d.,e-]+", text)[0].replace(",", "")) for text in column(opened, words)]
    assert up == sorted(up)
    assert len(set(up)) > 1
    assert heading(opened, words).find_element(By.XPATH, "..").get_attribute("aria-sort") == "ascending"
    heading(opened, words).click()
    down = [float(re.match(r"[\d.,e-]+", text)[0].replace(",", "")) for text in column(opened, words)]
    assert down == up[::-1]


def test_the_table_sorts_by_words_and_baselines_stay_last(opened):
    heading(opened, "regime").click()
    assert column(opened, "regime") == sorted(column(opened, "regime"))
    last = opened.find_elements(By.CSS_SELECTOR, "#table tbody tr")[-1]
    assert last.get_attribute("class") == "baseline"


def test_optimizers_regimes_and_schedules_are_switched_on_and_off(opened, comparison):
    names = {row.name for row in comparison.rows}
    for chart in ("loss", "rate", "gradient"):
        assert set(drawn(opened, chart)) == names
    switch(opened, "optimizers", "adam")
    left = {row.name for row in comparison.rows if row.optimizer != "adam"}
    assert set(drawn(opened, "loss")) == set(drawn(opened, "gradient")) == left
    assert len(opened.find_elements(By.CSS_SELECTOR, "#rates polyline")) == 3
    switch(opened, "regimes", "stochastic")
    left -= {row.name for row in comparison.rows if str(row.regime) == "stochastic"}
    assert set(drawn(opened, "loss")) == left
    switch(opened, "schedules", "step")
    assert set(drawn(opened, "loss")) == {name for name in left if "with step" not in name}
    for name in ("full_batch", "mini_batch(16)"):
        switch(opened, "regimes", name)
    assert drawn(opened, "loss") == []
    assert "Nothing to show." in opened.find_element(By.ID, "loss").text


def test_curves_are_the_validation_losses(opened, comparison):
    best = comparison.best
    found = json.loads(opened.execute_script("return document.getElementById('comparison').textContent"))
    np.testing.assert_allclose(found["rows"][0]["loss"]["mean"], best.validation(), rtol=1e-4)
    place = points(opened, "loss", best.name)
    assert len(place) == len(best.examples)
    heights, losses = place[:, 1], np.log(best.validation())
    share = (heights - heights[0]) / (heights[-1] - heights[0])  # pixels are linear in the logarithm
    np.testing.assert_allclose(share, (losses - losses[0]) / (losses[-1] - losses[0]), atol=0.01)


@pytest.mark.parametrize(("against", "words"), [("updates", "updates"), ("seconds", "seconds of one run")])
def test_what_the_curves_stand_against(opened, comparison, against, words):
    switch(opened, "against", against)
    assert words in opened.find_element(By.ID, "loss").text
    places = {row.name: points(opened, "loss", row.name)[-1, 0] for row in comparison.rows}
    ends = {row.name: row.seconds if against == "seconds" else row.curves.updates[-1] for row in comparison.rows}
    order = sorted(places, key=places.__getitem__)
    np.testing.assert_allclose([ends[name] for name in order], sorted(ends.values()), rtol=1e-2)


def test_pointing_at_a_row_lets_its_curve_stand_out(opened, comparison):
    row = opened.find_elements(By.CSS_SELECTOR, "#table tbody tr")[1]
    opened.execute_script("arguments[0].dispatchEvent(new PointerEvent('pointerenter'))", row)
    lit = opened.execute_script(
        "return [...document.querySelectorAll('#loss polyline.lit')].map((x) => x.dataset.name)"
    )
    assert lit == [comparison.rows[1].name]
    opened.execute_script("arguments[0].dispatchEvent(new PointerEvent('pointerleave'))", row)
    assert not opened.find_elements(By.CSS_SELECTOR, ".lighting")


def test_pointing_at_a_curve_reads_it_out(opened, comparison):
    name = comparison.best.name
    x, y = points(opened, "loss", name)[-1]
    opened.execute_script(
        "const box = document.getElementById('loss').getBoundingClientRect();"
        "document.querySelector('#loss svg').dispatchEvent(new PointerEvent('pointermove',"
        "{clientX: box.left + arguments[0], clientY: box.top + arguments[1]}))", x, y,
    )  # fmt: skip
    assert re.fullmatch(r".+: [\d.,e-]+ at [\d,]+", opened.find_element(By.CSS_SELECTOR, "#loss .readout").text)


def test_rates_have_a_panel_a_regime(opened, comparison):
    captions = [each.text for each in opened.find_elements(By.CSS_SELECTOR, "#rates figcaption")]
    assert set(captions) == {str(row.regime) for row in comparison.rows}
    assert len(opened.find_elements(By.CSS_SELECTOR, "#rates polyline")) == 6


def test_it_asks_nothing_of_the_network(opened):
    assert opened.execute_script("return performance.getEntriesByType('resource').length") == 0


@pytest.mark.parametrize("size", [(1280, 900), PHONE])
def test_it_is_no_wider_than_the_screen_and_not_blank(opened, resized, size):
    resized(size)
    width = opened.execute_script("return document.documentElement.scrollWidth")
    assert width <= size[0]
    pixels = image.imread(io.BytesIO(opened.get_screenshot_as_png()))
    assert pixels[..., :3].std() > 0.02
