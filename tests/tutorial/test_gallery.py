"""The gallery: every cell runs, every picture draws, and what the text says of the pictures is so."""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
import pytest
from tutorial.cells import cells

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "gallery.md"


@pytest.fixture(scope="module")
def page():
    """(the names that the page leaves, how many figures each cell draws)."""
    namespace, drawn = {"__name__": "__main__"}, []
    for number, code in enumerate(cells(PAGE)):
        exec(compile(code, f"{PAGE.name}, cell {number}", "exec"), namespace)
        for figure in map(plt.figure, plt.get_fignums()):
            figure.canvas.draw()
        drawn.append(len(plt.get_fignums()))
        plt.close("all")
    return namespace, drawn


def test_each_section_has_a_picture(page):
    text = PAGE.read_text("utf-8")
    assert page[1] == [0, 0, 1, 1, 1, 1, 1, 1]
    assert text.count("\n## ") == sum(page[1])


def test_momentum_comes_further_along_the_valley_than_descent(page):
    names, _ = page
    paths = names["tuned"](names["rosenbrock"], [-1.2, 1.0], 500)
    ends = {label.split(",")[0]: names["rosenbrock"](path[-1]) for label, path in paths.items()}
    assert ends["momentum"] < ends["gd"] / 5
    for path in paths.values():
        heights = names["jax"].vmap(names["rosenbrock"])(path)
        assert heights.max() <= heights[0]


def test_at_the_saddle_those_that_divide_leave_and_the_others_wait(page):
    names, _ = page
    ends = {name: float(names["saddle"](path[-1])) for name, path in names["paths"].items()}
    assert max(ends["rmsprop"], ends["adam"]) < -0.2  # the least is -1/4
    assert min(ends["gd"], ends["momentum"]) > -0.1


def test_in_the_noisy_valley_an_average_helps_and_a_decay_helps_more(page):
    plain, momentum, decayed = page[0]["last_heights"]
    assert decayed < 0.5 * momentum < 0.5 * plain


def test_what_the_last_two_pictures_show(page):
    names, _ = page
    assert names["found"].diverged.any()
    assert all(run.stopped_early for run in names["runs"].values())
    assert all(np.isfinite(run.history.loss).all() for run in names["runs"].values())
