import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdjax import schedules

LAST = 2**31 - 1


@jax.tree_util.register_static
class _Whereabouts(schedules.Schedule):
    """A schedule whose value is the whole units passed."""

    def at(self, position):
        return jnp.asarray(position.whole, jnp.float32)


whereabouts = _Whereabouts()


@jax.tree_util.register_static
class Elapsed(schedules.Schedule):
    """A schedule whose value is the time passed."""

    def at(self, position):
        return position.elapsed


@pytest.mark.parametrize("boundary", [1, 2**24 + 1, LAST])
def test_a_join_counts_each_part_from_its_beginning(boundary):
    schedule = schedules.join([schedules.constant(5.0), schedules.step_decay(1.0, 3)], [boundary])
    assert [float(schedule(boundary - 1)), float(schedule(boundary))] == [5.0, 1.0]
    if boundary < LAST:
        assert [float(schedule(boundary + 2)), float(schedule(boundary + 3))] == [1.0, 0.5]


def test_a_join_is_optax_join():
    parts, boundaries = [schedules.linear(0.1, 1.0, 4), schedules.step_decay(1.0, 3), lambda step: 0.5], [5, 9]
    ours, theirs = schedules.join(parts, boundaries), optax.join_schedules(parts, boundaries)
    np.testing.assert_array_equal(*jax.jit(jax.vmap(lambda step: (ours(step), theirs(step))))(np.arange(12)))


def test_a_part_of_no_length_is_skipped():
    schedule = schedules.join([schedules.constant(1.0), schedules.constant(2.0), schedules.constant(3.0)], [0, 0])
    assert float(schedule(0)) == 3.0
    assert float(schedules.join([schedules.constant(1.0)], [])(7)) == 1.0


def test_the_part_not_taken_spoils_no_gradient():
    def value(init_value):
        root = schedules.as_schedule(lambda step: jnp.sqrt(jnp.asarray(step, jnp.float32) + init_value))
        return schedules.join([schedules.constant(init_value), root], [5])(0)

    assert float(jax.grad(value)(1.0)) == 1.0


@pytest.mark.parametrize(
    ("parts", "boundaries", "error", "message"),
    [
        ([], [], ValueError, "`schedules` must hold at least one schedule, got none"),
        ([abs, 0.5], [3], TypeError, r"`schedules\[1\]` must be a function of the step, got 0.5"),
        ([abs, abs], [], ValueError, "`boundaries` must be one fewer than the 2 schedules, got 0"),
        ([abs, abs], [1, 2], ValueError, "`boundaries` must be one fewer than the 2 schedules, got 2"),
        ([abs, abs, abs], [5, 3], ValueError, r"`boundaries` must not decrease, got \[5, 3\]"),
        ([abs, abs], [-1], ValueError, r"`boundaries\[0\]` must be at least 0, got -1"),
        ([abs, abs], [1.5], TypeError, r"`boundaries\[0\]` must be an integer, got 1.5"),
    ],
)
def test_joins_that_are_none(parts, boundaries, error, message):
    with pytest.raises(error, match=message):
        schedules.join(parts, boundaries)


@functools.cache
def begins(period, factor):
    """Where cycles begin, up to the last step."""
    result = [0]
    while (following := result[-1] + period * factor ** (len(result) - 1)) <= LAST and len(result) < 100:
        result.append(following)
    return result


@pytest.mark.parametrize("period", [1, 7, 1_000_000, 2**30, LAST])
@pytest.mark.parametrize("factor", [1, 2, 3, 1000, 2**30, LAST])
def test_restarts_are_exact(period, factor):
    schedule = schedules.restarts(whereabouts, period, factor=factor)
    starts = begins(period, factor)
    steps = np.array(starts)[:, None] + [-1, 0, 1]
    steps = np.resize(steps, 300).clip(0, min(LAST, starts[-1] + period - 1))
    cycles = np.searchsorted(starts, steps, side="right") - 1
    expected = [(int(step) - starts[k]) // factor ** int(k) for k, step in zip(cycles, steps, strict=True)]
    np.testing.assert_array_equal(_values(schedule, np.int32(steps)), np.float32(expected))


@jax.jit
def _values(schedule, steps):
    return jax.vmap(schedule)(steps)


def test_restarts_stretch_the_schedule_to_the_cycle():
    schedule = schedules.restarts(Elapsed(), 3, factor=2)
    assert [float(schedule(step)) for step in range(9)] == [0, 1, 2, 0, 0.5, 1, 1.5, 2, 2.5]
    in_epochs = schedules.per_epoch(schedule, steps_per_epoch=2)
    assert [float(in_epochs(step)) for step in (5, 6, 7, 17)] == [2.5, 0, 0.25, 2.75]
    alike = schedules.per_epoch(schedules.restarts(Elapsed(), 3), steps_per_epoch=2)
    assert [float(alike(step)) for step in (5, 6, 7)] == [2.5, 0, 0.5]


def test_restarts_are_optax_sgdr():
    cycles = [{"init_value": 0.3, "peak_value": 0.3, "warmup_steps": 0, "decay_steps": 4 * 2**k} for k in range(4)]
    with jax.numpy_dtype_promotion("standard"):
        expected = jax.jit(jax.vmap(optax.sgdr_schedule(cycles)))(np.arange(60))
    schedule = schedules.restarts(schedules.cosine_decay(0.3, 4), 4, factor=2)
    np.testing.assert_allclose(jax.jit(jax.vmap(schedule))(np.arange(60)), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("numbers", "error", "message"),
    [
        ({"period": 0}, ValueError, "`period` must be at least 1, got 0"),
        ({"period": 2.0}, TypeError, "`period` must be an integer, got 2.0"),
        ({"period": 2, "factor": 0}, ValueError, "`factor` must be at least 1, got 0"),
        ({"period": 2, "factor": 1.5}, TypeError, "`factor` must be an integer, got 1.5"),
    ],
)
def test_restarts_out_of_range(numbers, error, message):
    with pytest.raises(error, match=message):
        schedules.restarts(schedules.constant(1.0), **numbers)


def test_factors_keep_their_units():
    warm = schedules.linear(0.0, 1.0, 4)
    schedule = schedules.product(warm, schedules.per_epoch(schedules.step_decay(1.0, 1)), 0.5)
    values = [float(schedule(step, epoch=step // 3, epoch_fraction=0.0)) for step in range(7)]
    assert values == [0.0, 0.125, 0.25, 0.1875, 0.25, 0.25, 0.125]


def test_numbers_of_a_product_are_leaves():
    assert jax.tree.leaves(schedules.product(2, schedules.constant(0.5), np.float32(0.25))) == [2.0, 0.5, 0.25]
    assert float(jax.vmap(lambda x: schedules.product(x, x)(0))(jnp.array([3.0]))[0]) == 9.0


@pytest.mark.parametrize(
    ("factors", "error", "message"),
    [
        ([], ValueError, "`factors` must hold at least one schedule or number, got none"),
        ([abs, "2"], TypeError, r"`factors\[1\]` must be a number, got '2'"),
        ([-1.0], ValueError, r"`factors\[0\]` must be finite and at least 0, got -1.0"),
    ],
)
def test_products_that_are_none(factors, error, message):
    with pytest.raises(error, match=message):
        schedules.product(*factors)


def test_ahead_in_every_unit():
    stairs = schedules.step_decay(1.0, 2)
    counted = schedules.ahead(schedules.per_epoch(stairs, steps_per_epoch=3))
    assert [float(counted(step)) for step in (4, 5)] == [1.0, 0.5]
    shares = schedules.ahead(schedules.per_run(stairs, units=4, steps=12))
    assert [float(shares(step)) for step in (4, 5)] == [1.0, 0.5]
    told = schedules.ahead(schedules.per_epoch(stairs))
    assert [float(told(5, epoch=epoch)) for epoch in (1, 2)] == [1.0, 0.5]
    an_epoch = schedules.per_epoch(schedules.ahead(stairs), steps_per_epoch=3)
    assert [float(an_epoch(step)) for step in (2, 3)] == [1.0, 0.5]


def test_ahead_of_the_last_step_there_is_none():
    schedule = schedules.ahead(schedules.step_decay(1.0, LAST))
    assert [float(schedule(jnp.int32(step))) for step in (LAST - 2, LAST - 1, LAST)] == [1.0, 0.5, 0.5]
