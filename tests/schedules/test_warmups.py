import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdjax import schedules


def test_the_first_update_sees_the_initial_value():
    schedule = schedules.warmup(schedules.constant(1.0), 10, init_value=0.25)
    assert float(schedule(0)) == 0.25
    assert float(schedules.warmup(schedules.constant(1.0), 10)(0)) == 0.0


def test_without_steps_the_peak_is_there_at_once():
    schedule = schedules.warmup(schedules.step_decay(1.0, 2), 0, init_value=0.25)
    assert [float(schedule(step)) for step in range(3)] == [1.0, 1.0, 0.5]
    schedule = schedules.warmup_stable_decay(1.0, 0, 0, 2)
    assert [float(schedule(step)) for step in range(4)] == [1.0, 0.5, 0.0, 0.0]
    assert float(schedules.per_epoch(schedule, steps_per_epoch=4)(1)) == 0.875


def test_the_line_ends_where_the_schedule_begins_whatever_its_numbers_become():
    schedule = schedules.warmup(schedules.step_decay(1.0, 5), 4)
    doubled = jax.tree.map(lambda x: 2 * x, schedule)
    assert [float(doubled(step)) for step in (0, 4, 8)] == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("steps", [2**24 + 1, 2**31 - 1])
def test_a_long_warm_up_ends_exactly(steps):
    schedule = schedules.warmup(schedules.step_decay(1.0, 1, 0.25), steps)
    assert float(schedule(steps)) == 1.0
    assert float(schedule(steps - 1)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("after", "theirs"),
    [
        (schedules.cosine_decay(1.0, 25), optax.warmup_cosine_decay_schedule(0.1, 1.0, 5, 30)),
        (schedules.exponential_decay(1.0, 4, 0.5), optax.warmup_exponential_decay_schedule(0.1, 1.0, 5, 4, 0.5)),
    ],
)
def test_warm_ups_are_optax_warm_ups(after, theirs):
    ours = schedules.warmup(after, 5, init_value=0.1)
    with jax.numpy_dtype_promotion("standard"):
        values, expected = jax.jit(jax.vmap(lambda step: (ours(step), theirs(step))))(np.arange(40))
    np.testing.assert_allclose(values, expected, rtol=2e-6, atol=1e-7)


def test_any_function_is_warmed_up():
    schedule = schedules.warmup(optax.constant_schedule(2.0), 4)
    assert [float(schedule(step)) for step in (0, 1, 4, 9)] == [0.0, 0.5, 2.0, 2.0]


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("warmup", {"warmup_steps": -1}, "`warmup_steps` must be at least 0, got -1"),
        ("warmup", {"init_value": -1.0}, "`init_value` must be finite and at least 0, got -1.0"),
        ("warmup", {"schedule": 1.0}, "`schedule` must be a function of the step, got 1.0"),
        ("warmup_stable_decay", {"warmup_steps": -1}, "`warmup_steps` must be at least 0, got -1"),
        ("warmup_stable_decay", {"stable_steps": -1}, "`stable_steps` must be at least 0, got -1"),
        ("warmup_stable_decay", {"stable_steps": 0.5}, "`stable_steps` must be an integer, got 0.5"),
        ("warmup_stable_decay", {"decay_steps": 0}, "`decay_steps` must be at least 1, got 0"),
        ("warmup_stable_decay", {"peak_value": np.nan}, "`peak_value` must be finite and at least 0, got nan"),
        ("warmup_stable_decay", {"init_value": -1.0}, "`init_value` must be finite and at least 0, got -1.0"),
        ("warmup_stable_decay", {"end_value": -1.0}, "`end_value` must be finite and at least 0, got -1.0"),
    ],
)
def test_numbers_out_of_range(name, changed, message):
    numbers = {
        "warmup": {"schedule": schedules.constant(1.0), "warmup_steps": 3},
        "warmup_stable_decay": {"peak_value": 1.0, "warmup_steps": 1, "stable_steps": 1, "decay_steps": 1},
    }[name]
    with pytest.raises((ValueError, TypeError), match=message):
        getattr(schedules, name)(**numbers | changed)


def test_lengths_that_are_mapped():
    values = jax.vmap(lambda w, s: schedules.warmup_stable_decay(1.0, w, s, 4)(3))(
        jnp.array([6, 0, 0]), jnp.array([2, 5, 1])
    )
    np.testing.assert_allclose(values, [0.5, 1.0, 0.5])
