import numpy as np
import optax
import pytest

from gdjax import schedules
from gdjax.report import plot_schedules


def drawn(axes):
    return {line.get_label(): line.get_xydata().T for line in axes.lines}


def test_values_are_those_of_each_step(axes, legend):
    cosine = schedules.warmup(schedules.cosine_decay(0.1, 20), 5)
    foreign = optax.exponential_decay(0.1, 10, 0.5)
    lines = drawn(plot_schedules({"cosine": cosine, "optax": foreign, "number": 0.05}, 30, axes=axes))
    for label, schedule in (("cosine", cosine), ("optax", foreign), ("number", lambda step: 0.05)):
        x, y = lines[label]
        np.testing.assert_array_equal(x, np.arange(31))
        np.testing.assert_allclose(y[:-1], [schedule(step) for step in range(30)], rtol=1e-6)
        assert y[-1] == y[-2]
    assert (axes.get_xlabel(), axes.get_ylim()[0]) == ("update", 0)
    assert legend(axes) == ["cosine", "optax", "number"]


def test_only_what_stands_still_has_stairs(axes):
    plot_schedules({"step": schedules.step_decay(0.1, 5), "linear": schedules.linear(0.1, 0.01, 20)}, 20, axes=axes)
    assert [line.get_drawstyle() for line in axes.lines] == ["steps-post", "default"]


def test_epochs(axes):
    halved = schedules.per_epoch(schedules.step_decay(0.8, 2))
    plot_schedules(halved, 12, steps_per_epoch=3, axes=axes)
    x, y = axes.lines[0].get_xydata().T
    np.testing.assert_allclose(x, np.arange(13) / 3)
    np.testing.assert_allclose(y, [0.8] * 6 + [0.4] * 7, rtol=1e-6)
    assert axes.get_xlabel() == "epoch"
    assert axes.get_legend() is None


@pytest.mark.parametrize("steps_per_epoch", [None, 1, 2])
def test_shares_of_the_run(axes, steps_per_epoch):
    halves = schedules.per_run(schedules.step_decay(0.8, 50))
    plot_schedules(halves, 6, steps_per_epoch=steps_per_epoch, axes=axes)
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [0.8] * 3 + [0.4] * 4, rtol=1e-6)


def test_negative_values_are_in_the_frame(axes):
    plot_schedules(lambda step: 1 - step, 4, axes=axes)
    assert axes.get_ylim()[0] < -2


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((0.1, 0), ValueError, "`steps` must be at least 1, got 0."),
        ((0.1, 2.5), TypeError, "`steps` must be an integer, got 2.5."),
        (({}, 5), ValueError, "`schedules` must hold at least one schedule, got none."),
        (({"a": "b"}, 5), TypeError, "`schedules['a']` must be a number, got 'b'."),
        (
            ({"a": schedules.per_epoch(schedules.step_decay(0.1, 2))}, 5),
            ValueError,
            "`steps_per_epoch` must be given, since `schedules['a']` counts epochs, got None.",
        ),
    ],
)
def test_bad_input(arguments, error, sentence):
    with pytest.raises(error) as told:
        plot_schedules(*arguments)
    assert str(told.value) == sentence


def test_bad_steps_per_epoch():
    with pytest.raises(ValueError, match="`steps_per_epoch` must be at least 1, got 0"):
        plot_schedules(0.1, 5, steps_per_epoch=0)
