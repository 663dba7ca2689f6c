"""Which batch size is soonest: the estimate, and what it is made of."""

import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.sweeps import batch_sizes
from gdjax.sweeps.batch_sizes import _of_the_run, _steps


def loss(w, batch):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2)


def rows(n=512, noise=1.0):
    draw = np.random.default_rng(0)
    x = draw.standard_normal((n, 4)).astype(np.float32)
    return x, (x @ np.arange(4) + noise * draw.standard_normal(n)).astype(np.float32)


def suggested(**settings):
    given = {"optimizer": gdjax.gd(0.05), "epochs": 3, "batch_sizes": [4, 32, 256]} | settings
    data = given.pop("data", rows())
    return gdjax.suggest_batch_size(given.pop("loss_fn", loss), jnp.zeros(4), data, **given)


@pytest.fixture
def a_step_takes(monkeypatch):
    """Steps that take what a function of the batch size says."""

    def set_to(seconds):
        monkeypatch.setattr(
            batch_sizes, "_seconds_per_step", lambda run, sizes, *_: np.array([seconds(b) for b in sizes])
        )

    return set_to


def test_steps_that_cost_the_same_ask_for_large_batches(a_step_takes):
    a_step_takes(lambda size: 1e-5)
    assert suggested().suggestion == 256


def test_steps_that_cost_by_the_row_ask_for_small_ones(a_step_takes):
    a_step_takes(lambda size: 1e-7 * size)
    assert suggested().suggestion == 4


def test_more_noise_asks_for_larger_batches(a_step_takes):
    a_step_takes(lambda size: 1e-6 + 1e-7 * size)
    sizes = [2**i for i in range(10)]
    little, much = (suggested(data=rows(noise=noise), batch_sizes=sizes) for noise in (0.1, 10.0))
    assert little.noise_scale < much.noise_scale / 10
    assert little.suggestion < much.suggestion


def test_what_is_estimated_is_steps_times_seconds(a_step_takes):
    a_step_takes(lambda size: 1e-6 + 1e-7 * size)
    found = suggested()
    np.testing.assert_allclose(found.steps, 1 + found.noise_scale / found.sizes)
    seconds = found.steps * found.seconds_per_step
    assert found.suggestion == found.sizes[seconds.argmin()]
    np.testing.assert_allclose(found.relative_seconds, seconds / seconds.min())
    assert found.lowest <= found.suggestion <= found.highest
    assert len(found.looks) == batch_sizes.LOOKS
    assert f"Batches of {found.suggestion} are estimated" in found.reason


def test_sizes_are_powers_of_two_and_all(a_step_takes):
    a_step_takes(lambda size: 1e-6)
    assert suggested(batch_sizes=None, data=rows(100)).sizes.tolist() == [1, 2, 4, 8, 16, 32, 64, 100]


def test_the_pilot_ends_at_the_target(a_step_takes):
    a_step_takes(lambda size: 1e-6)
    far, near = suggested(epochs=20), suggested(epochs=20, target=5.0)
    assert len(far.looks) == len(near.looks) == batch_sizes.LOOKS
    assert near.looks[0] == far.looks[0]
    assert far.looks[-1].signal < near.looks[-1].signal
    assert suggested(target=100.0).looks[-1].signal > near.looks[-1].signal


def test_steps_are_timed_as_they_are():
    found = suggested(batch_sizes=[1, 512])
    assert 0 < found.seconds_per_step[0] < found.seconds_per_step[1] < 0.1


def test_the_noise_of_a_run_is_a_mean_over_noiseless_steps():
    assert _of_the_run([50.0, 50.0], 8) == pytest.approx(50.0)
    # Of two stretches as long, the second is worth a third of the first: 1 / (1 + 8/4) against 1 / (1 + 0/4).
    assert _of_the_run([0.0, 8.0], 4) == pytest.approx((0 * 1 + 8 / 3) / (1 + 1 / 3))
    assert _of_the_run([0.0, np.inf], 4) == pytest.approx(4.0)
    assert _of_the_run([np.inf], 4) == np.inf
    assert _steps(np.inf, np.array([1, 4])).tolist() == [4, 1]


def test_the_picture(a_step_takes):
    a_step_takes(lambda size: 1e-6 + 1e-7 * size)
    figure = suggested().plot()
    left, right = figure.axes
    assert left.get_xlabel() == "batch size"
    assert right.get_title() == "gradient noise scale"
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"data": rows(1)}, "`data` must have at least two rows"),
        ({"epochs": 0}, "`epochs`"),
        ({"batch_sizes": []}, "`batch_sizes` must hold at least one"),
        ({"batch_sizes": "64"}, "`batch_sizes` must be a list"),
        ({"batch_sizes": 64}, "`batch_sizes` must be a list"),
        ({"batch_sizes": [0]}, "`batch_sizes` must be at least 1"),
        ({"batch_sizes": [513]}, "`batch_sizes` must be at most 512"),
        ({"target": "low"}, "`target` must be a number"),
        ({"optimizer": gdjax.gd}, "`optimizer`"),
        ({"optimizer": gdjax.gd(1e30)}, "`optimizer` must converge on batches of 51"),
        ({"loss_fn": 3}, "`loss_fn`"),
    ],
)
def test_bad_input(settings, match):
    with pytest.raises((ValueError, TypeError), match=match):
        suggested(**settings)
