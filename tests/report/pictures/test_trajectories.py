import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules
from gdjax.report import plot_trajectories, trajectory
from gdjax.report.pictures import trajectories


def valley(p):
    return (p[0] ** 2 + 20 * p[1] ** 2) / 2


def test_descent_step_by_step():
    rate = schedules.step_decay(0.05, 3)
    path = trajectory(valley, gdjax.heavy_ball(rate, 0.8), [3.0, -1.0], 7)
    theta, v = np.array([3.0, -1.0]), np.zeros(2)
    for step, place in enumerate(path):
        np.testing.assert_allclose(place, theta, rtol=1e-5, atol=1e-6)
        v = 0.8 * v + np.array([1, 20]) * theta
        theta = theta - 0.05 * 0.5 ** (step // 3) * v
    assert (path.shape, path.dtype, type(path)) == ((8, 2), np.float32, np.ndarray)


@pytest.mark.parametrize(
    "optimizer",
    [
        gdjax.adam(0.1),
        optax.sgd(0.02, momentum=0.9),
        optax.lbfgs(),
        gdjax.chain(gdjax.gd(0.05), gdjax.transforms.reduce_on_plateau(0.5, patience=2)),
    ],
)
def test_any_optimizer_descends(optimizer):
    path = trajectory(valley, optimizer, [3.0, -1.0], 50)
    assert valley(path[-1]) < valley(path[0]) / 100


def test_dtype_is_that_of_the_start():
    assert trajectory(valley, gdjax.gd(0.01), [3, -1], 1).dtype == np.float32
    assert trajectory(valley, gdjax.gd(0.01), jnp.ones(2, jnp.bfloat16), 1).dtype == jnp.bfloat16
    assert trajectory(valley, gdjax.gd(0.01), [1.0, 2.0], 0).tolist() == [[1.0, 2.0]]


def test_dtype_under_x64(x64):
    assert trajectory(valley, gdjax.gd(0.01), [3.0, -1.0], 1).dtype == np.float64
    assert trajectory(valley, gdjax.gd(0.01), np.ones(2, np.float32), 1).dtype == np.float32


def test_another_rate_compiles_nothing():
    traced = []

    def counted(p):
        traced.append(p)
        return valley(p)

    trajectory(counted, gdjax.adam(0.1), [3.0, -1.0], 5)
    first = len(traced)
    trajectory(counted, gdjax.adam(0.2), [3.0, -1.0], 5)
    assert len(traced) == first > 0


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"steps": -1}, ValueError, "`steps` must be at least 0, got -1."),
        ({"optimizer": gdjax.adam}, TypeError, "`optimizer` must be a gradient transformation of gdjax or optax"),
        ({"start": "here"}, TypeError, "`start` must be an array of numbers"),
        ({"function": lambda p: 2 * p}, ValueError, "`function` must return a scalar, got an array of shape (2,)."),
    ],
)
def test_bad_descent(change, error, sentence):
    arguments = {"function": valley, "optimizer": gdjax.adam(0.1), "start": [3.0, -1.0], "steps": 5} | change
    with pytest.raises(error) as told:
        trajectory(**arguments)
    assert str(told.value).startswith(sentence)


PATHS = {
    "here": np.asarray([(3.0, -1.0), (2.0, 0.5), (1.0, 0.1)]),
    "there": np.asarray([(3.0, -1.0), (2.0, -0.5), (1.5, 0.2)]),
}


def lines(axes):
    return {line.get_label(): line for line in axes.lines if not line.get_label().startswith("_")}


def test_paths_start_and_minimum(axes, legend):
    assert plot_trajectories(valley, PATHS, minimum=(0, 0), axes=axes) is axes
    drawn = lines(axes)
    for label, path in PATHS.items():
        np.testing.assert_array_equal(drawn[label].get_xydata(), path)
    assert len({(drawn[label].get_color(), drawn[label].get_linestyle()) for label in PATHS}) == 2
    np.testing.assert_array_equal(drawn["start"].get_xydata(), [(3, -1)])
    np.testing.assert_array_equal(drawn["minimum"].get_xydata(), [(0, 0)])
    assert (drawn["start"].get_marker(), drawn["minimum"].get_marker()) == ("s", "*")
    assert legend(axes) == ["here", "there", "start", "minimum"]
    assert not axes.texts
    (low, high), (lowest, highest) = axes.get_xlim(), axes.get_ylim()
    assert (low < 0, high > 3, lowest < -1, highest > 0.5) == (True,) * 4
    assert (low > -1, high < 4, lowest > -1.5, highest < 1) == (True,) * 4


def levels_of(axes):
    (contour,) = axes.collections
    return np.asarray(contour.levels)


def test_levels_are_even_in_the_logarithm_above_the_minimum(axes):
    def raised(p):
        return valley(p) + 7

    plot_trajectories(raised, PATHS, minimum=(0, 0), axes=axes, levels=12)
    above = levels_of(axes) - 7
    assert (len(above), above.min() > 0) == (12, True)
    np.testing.assert_allclose(np.diff(np.log(above)), np.log(above[1] / above[0]), rtol=1e-3)
    assert above.max() < 20 * axes.get_ylim()[0] ** 2 / 2 + axes.get_xlim()[1] ** 2 / 2


def test_without_a_minimum_levels_have_even_shares_of_the_frame_below(axes):
    plot_trajectories(
        lambda p: jnp.where(p[0] >= 0, p[0], 0),
        np.asarray([(0.0, 0.0), (1.0, 0.0)]),
        bounds=((0, 1), (-1, 1)),
        axes=axes,
        levels=4,
    )
    np.testing.assert_allclose(levels_of(axes), [0.2, 0.4, 0.6, 0.8], atol=1e-6)


def test_levels_may_be_given(axes):
    plot_trajectories(valley, PATHS, axes=axes, levels=[1.0, 2.0, 4.0])
    np.testing.assert_array_equal(levels_of(axes), [1, 2, 4])


def test_a_function_that_is_level_or_not_finite_has_what_contour_there_is(axes):
    plot_trajectories(lambda p: 0 * p[0] + 1, PATHS, axes=axes)
    assert not axes.collections
    plot_trajectories(lambda p: jnp.where(p[0] > 1, jnp.nan, valley(p)), PATHS, axes=axes, bounds=((0, 4), (-2, 2)))
    assert len(axes.collections) == 1


def test_one_path_needs_no_label(axes, legend):
    plot_trajectories(valley, PATHS["here"], axes=axes)
    assert legend(axes) == ["start"]


@pytest.mark.parametrize("rate", [0.105, 0.28])
def test_a_path_that_diverges_ends_in_an_arrow_at_the_frame(axes, rate):
    path = trajectory(valley, gdjax.gd(rate), [3.0, 1.0], 80)
    bounds = np.asarray([(-1.0, 4.0), (-5.0, 5.0)])
    plot_trajectories(valley, {"gd": path}, axes=axes, bounds=bounds)
    factor = abs(1 - 20 * rate)
    leaves = int(np.ceil(np.log(5) / np.log(factor)))  # the first update whose second parameter exceeds 5
    label, arrow = axes.texts
    assert label.get_text() == f"left at update {leaves}"
    drawn = lines(axes)["gd"].get_xydata()
    np.testing.assert_allclose(drawn[:-1], path[:leaves])
    assert abs(drawn[-1][1]) == 5
    np.testing.assert_array_equal(arrow.xy, drawn[-1])
    before, after = path[leaves - 1], path[leaves]
    share = (drawn[-1] - before) / (after - before)
    assert share[0] == pytest.approx(share[1], abs=1e-4)
    assert 0 < share[1] < 1
    assert (axes.get_xlim(), axes.get_ylim()) == ((-1, 4), (-5, 5))


def test_the_frame_holds_what_is_not_much_higher_than_the_start(axes):
    lost = trajectory(valley, gdjax.gd(0.105), [3.0, -1.0], 2000)
    assert not np.isfinite(lost[-1]).all()
    plot_trajectories(valley, {"lost": lost}, minimum=(0, 0), axes=axes)
    heights = np.asarray(valley(lost.T.astype(float)))
    shown = lost[heights <= 2 * heights[0]]
    low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
    assert ((low < shown) & (shown < high)).all()
    assert (high - low < 1.5 * np.ptp(np.concatenate([shown, [(0, 0)]]), axis=0)).all()
    label, _ = axes.texts
    after = int(label.get_text().removeprefix("left at update "))
    assert heights[after] > 2 * heights[0]


def test_the_frame_does_not_follow_a_path_that_diverges(axes):
    lost = trajectory(valley, gdjax.gd(0.3), [3.0, -1.0], 200)
    with_it = plot_trajectories(valley, PATHS | {"lost": lost}, minimum=(0, 0), axes=axes)
    frame = with_it.get_xlim(), with_it.get_ylim()
    without = plot_trajectories(valley, PATHS, minimum=(0, 0))
    assert frame == (without.get_xlim(), without.get_ylim())


def test_a_path_that_comes_back_has_not_left(axes):
    path = np.asarray([(1.0, 1.0), (9.0, 1.0), (2.0, 2.0), (1.0, 9.0), (1.0, 10.0)])
    plot_trajectories(valley, {"gd": path}, axes=axes, bounds=((0, 4), (0, 4)))
    assert axes.texts[0].get_text() == "left at update 3"
    np.testing.assert_allclose(lines(axes)["gd"].get_xydata()[-1], (2 - 2 / 7, 4))


def test_a_path_that_is_no_longer_finite_ends_in_a_cross(axes):
    path = np.asarray([(1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (np.nan, np.nan)])
    plot_trajectories(valley, {"gd": path}, axes=axes, bounds=((0, 3), (0, 3)))
    assert [text.get_text() for text in axes.texts] == ["not finite at update 2"]
    cross = next(line for line in axes.lines if line.get_marker() == "x")
    np.testing.assert_array_equal(cross.get_xydata(), [(2, 1)])


def test_one_place_has_a_frame_too(axes):
    plot_trajectories(valley, [(1.0, 1.0)], axes=axes)
    assert axes.get_xlim() == (0.5, 1.5)
    assert axes.get_ylim() == (0.5, 1.5)


def test_several_minima(axes):
    minima = [(0.0, -1.0), (0.0, 1.0)]
    plot_trajectories(lambda p: p[0] ** 2 + (p[1] ** 2 - 1) ** 2, PATHS, minimum=minima, axes=axes)
    np.testing.assert_array_equal(lines(axes)["minimum"].get_xydata(), minima)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"paths": {}}, ValueError, "`paths` must hold at least one path, got none."),
        ({"paths": {"a": np.ones((3, 3))}}, ValueError, "`paths['a']` must be an array [updates + 1, 2], got one of"),
        ({"paths": [(np.nan, 1.0)]}, ValueError, "`paths` must start at finite parameters, got [nan, 1.0]."),
        ({"minimum": 3.0}, ValueError, "`minimum` must be two finite numbers, or an array of such [places, 2]"),
        ({"bounds": ((1, 0), (0, 1))}, ValueError, "`bounds` must be ((lowest, highest), (lowest, highest)), got"),
        ({"bounds": ((8, 9), (8, 9))}, ValueError, "`bounds` must hold a part of `paths['here']`, got"),
        ({"levels": 0}, ValueError, "`levels` must be at least 1, got 0."),
        ({"function": lambda p: p}, ValueError, "`function` must return a scalar, got an array of shape (2,)."),
    ],
)
def test_bad_input(axes, change, error, sentence):
    with pytest.raises(error) as told:
        plot_trajectories(**{"function": valley, "paths": PATHS, "axes": axes} | change)
    assert str(told.value).startswith(sentence)


def test_long_paths_have_no_dots(axes):
    line = np.stack([np.linspace(2, 1, trajectories.DOTTED + 2), np.ones(trajectories.DOTTED + 2)], axis=1)
    plot_trajectories(valley, {"long": line, "short": line[1:]}, axes=axes)
    dotted = [line for line in axes.lines if line.get_marker() == "."]
    assert len(dotted) == 1
    np.testing.assert_array_equal(dotted[0].get_xydata(), line[1:])


def test_it_can_be_mapped():
    assert jax.vmap(valley)(jnp.asarray(PATHS["here"], jnp.float32)).shape == (3,)
