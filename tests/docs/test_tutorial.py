"""The tutorial in both languages: every cell runs, every picture draws, and what the text says is what came out."""

import ast
import logging
import math
import pathlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
from docs.cells import cells

DOCS = pathlib.Path(__file__).parents[2] / "docs"
ENGLISH, KOREAN = DOCS / "tutorial.md", DOCS / "ko" / "tutorial.md"
FONT_CELL = 1
"""Of the Korean page alone: it registers a font."""


class Complaints(logging.Handler):
    """What matplotlib logs instead of warning: a glyph that mathematics lacks, a font not found."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def executed(page):
    """The namespace after all cells; every picture is drawn, and nothing may be missing in it."""
    namespace, complaints = {"__name__": "__main__"}, Complaints()
    logging.getLogger("matplotlib").addHandler(complaints)
    try:
        with plt.rc_context():
            for number, code in enumerate(cells(page)):
                exec(compile(code, f"{page.name}, cell {number}", "exec"), namespace)
                for figure in map(plt.figure, plt.get_fignums()):
                    figure.canvas.draw()
                plt.close("all")
    finally:
        logging.getLogger("matplotlib").removeHandler(complaints)
    assert complaints.messages == []
    return namespace


@pytest.fixture(scope="module")
def english():
    return executed(ENGLISH)


@pytest.fixture(scope="module")
def korean(english):
    return executed(KOREAN)


def skeleton(code):
    """The code without comments (a tree has none) and without the text of its strings."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
        if isinstance(node, ast.JoinedStr):  # words may stand in another order
            node.values = sorted((part for part in node.values if isinstance(part, ast.FormattedValue)), key=ast.dump)
    return ast.dump(tree)


def test_both_languages_have_the_same_code():
    ours, theirs = cells(ENGLISH), cells(KOREAN)
    assert "addfont" in theirs.pop(FONT_CELL)
    assert len(ours) == len(theirs) > 15
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert skeleton(one) == skeleton(other), f"cell {number}"


def test_the_cells_are_all_there():
    for page in (ENGLISH, KOREAN):
        assert len(cells(page)) == page.read_text("utf-8").count("{code-cell}")


def test_korean_comes_to_the_same(english, korean):
    assert korean["noise"] == english["noise"]
    assert korean["damping"] == english["damping"]
    np.testing.assert_array_equal(korean["needed"], english["needed"])
    for name in ("balls", "smooth", "decays", "claims", "shuffling"):
        for one, other in zip(english[name].values(), korean[name].values(), strict=True):
            assert np.all(one == other), name


def test_numpy_and_gdjax_agree_to_rounding(english):
    assert 0 < english["difference"] < 5e-6


def test_noise_ball(english):
    mean, single = english["each"].mean(axis=0), np.linalg.norm(english["each"], axis=1).mean()
    assert np.linalg.norm(mean) < 1e-12 < 0.1 < single
    drawn, shuffled = english["balls"].values()
    assert 1.8 < (drawn[0] / drawn[-1]) ** (1 / 3) < 2.5 < (shuffled[0] / shuffled[-1]) ** (1 / 3)
    assert (np.diff(drawn) < 0).all()


def test_shuffling(english):
    """In the end all six are within what seeds do; after one epoch sorted rows unshuffled are far behind."""
    losses = np.array([loss for loss, _ in english["shuffling"].values()])
    spreads = np.array([spread for _, spread in english["shuffling"].values()])
    assert np.ptp(losses) < 2 * spreads.mean()
    beginnings = english["beginnings"]
    others = [loss for case, loss in beginnings.items() if case != ("sorted by class", False)]
    assert beginnings["sorted by class", False] > 2 * max(others)


def test_batch_size(english):
    noise = english["noise"]
    assert 1.5 < (noise[1] / noise[256]) ** (1 / 4) < 2.5
    updates, examples, _ = np.array(list(english["cost"].values())).T
    assert (np.diff(updates) <= 0).all()
    assert (np.diff(examples) >= 0).all()
    assert updates[-2] < 1.5 * updates[-1]
    assert examples[-1] > 5 * examples[0]


def test_powers_of_two_are_measured(english):
    """What came out is the machine's; that each size was timed by turns is ours."""
    assert set(english["powers"]) == {64, 128}
    assert english["turns"].shape == (12, len(english["sizes"]))
    assert (english["turns"] > 0).all()


def test_momentum(english):
    betas, equal, tuned = english["betas"], english["equal"], english["tuned"]
    assert betas[tuned.argmin()] == 0.4
    assert tuned[0] / tuned.min() > 2
    assert equal[betas <= 0.8].min() > 0.7 * equal[0]
    assert equal[-1] == math.inf
    (rough, large), (even, small) = english["smooth"].values()
    assert rough < 0.1 < 0.8 < even
    assert 0.8 < small / large < 1.2


def test_bias_correction(english):
    corrected, direction, both = english["steps"].values()
    np.testing.assert_allclose(corrected, 1, rtol=1e-5)
    np.testing.assert_allclose(direction[0], 0.1, rtol=1e-5)
    np.testing.assert_allclose(both[0], math.sqrt(10), rtol=1e-5)
    assert 10 <= both.argmax() <= 13
    assert np.sum(both > 1.1) > 1000


def test_claims_for_adam(english):
    claims, damping = english["claims"], english["damping"]
    for data in ("digits", "breast_cancer"):
        gd, momentum, adam = (claims[data, kind] for kind in ("gd", "momentum", "adam"))
        ends = [row["after 10"] for row in (gd, momentum, adam)]
        assert max(ends) - min(ends) < 2 * max(row["spread"] for row in (gd, momentum, adam))
        assert momentum["usual"] < adam["usual"]
    assert claims["digits", "gd"]["usual"] > 5
    assert claims["digits", "adam"]["good rates"] > claims["digits", "gd"]["good rates"]
    assert claims["breast_cancer", "adam"]["good rates"] < claims["breast_cancer", "gd"]["good rates"]
    assert damping["gd"][0] < 0.7 * damping["adam"][0]
    assert damping["gd"][1] > 0.9 * damping["gd"][0] > 20 > damping["adam"][1]
    assert damping["momentum"][1] < 20


def test_decays(english):
    constant, inverse, step, exponential, plateau = english["decays"].values()
    assert constant > 2 * inverse > 4 * step > 8 * plateau
    assert 0.5 < step / exponential < 2


def test_defaults(english):
    defaults = english["defaults"]
    assert [defaults["AdamW", which]["weight decay"] for which in ("optax", "PyTorch", "Keras")] == [1e-4, 1e-2, 4e-3]
    assert [defaults["RMSProp", which]["decay"] for which in ("optax", "PyTorch", "Keras")] == [0.9, 0.99, 0.9]
    assert [defaults["Adam", which]["ε"] for which in ("optax", "PyTorch", "Keras")] == [1e-8, 1e-8, 1e-7]
    assert defaults["SGD", "optax"]["rate"] == "none"
    np.testing.assert_allclose(english["same_path"], english["ours"], atol=1e-5)


def test_take_home(english):
    task, result = english["task"], english["result"]
    assert float(task.accuracy(result.params, task.test)) > 0.93
