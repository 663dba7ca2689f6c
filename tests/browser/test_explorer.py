"""The explorer in a real browser: its numbers are gdjax's, and every control does what it says."""

import io
import itertools
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import image
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import gdjax
from gdjax import schedules, transforms
from gdjax.report import explorer
from gdjax.report.explorer import facts, page, section

PHONE = 390, 844
CANVASES = ("contour", "losses", "correction", "noise", "boundary")
SNAPSHOT = "return document.querySelector(`.${arguments[0]} canvas`).toDataURL()"
STATE = "return document.querySelector('.gdjax-explorer').explorer.state"


@pytest.fixture(scope="module")
def addresses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    for language in ("en", "ko"):
        (folder / f"{language}.html").write_text(page(language), "utf-8")
    return {language: (folder / f"{language}.html").as_uri() for language in ("en", "ko")}


@pytest.fixture
def media(started):
    """A function that says what the reader prefers; by default nothing moves by itself."""

    def prefer(**features):
        found = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
        started.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": found})

    prefer(reduced_motion="reduce")
    yield prefer
    started.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def opened(driver, media, addresses, drawn):
    """A function that opens the page at a fragment."""

    def at(fragment="", language="en"):
        driver.get("about:blank")
        driver.get(addresses[language] + fragment)
        drawn()
        return driver

    return at


def one(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, f".gdjax-explorer {selector}")


def state(driver):
    return driver.execute_script(STATE)


def fragment(driver):
    return driver.execute_script("return location.hash")


def ends(driver):
    """Where the three paths end."""
    return driver.execute_script(
        "return document.querySelector('.gdjax-explorer').explorer.paths.map(({theta}) => [...theta.slice(-2)])"
    )


def pictures(driver):
    return {name: driver.execute_script(SNAPSHOT, name) for name in CANVASES}


def left(driver):
    """At which update each path left the frame."""
    return driver.execute_script("return document.querySelector('.gdjax-explorer').explorer.paths.map((p) => p.left)")


def unfold(driver):
    driver.execute_script("document.querySelector('.gdjax-explorer details').open = true")


# ---- Its numbers are gdjax's.

SIZES = (None, 1, 7, 16, 50)
SETTINGS = 100


def regression(standardize, rotate):
    """The data behind the two toggles, in NumPy."""
    x, y = (np.asarray(facts()[name]) for name in "xy")
    if rotate:
        x = x @ np.asarray([[1, -1], [1, 1]]) / np.sqrt(2)
    return (x / np.sqrt(np.mean(x**2, axis=0)) if standardize else x), y


def random_settings():
    """Random, but each optimizer with each batch size, so that gdjax compiles no more programs than there are pairs."""
    rng = np.random.default_rng(0)
    names = ("gd", "momentum", "heavy_ball", "rmsprop", "adam", "uncorrected")
    pairs = list(itertools.product(names, SIZES))
    laws = ("constant", "inverse", "step", "exponential")
    for i in range(SETTINGS):
        name, rows = pairs[i % len(pairs)]
        yield {
            "optimizer": "adam" if name == "uncorrected" else name,
            "corrected": name != "uncorrected",
            "rows": rows,
            "schedule": laws[i % len(pairs) % len(laws)],
            "rate": float(10 ** rng.uniform(-2.5, 0.1 if name in ("gd", "momentum") else -1)),
            "b1": float(rng.uniform(0, 0.98)),
            "b2": float(1 - 10 ** rng.uniform(-3.5, -0.5)),
            "half": int(rng.integers(1, 8)),
            "standardize": bool(rng.integers(2)),
            "rotate": bool(rng.integers(2)),
            "start": rng.uniform((-3, -2), (3, 2.5)).tolist(),
            "seed": int(rng.integers(1_000_000)),
            "epochs": int(rng.integers(1, 9)),
        }


def loss(theta, batch):
    return jnp.mean((batch[0] @ theta - batch[1]) ** 2) / 2


def rate_of(setting):
    rate, half = setting["rate"], setting["half"]
    law = {
        "constant": lambda: rate,
        "inverse": lambda: schedules.inverse_time_decay(rate, 1.0, transition_steps=half),
        "step": lambda: schedules.step_decay(rate, half),
        "exponential": lambda: schedules.exponential_decay(rate, half, 0.5),
    }[setting["schedule"]]()
    return law if setting["schedule"] == "constant" else schedules.per_epoch(law)


def optimizer_of(setting):
    rate, b1, b2 = rate_of(setting), setting["b1"], setting["b2"]
    if setting["optimizer"] == "adam" and not setting["corrected"]:
        steps = transforms.adaptive(direction=transforms.ema(b1), magnitude=transforms.ema_of_squares(b2), eps=1e-8)
        return transforms.clocked(gdjax.chain(steps, transforms.scale_by_learning_rate(rate)))
    return {
        "gd": lambda: gdjax.gd(rate),
        "momentum": lambda: gdjax.momentum(rate, b1),
        "heavy_ball": lambda: gdjax.heavy_ball(rate, b1),
        "rmsprop": lambda: gdjax.rmsprop(rate, b2),
        "adam": lambda: gdjax.adam(rate, b1, b2),
    }[setting["optimizer"]]()


def trained(setting):
    """Where gdjax itself ends."""
    regime = gdjax.full_batch() if setting["rows"] is None else gdjax.mini_batch(setting["rows"])
    data = tuple(map(jnp.asarray, regression(setting["standardize"], setting["rotate"])))
    result = gdjax.fit(
        loss, jnp.asarray(setting["start"]), data, optimizer=optimizer_of(setting), regime=regime,
        epochs=setting["epochs"], seed=setting["seed"], non_finite="keep",
    )  # fmt: skip
    return np.asarray(result.params)


def test_random_settings_end_where_gdjax_ends(opened, x64):
    settings = list(random_settings())
    found = opened().execute_script(
        """const {path, regression} = gdjaxDescent;
        const {data} = JSON.parse(document.querySelector(".gdjax-explorer .facts").textContent);
        return arguments[0].map((s) => [...path(regression(data, s), s.start, s.rows, s).theta.slice(-2)]);""",
        settings,
    )
    for setting, there in zip(settings, found, strict=True):
        here = trained(setting)
        assert np.linalg.norm(here - there) <= 1e-5 * np.linalg.norm(here), setting


def test_orders_are_those_of_gdjax(opened):
    for seed, epoch in ((0, 0), (1, 74), (999_999, 3)):
        there = opened().execute_script("return [...gdjaxDescent.order(120, ...arguments)]", seed, epoch)
        assert there == gdjax.mini_batch(16).order(120, seed, epoch).tolist()


def test_a_remainder_is_a_smaller_batch(opened):
    seen = opened().execute_script(
        """const batches = [];
        const model = {n: 120, size: 1, gradient(theta, ids, first, last, out) {
          batches.push([...ids.slice(first, last)]);
          out[0] = 0;
        }};
        const setting = {optimizer: "gd", schedule: "constant", rate: 1, epochs: 2, seed: 4};
        gdjaxDescent.descend(model, [0], 50, setting, () => {});
        return batches;"""
    )
    assert [len(batch) for batch in seen] == [50, 50, 20, 50, 50, 20]
    for epoch in range(2):
        ids = [i for batch in seen[3 * epoch : 3 * epoch + 3] for i in batch]
        assert ids == gdjax.mini_batch(50).order(120, 4, epoch).tolist()
    counts = "return [1, 2, 3, 4].map((k) => gdjaxDescent.seenAfter(k, 120, 50))"
    assert opened().execute_script(counts) == [50, 100, 120, 170]
    assert one(opened("#size=50"), ".batches").text == "3 updates an epoch, the last of 20 rows"


@pytest.mark.parametrize("toggles", list(itertools.product((False, True), repeat=2)))
@pytest.mark.parametrize("optimizer", ["gd", "momentum", "heavy_ball"])
def test_divergence_begins_where_the_largest_eigenvalue_says(opened, toggles, optimizer):
    x, _ = regression(*toggles)
    setting = {"optimizer": optimizer, "b1": 0.7, "standardize": toggles[0], "rotate": toggles[1]}
    factor = {"gd": 1, "momentum": 1.7 / 0.3, "heavy_ball": 1.7}[optimizer]
    limit = factor * 2 / np.linalg.eigvalsh(x.T @ x / len(x)).max()
    said, early, below, above = opened().execute_script(
        """const [setting, limit] = arguments, {regression, path} = gdjaxDescent;
        const {data} = JSON.parse(document.querySelector(".gdjax-explorer .facts").textContent);
        const problem = regression(data, setting);
        const start = problem.minimum.map((value, j) => value + [0.5, 0.7][j]);
        const fixed = {...setting, schedule: "constant", seed: 0};
        const run = (share, epochs) =>
          path(problem, start, null, {...fixed, rate: share * limit, epochs}).excess.at(-1);
        return [gdjaxDescent.limit(problem, setting), run(1, 0), run(0.99, 4000), run(1.01, 4000)];""",
        setting, limit,
    )  # fmt: skip
    assert said == pytest.approx(limit, rel=1e-12)
    assert below < 1e-9 * early
    assert above is None or above > 1e9 * early  # JSON has no infinity


def test_red_begins_at_that_rate(opened):
    for query, standardize in (("", False), ("#standardize=1&rotate=1", True)):
        driver = opened(query)
        x, _ = regression(standardize, standardize)
        limit = 2 / np.linalg.eigvalsh(x.T @ x / len(x)).max()
        slider = one(driver, "[data-field=rate]")
        share = float(driver.execute_script("return arguments[0].style.getPropertyValue('--limit')", slider))
        least, most = (float(slider.get_attribute(name)) for name in ("min", "max"))
        assert 10 ** (least + share * (most - least)) == pytest.approx(limit, rel=1e-9)
        width = slider.size["width"]
        strip = image.imread(io.BytesIO(slider.screenshot_as_png))[..., :3]
        middle = strip[strip.shape[0] // 2]
        red = np.flatnonzero((middle[:, 0] > 0.7) & (middle[:, 1] < 0.4))
        assert len(red)
        assert abs(red.min() - (9 + share * (width - 18))) <= 4  # a thumb of 18 pixels
    assert "no such limit" in one(opened("#optimizer=adam"), ".limit").text


# ---- Every control does what it says.


@pytest.mark.parametrize(
    ("field", "before", "key", "changed"),
    [
        ("rate", "", Keys.RIGHT, {"contour", "losses", "noise", "boundary"}),
        ("size", "", Keys.RIGHT, {"contour", "losses", "boundary"}),
        ("optimizer", "", "h", {"contour", "losses", "noise", "boundary"}),
        ("b1", "#optimizer=momentum", Keys.LEFT, {"contour", "losses", "correction", "noise", "boundary"}),
        ("b2", "#optimizer=adam", Keys.LEFT, {"contour", "losses", "correction", "noise", "boundary"}),
        ("corrected", "#optimizer=adam", Keys.SPACE, {"contour", "losses", "noise", "boundary"}),
        ("standardize", "", Keys.SPACE, {"contour", "losses", "noise"}),
        ("rotate", "", Keys.SPACE, {"contour", "losses", "noise"}),
        ("schedule", "", "e", {"contour", "losses", "noise", "boundary"}),
        ("half", "#schedule=step", Keys.RIGHT, {"contour", "losses", "noise", "boundary"}),
        ("epochs", "", Keys.LEFT, {"contour", "losses", "noise", "boundary"}),
        ("seed", "", Keys.UP, {"contour", "losses", "noise", "boundary"}),
    ],
)
def test_a_control_changes_state_fragment_and_pictures(opened, resized, drawn, field, before, key, changed):
    driver = opened(before)
    unfold(driver)
    resized((1280, 1800))
    drawn()
    was, drawn_before = state(driver), pictures(driver)
    control = one(driver, f"[data-field={field}]")
    assert control.is_displayed()
    presses = 3 if key in (Keys.LEFT, Keys.RIGHT) else 1
    for _ in range(presses):
        control.send_keys(key)
    driver.execute_script("document.activeElement.blur()")
    drawn()
    now, drawn_after = state(driver), pictures(driver)
    moved = {name for name in now if now[name] != was[name]}
    assert moved == {field} | ({"start"} if field in ("standardize", "rotate") else set())
    value = now[field]
    told = dict(pair.split("=") for pair in fragment(driver).lstrip("#").split("&"))
    assert told[field] == (str(int(value)) if isinstance(value, bool) else str(value))
    # A first change also leaves the ghost, which contour and losses show.
    assert {name for name in CANVASES if drawn_before[name] != drawn_after[name]} == changed
    reached = ends(driver)
    for _ in range(presses):
        driver.back()
        drawn()
    assert state(driver) == was
    for _ in range(presses):
        driver.forward()
        drawn()
    assert state(driver) == now
    assert ends(driver) == reached


def test_a_fragment_is_a_state_and_nonsense_is_none(opened):
    driver = opened(
        "#rate=0.3&size=50&optimizer=adam&b1=0.5&rotate=1&schedule=step&half=4&seed=7&start=1,2&show=bs&at=600"
    )
    found = state(driver)
    assert (found["rate"], found["size"], found["optimizer"], found["b1"]) == (0.3, 50, "adam", 0.5)
    assert (found["rotate"], found["schedule"], found["half"], found["seed"]) == (True, "step", 4, 7)
    assert (found["start"], found["show"], found["at"]) == ([1, 2], "bs", 600)
    assert one(driver, "[data-field=optimizer]").get_attribute("value") == "adam"
    assert [each.is_selected() for each in driver.find_elements(By.CSS_SELECTOR, "[data-show]")] == [True, False, True]
    plain = state(opened())
    assert state(opened("#rate=-1&size=x&optimizer=toString&b1=1&start=1&show=q&at=&%%%=1&rate=%")) == plain


def test_a_start_is_moved_by_keys_and_by_pointer(opened, drawn):
    driver = opened()
    was, shown = state(driver)["start"], driver.execute_script(SNAPSHOT, "contour")
    handle = one(driver, "button.start")
    handle.send_keys(Keys.RIGHT, Keys.UP)
    handle.send_keys(Keys.SHIFT, Keys.RIGHT)
    drawn()
    assert state(driver)["start"] == pytest.approx([was[0] + 0.3, was[1] + 0.05])
    assert driver.execute_script(SNAPSHOT, "contour") != shown
    assert (
        driver.execute_script("return getComputedStyle(document.querySelector('button.start')).outlineStyle") == "solid"
    )
    where = handle.rect
    mouse = {"button": "left", "clickCount": 1}
    x, y = where["x"] + where["width"] / 2, where["y"] + where["height"] / 2
    for kind, place in (("mousePressed", (x, y)), ("mouseMoved", (x + 110, y)), ("mouseReleased", (x + 110, y))):
        event = {"type": kind, "x": place[0], "y": place[1], "buttons": 1, **mouse}
        driver.execute_cdp_cmd("Input.dispatchMouseEvent", event)
    drawn()
    assert state(driver)["start"] == pytest.approx([was[0] + 1.3, was[1] + 0.05], abs=0.03)  # 110 pixels are 1
    start = ",".join(map(str, state(driver)["start"]))
    assert f"start={start}" in fragment(driver)


def test_paths_are_switched_on_and_off(opened, drawn):
    driver = opened()
    shown = {name: driver.execute_script(SNAPSHOT, name) for name in ("contour", "losses", "boundary")}
    one(driver, "[data-show=s]").click()
    drawn()
    assert fragment(driver) == "#show=bm"
    driver.execute_script("document.querySelector('.boundary').scrollIntoView()")
    drawn()
    assert all(driver.execute_script(SNAPSHOT, name) != picture for name, picture in shown.items())


def test_the_scrubber_and_the_player(opened, media, drawn):
    driver = opened()
    assert one(driver, ".position").text == "9,000 examples, epoch 75.0"  # nothing moves by itself here
    scrubber = one(driver, ".scrubber")
    scrubber.send_keys(Keys.HOME)
    drawn()
    assert fragment(driver) == "#at=0"
    assert [each.text for each in driver.find_elements(By.CSS_SELECTOR, ".regimes .status")] == ["0 updates"] * 3
    first = driver.execute_script(SNAPSHOT, "contour")
    one(driver, ".play").click()
    assert one(driver, ".play").get_attribute("aria-label") == "Pause"
    seen = "return document.querySelector('.gdjax-explorer').explorer.seen"
    driver.execute_async_script("setTimeout(arguments[0], 400)")
    reached = driver.execute_script(seen)
    assert 0 < reached < 9000
    one(driver, ".play").click()
    drawn()
    assert driver.execute_script(seen) >= reached
    assert driver.execute_script(SNAPSHOT, "contour") != first
    assert int(fragment(driver).removeprefix("#at=")) == pytest.approx(driver.execute_script(seen), abs=1)
    media(reduced_motion="no-preference")
    assert opened().execute_script("return document.querySelector('.play').classList.contains('playing')")


def test_another_shuffle_and_starting_over(opened, drawn):
    driver = opened("#rate=0.2")
    unfold(driver)
    before = ends(driver)
    one(driver, ".shuffle").click()
    assert fragment(driver) == "#rate=0.2&seed=1"
    after = ends(driver)
    assert after[0] == before[0]
    assert after[1] != before[1]
    assert after[2] != before[2]
    one(driver, ".reset").click()
    assert fragment(driver) in ("", "#")
    assert state(driver)["rate"] == 0.1


def test_the_path_before_a_change_stays_as_a_ghost(opened, drawn):
    driver = opened("#show=b")
    before = ends(driver)[0]
    one(driver, "[data-field=rate]").send_keys(Keys.RIGHT)
    ghost = "return [...document.querySelector('.gdjax-explorer').explorer.ghost[0].theta.slice(-2)]"
    assert driver.execute_script(ghost) == before
    assert ends(driver)[0] != before


def test_a_path_that_diverges_says_where_it_left(opened):
    driver = opened("#rate=2.2&show=b")
    found = left(driver)[0]
    places = driver.execute_script("return [...document.querySelector('.gdjax-explorer').explorer.paths[0].theta]")
    places = np.reshape(places, (-1, 2))
    outside = (np.abs(places) > (3, 2.5)).any(axis=1) | (places[:, 1] < -2)
    assert outside[found]
    assert not outside[found - 1]
    assert one(driver, ".regimes .batch .status").text == f"left at update {found}"
    assert "beyond 2: batch descent diverges" in one(driver, ".limit").text
    assert left(opened())[0] is None
    assert f"left at update {found}" not in one(driver, ".regimes .batch .status").text


def test_adam_is_not_rotation_invariant_and_gradient_descent_is(opened, drawn):
    def losses(query):
        return opened(query).execute_script(
            "return document.querySelector('.gdjax-explorer').explorer.paths.map(({excess}) => excess.at(-1))"
        )

    for optimizer, same in (("gd", True), ("heavy_ball", True), ("adam", False)):
        plain = opened(f"#optimizer={optimizer}&rate=0.02")
        straight = losses(f"#optimizer={optimizer}&rate=0.02")
        one(plain, "[data-field=rotate]").click()
        turned = plain.execute_script(
            "return document.querySelector('.gdjax-explorer').explorer.paths.map(({excess}) => excess.at(-1))"
        )
        assert (turned == pytest.approx(straight, rel=1e-2)) is same  # the start is kept to four digits


def test_nine_thousand_updates_take_some_ten_milliseconds(opened):
    milliseconds = opened().execute_script(
        """const {data} = JSON.parse(document.querySelector(".gdjax-explorer .facts").textContent);
        const problem = gdjaxDescent.regression(data, {});
        const schedule = {schedule: "exponential", half: 9, rate: 0.1, epochs: 75, seed: 0};
        const setting = {optimizer: "adam", b1: 0.9, b2: 0.99, corrected: true, ...schedule};
        const times = [];
        for (let i = 0; i < 20; i++) {
          const begun = performance.now();
          gdjaxDescent.path(problem, [0, 0], 1, setting);
          times.push(performance.now() - begun);
        }
        return Math.min(...times);"""
    )
    assert milliseconds < 20


# ---- Two languages, two sizes, nothing from outside.


def test_korean_is_korean_throughout(opened, drawn):
    driver = opened(language="ko")
    names = r"RMSProp|Adam|tanh|English|θ|α|β|λ|[mvgstT√ε/()·←\d₁₂ₘₐₓ−+.,%★□ᵗ½^⌊⌋²:–\-]|\s"
    for query in ("", "#optimizer=adam", "#rate=3&schedule=step", "#optimizer=rmsprop&size=50"):
        driver = opened(query, "ko")
        unfold(driver)
        texts = driver.execute_script(
            """const root = document.querySelector(".gdjax-explorer"), texts = [];
            const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
            while (walk.nextNode()) {
              if (!walk.currentNode.parentElement.closest("script, style")) texts.push(walk.currentNode.data);
            }
            for (const each of root.querySelectorAll("[aria-label]")) texts.push(each.getAttribute("aria-label"));
            return texts;"""
        )
        assert not [text for text in texts if re.search("[A-Za-z]", re.sub(names, "", text))]
        assert driver.execute_script("return document.documentElement.lang") == "ko"
        assert driver.title == "배치, 미니배치, 확률적 경사 하강법"
    one(driver, "button[data-language=en]").click()
    drawn()
    assert "lang=en" in fragment(driver)
    assert one(driver, "h1").text == "Batch, mini-batch and stochastic descent"


def test_words_are_the_same_in_both_languages():
    english, korean = (json.loads(explorer._read("words.json"))[language] for language in ("en", "ko"))
    assert list(english) == list(korean)
    for key, words in english.items():
        if isinstance(words, dict):
            assert list(words) == list(korean[key])
        else:
            assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", korean[key]))


@pytest.mark.parametrize(
    ("size", "language", "query"),
    [
        ((1280, 900), "en", ""),
        ((1280, 900), "ko", "#optimizer=adam&rotate=1"),
        (PHONE, "en", "#optimizer=adam&rotate=1"),
        (PHONE, "ko", ""),
        (PHONE, "en", "#rate=2.5"),
        ((375, 667), "ko", "#rate=2.5"),
    ],
)
def test_it_is_drawn_and_fits(opened, resized, drawn, size, language, query):
    resized(size)
    driver = opened(query, language)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= size[0]
    for name in CANVASES:
        driver.execute_script("document.querySelector(`.${arguments[0]}`).scrollIntoView({block: 'center'})", name)
        drawn()
        box = one(driver, f".{name}")
        picture = image.imread(io.BytesIO(box.screenshot_as_png))[..., :3]
        assert len(np.unique((picture * 255).astype(int).reshape(-1, 3), axis=0)) > 12, name


def test_every_control_is_native_named_and_reached_by_keys(opened):
    driver = opened("#optimizer=adam&schedule=step")
    unfold(driver)
    controls = driver.find_elements(By.CSS_SELECTOR, ".gdjax-explorer :is(input, select, button, summary)")
    assert len(controls) == 23
    unnamed = [each for each in controls if each.tag_name != "summary" and not each.accessible_name]
    assert not unnamed
    assert {each.tag_name for each in controls} == {"input", "select", "button", "summary"}
    for canvas in driver.find_elements(By.CSS_SELECTOR, ".gdjax-explorer :is(.contour, .losses) canvas"):
        assert canvas.accessible_name


def test_the_page_asks_nothing_of_the_network():
    for text in (page(), section()):
        assert not re.search(r"\bsrc=|@import|url\(|fetch\(|XMLHttpRequest|https?://", text)
    assert 'href="data:,"' in page()
    with pytest.raises(ValueError, match="language"):
        page("fr")


def test_sections_stand_in_another_page_and_do_not_clash(driver, media, drawn, tmp_path):
    path = tmp_path / "both.html"
    rest = '<p class="controls play" id="other">a page</p><input type="range" id="slider">'
    path.write_text(f"<!doctype html><meta charset=utf-8>{rest}{section('en')}{section('ko')}", "utf-8")
    driver.get("about:blank")
    bare = tmp_path / "bare.html"
    bare.write_text(f"<!doctype html><meta charset=utf-8>{rest}", "utf-8")

    def styles():
        return driver.execute_script(
            "return ['other', 'slider'].map((id) => { const s = getComputedStyle(document.getElementById(id));"
            "return [s.display, s.font, s.appearance, s.color, s.padding, s.background]; })"
        )

    driver.get(bare.as_uri())
    alone = styles()
    driver.get(path.as_uri())
    drawn()
    assert styles() == alone
    assert driver.execute_script("return Object.keys(globalThis).filter((name) => /descent|explorer/i.test(name))") == [
        "gdjaxDescent"
    ]
    roots = driver.find_elements(By.CLASS_NAME, "gdjax-explorer")
    assert [root.find_element(By.TAG_NAME, "h2").text[:2] for root in roots] == ["Ba", "배치"]
