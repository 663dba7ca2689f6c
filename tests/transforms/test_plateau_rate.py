import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import learning_rate, rate_on_plateau, reduce_on_plateau

DRAWN = np.random.default_rng(0).normal(size=(12, 2)).astype(np.float32)
VALUES = np.float32([5, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 1])
SCALES = [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.25, 0.125, 0.125]
"""Of a plateau with factor 0.5 and patience 2."""
HALVING = reduce_on_plateau(0.5, patience=2)


@jax.jit
def scanned(transform, gradients=DRAWN, values=VALUES):
    """(updates, the learning rate that the state tells) after each step; six steps an epoch."""

    def step(state, inputs):
        gradient, value, i = inputs
        updates, state = transform.update(gradient, state, value=value, epoch=i // 6, epoch_fraction=(i % 6) / 6.0)
        return state, (updates, learning_rate(state))

    steps = jnp.arange(len(values), dtype=jnp.int32)
    with jax.numpy_dtype_promotion("standard"):
        return jax.lax.scan(step, transform.init(gradients[0]), (gradients, values, steps))[1]


def momentum_of_steps(rate):
    """v ← 0.9·v − α·g, θ ← θ + v: the rate that acted stays in the memory."""
    return transforms.clocked(transforms.chain(transforms.scale_by_learning_rate(rate), transforms.accumulate(0.9)))


def test_without_a_memory_it_is_the_plateau_behind():
    inside, rates = scanned(rate_on_plateau(gdjax.gd(0.1), HALVING))
    behind, same_rates = scanned(gdjax.chain(gdjax.gd(0.1), HALVING))
    np.testing.assert_allclose(inside, -0.1 * np.array(SCALES)[:, None] * DRAWN, rtol=1e-6)
    np.testing.assert_allclose(inside, behind, rtol=1e-6)
    np.testing.assert_allclose(rates, 0.1 * np.array(SCALES), rtol=1e-6)
    np.testing.assert_allclose(same_rates, rates, rtol=1e-6)


def test_where_the_memory_is_of_gradients_it_is_too():
    inside, behind = rate_on_plateau(gdjax.adam(0.1), HALVING), gdjax.chain(gdjax.adam(0.1), HALVING)
    for one, other in zip(scanned(inside), scanned(behind), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_memory_of_steps_keeps_the_old_rate():
    inside, rates = scanned(rate_on_plateau(momentum_of_steps(0.1), HALVING))
    v, w, of_rates, behind = np.zeros(2), np.zeros(2), [], []
    for g, scale in zip(DRAWN, SCALES, strict=True):
        v, w = 0.9 * v - 0.1 * scale * g, 0.9 * w - 0.1 * g
        of_rates.append(v)
        behind.append(scale * w)
    np.testing.assert_allclose(inside, of_rates, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(scanned(gdjax.chain(momentum_of_steps(0.1), HALVING))[0], behind, rtol=1e-5, atol=1e-7)
    assert np.abs(np.subtract(of_rates, behind)).max() > 0.02
    np.testing.assert_allclose(rates, 0.1 * np.array(SCALES), rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (schedules.step_decay(0.1, 4, 0.5), 0.1 * 0.5 ** (np.arange(12) // 4)),
        (schedules.per_epoch(schedules.step_decay(0.1, 1, 0.5)), 0.1 * 0.5 ** (np.arange(12) // 6)),
        (lambda step: 0.1 / (1 + step), 0.1 / (1 + np.arange(12))),
    ],
    ids=["steps", "per_epoch", "function"],
)
def test_it_scales_a_schedule(schedule, expected):
    updates, rates = scanned(rate_on_plateau(gdjax.gd(schedule), HALVING))
    np.testing.assert_allclose(rates, expected * SCALES, rtol=1e-6)
    np.testing.assert_allclose(updates, -(expected * SCALES)[:, None] * DRAWN, rtol=1e-5)


def test_the_first_state_tells_the_whole_rate():
    assert float(learning_rate(rate_on_plateau(gdjax.gd(0.25), HALVING).init(jnp.zeros(2)))) == 0.25


def test_a_rate_in_16_bits():
    """As a traced number may be."""

    @jax.jit
    def rate(value):
        optimizer = rate_on_plateau(gdjax.gd(value), reduce_on_plateau(0.5, patience=1))
        state = optimizer.init(jnp.zeros(2))
        for _ in range(2):
            updates, state = optimizer.update(jnp.ones(2), state, value=1.0)
        return updates, learning_rate(state)

    for value in (np.float32(0.5), np.float16(0.5)):
        updates, seen = rate(value)
        assert updates.tolist() == [-0.25, -0.25]
        assert float(seen) == 0.25


def test_rates_and_factors_can_be_mapped_over():
    def end(rate, factor):
        optimizer = rate_on_plateau(gdjax.gd(rate), reduce_on_plateau(factor, patience=2))
        return scanned(optimizer)[1][-1]

    rates = jax.vmap(end)(jnp.array([0.1, 0.2]), jnp.array([0.5, 0.1]))
    np.testing.assert_allclose(rates, [0.1 * 0.5**3, 0.2 * 0.1**3], rtol=1e-5)


def test_in_a_run_it_judges_once_an_epoch_and_the_history_tells():
    def steady(w, batch):
        return 0 * jnp.sum(w) + 0 * jnp.mean(batch) + 1.0

    result = gdjax.fit(
        steady,
        jnp.ones(2),
        np.ones(4, np.float32),
        optimizer=rate_on_plateau(gdjax.gd(0.1), reduce_on_plateau(0.5, patience=1)),
        regime=gdjax.mini_batch(2, shuffle=False),
        epochs=4,
    )
    np.testing.assert_allclose(result.history.learning_rate, [0.1] * 4 + [0.05] * 2 + [0.025] * 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        (optax.sgd(0.1), ValueError, "`optimizer` must have one learning rate, got 0 in"),
        (transforms.ema(0.9), ValueError, "`optimizer` must have one learning rate, got 0 in"),
        (gdjax.chain(gdjax.gd(0.1), gdjax.gd(0.1)), ValueError, "`optimizer` must have one learning rate, got 2 in"),
        (0.1, TypeError, "`optimizer` must be a gradient transformation of gdjax or optax, got 0.1"),
    ],
    ids=["optax", "ema", "two", "number"],
)
def test_another_optimizer_is_refused(optimizer, error, message):
    with pytest.raises(error, match=message):
        rate_on_plateau(optimizer, HALVING)


@pytest.mark.parametrize("plateau", [0.5, reduce_on_plateau, gdjax.gd(0.1)], ids=["number", "factory", "gd"])
def test_another_plateau_is_refused(plateau):
    """An optimizer in its place would scale the rate by minus its own."""
    with pytest.raises((TypeError, ValueError), match="`plateau` must be"):
        rate_on_plateau(gdjax.gd(0.1), plateau)


def test_nothing_to_judge_is_an_error():
    optimizer = rate_on_plateau(gdjax.gd(0.1), HALVING)
    with pytest.raises(ValueError, match="`reduce_on_plateau` must be told what to judge"):
        optimizer.update(jnp.ones(2), optimizer.init(jnp.ones(2)))
