import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import gdjax
from gdjax.report.statistics import mean_interval, tied

NAN = np.nan


@pytest.mark.parametrize("count", [2, 3, 5, 30])
def test_interval_is_students(count):
    values = np.random.default_rng(count).lognormal(size=count)
    interval = mean_interval(values)
    expected = scipy.stats.t.interval(0.95, count - 1, loc=values.mean(), scale=scipy.stats.sem(values))
    np.testing.assert_allclose([interval.low, interval.high], expected, rtol=1e-12)
    np.testing.assert_allclose([interval.mean, interval.half], [values.mean(), np.diff(expected)[0] / 2], rtol=1e-12)


@pytest.mark.parametrize(("values", "expected"), [
    ([], (NAN, NAN, NAN)),
    ([3.0], (3, NAN, NAN)),
    ([3.0, 3.0], (3, 3, 3)),
])  # fmt: skip
def test_interval_of_few_values(values, expected):
    np.testing.assert_equal(tuple(mean_interval(np.asarray(values))), expected)


@pytest.mark.parametrize(("values", "best", "expected"), [
    pytest.param([1, 2, 3], [1, 2, 3], True, id="equal"),
    pytest.param([1.0], [1.0], True, id="equal, one seed"),
    pytest.param([1.1], [1.0], None, id="one seed cannot tell"),
    pytest.param([1.1, 2.1, 3.1], [1, 2, 3], False, id="the same difference at every seed"),
    pytest.param([1.1, 1.9, 3.1], [1, 2, 3], True, id="a difference of either sign"),
    pytest.param([3, 1, 2], [1, 2, 3], True, id="equal means"),
    pytest.param([0.9, 1.9, 2.9], [1, 2, 3], True, id="better than the best"),
    pytest.param([NAN, 2, 3], [1, 2, 3], False, id="a diverged run"),
    pytest.param([NAN] * 3, [1, 2, 3], False, id="all diverged"),
    pytest.param([1, 2, 3], [NAN, 2, 3], True, id="the best has a diverged run"),
    pytest.param([NAN, 2, 3], [NAN, 2, 3], True, id="both lost the same run"),
    pytest.param([2, NAN, 3], [NAN, 2, 3], False, id="each lost another run"),
])  # fmt: skip
def test_tied(values, best, expected):
    assert tied(np.asarray(values, float), np.asarray(best, float)) is expected


def test_tied_compares_seed_by_seed():
    noise = np.random.default_rng(0).normal(size=5)
    assert not tied(10 * noise + 0.1, 10 * noise + 1e-3 * noise[::-1])
    assert tied(10 * noise[::-1] + 0.1, 10 * noise)


GROUPS, SEEDS = 100, 5
FAST, SLOW = 0.03, 0.025


@functools.cache
def final_losses():
    """Test losses [2, 1000] of 1,000 seeds after 70 updates at either rate, one program.

    The real difference: 70 updates are too few for the slower rate, whose loss ends a sixth higher.
    """
    random = np.random.default_rng(0)
    x = random.normal(size=(64, 3))
    y = x @ [1, -2, 0.5] + 0.3 * random.normal(size=64)
    train, test = (tuple(jnp.asarray(v[part], jnp.float32) for v in (x, y)) for part in (slice(32), slice(32, None)))

    def loss(w, batch):
        return jnp.mean((batch[0] @ w - batch[1]) ** 2)

    def one(rate, seed):
        run = gdjax.training(loss, optimizer=gdjax.gd(rate), regime=gdjax.mini_batch(5))
        state = run.init(lambda key: 0.1 * jax.random.normal(key, (3,)), seed)
        return loss(run.steps(state, train, 70, capacity=70)[0].params, test)

    runs = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))
    return np.asarray(runs(jnp.asarray([FAST, SLOW]), jnp.arange(2 * GROUPS * SEEDS)), float)


def declared_tied(first, second):
    """What a comparison says of two rows: the one of the lower mean is the best."""
    best, other = sorted((first, second), key=np.mean)
    return tied(other, best)


@pytest.mark.parametrize("rate", [0, 1], ids=["fast", "slow"])
def test_one_setting_twice_with_other_seeds_is_tied(rate):
    pairs = final_losses()[rate].reshape(GROUPS, 2, SEEDS)
    assert np.unique(pairs).size > pairs.size / 2
    count = sum(declared_tied(*pair) for pair in pairs)
    assert 90 <= count < GROUPS, count  # a test of 5 % calls some alike different


def test_a_real_difference_is_declared():
    fast, slow = final_losses()[:, : GROUPS * SEEDS].reshape(2, GROUPS, SEEDS)
    assert 1.1 < slow.mean() / fast.mean() < 1.2
    assert sum(not declared_tied(*pair) for pair in zip(fast, slow, strict=True)) >= 90
    assert (fast.mean(axis=1) < slow.mean(axis=1)).all()
