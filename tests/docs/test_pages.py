"""The Python of the front page and of the design page runs, and prints what stands under it."""

import pathlib
import re

import numpy as np

import gdjax

DOCS = pathlib.Path(__file__).parents[2] / "docs"


def run(page):
    """(the names that a page's code leaves, what it printed)."""
    text = (DOCS / page).read_text("utf-8")
    lines = []
    names = {"print": lines.append}
    for code in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(code, names)
    return names, lines


def test_front_page():
    text = (DOCS / "index.md").read_text("utf-8")
    (shown,) = re.findall(r"^```text\n\[(.*?)\]\n(.*?)\n```", text, re.DOTALL | re.MULTILINE)
    _, (losses, accuracy) = run("index.md")
    np.testing.assert_allclose(losses, [float(word) for word in shown[0].split()], rtol=0.05)
    np.testing.assert_allclose(accuracy, float(shown[1]), atol=0.02)


def test_design_page():
    names, (after, slope, first, second) = run("design.md")
    gradient = np.array([0.3, -2.0])
    ours, theirs = (
        optimizer.update(gradient, optimizer.init(gradient))[0] for optimizer in (names["adam"], gdjax.adam(1e-3))
    )
    np.testing.assert_array_equal(ours, theirs)
    assert after.shape == (3,)
    assert slope < 0
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(np.sort(first), np.arange(10))
