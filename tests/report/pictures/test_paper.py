import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest

from gdjax import report
from gdjax.report.pictures.paper import by_label, color, dash, marker, on_axes, plain


def test_axes_in_axes_out_and_pyplot_knows_nothing(axes):
    assert report.plot_schedules(0.1, 5, axes=axes) is axes
    assert plt.get_fignums() == []


def test_without_axes_pyplot_has_a_figure_to_show():
    axes = report.plot_schedules(0.1, 5)
    assert plt.gcf() is axes.figure
    assert axes.figure.get_layout_engine() is not None
    report.plot_schedules(0.1, 5)
    assert len(plt.get_fignums()) == 2


def test_what_is_no_axes_is_named():
    figure, both = plt.subplots(1, 2)
    for wrong in (figure, both, "axes"):
        with pytest.raises(TypeError, match=rf"`axes` must be one Axes of matplotlib, got {type(wrong).__name__}\."):
            on_axes(wrong)


def test_labels():
    assert by_label("runs", 3, "run") == {"": 3}
    assert by_label("runs", {0.1: 3}, "run") == {"0.1": 3}
    with pytest.raises(ValueError, match="`runs` must hold at least one run, got none"):
        by_label("runs", {}, "run")


def test_seven_things_are_told_apart_without_color():
    assert len({str(dash(place)) for place in range(7)}) == 7
    assert len({marker(place) for place in range(8)}) == 8
    assert color(0) == color(8) == "#0072B2"


def test_numbers_of_few_decades_are_plain(axes):
    axes.plot([0.5, 0.7])
    axes.set_yscale("log")
    axes.set_ylim(0.45, 0.75)
    plain(axes.yaxis)
    axes.figure.draw_without_rendering()
    shown = {text.get_text() for text in axes.yaxis.get_minorticklabels()}
    assert {"0.5", "0.6", "0.7"} <= shown
    axes.set_ylim(1e-6, 1e3)
    axes.yaxis.set_major_formatter("{x:e}")
    plain(axes.yaxis)
    assert axes.yaxis.get_major_formatter()(1.0) == f"{1:e}"


def test_matplotlib_is_imported_for_a_picture_only():
    code = """
import sys, gdjax
assert "gdjax.report" not in sys.modules
from gdjax import report
report.trajectory(lambda p: (p**2).sum(), gdjax.gd(0.1), [1.0, 2.0], 3)
assert not any(name.startswith("matplotlib") for name in sys.modules)
sys.modules["matplotlib"] = sys.modules["matplotlib.pyplot"] = None
try:
    report.plot_schedules(0.1, 5)
except ImportError as error:
    assert str(error) == "pictures need matplotlib, got none: pip install matplotlib, or 'gdjax[demo]'."
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_same_picture_twice(axes):
    twice = [np.asarray(report.plot_schedules(0.1, 5, axes=axes).lines[-1].get_xydata()) for _ in range(2)]
    np.testing.assert_array_equal(*twice)
