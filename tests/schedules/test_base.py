import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from gdjax import schedules

_INVERSE = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 4}
_EXPONENTIAL = {"init_value": 0.3, "transition_steps": 4, "decay_rate": 0.8}
SCHEDULES = {
    "inverse_time_decay": (schedules.inverse_time_decay, references.inverse_time_decay, _INVERSE),
    "inverse_time_decay-staircase": (
        schedules.inverse_time_decay,
        references.inverse_time_decay,
        _INVERSE | {"staircase": True},
    ),
    "exponential_decay": (schedules.exponential_decay, references.exponential_decay, _EXPONENTIAL),
    "exponential_decay-staircase": (
        schedules.exponential_decay,
        references.exponential_decay,
        _EXPONENTIAL | {"staircase": True},
    ),
    "step_decay": (schedules.step_decay, references.step_decay, _EXPONENTIAL),
}
each = pytest.mark.parametrize(("make", "formula", "numbers"), SCHEDULES.values(), ids=SCHEDULES)


@each
def test_values(make, formula, numbers):
    steps = np.arange(60)
    values = jax.vmap(make(**numbers))(steps)
    assert values.dtype == jnp.float32
    np.testing.assert_allclose(values, formula(steps, **numbers), rtol=2e-6)
    assert float(make(**numbers)(0)) == pytest.approx(0.3, rel=1e-7)


@pytest.mark.usefixtures("x64")
@each
def test_values_in_float64(make, formula, numbers):
    steps = np.arange(60)
    in_epochs = schedules.per_epoch(make(**numbers), steps_per_epoch=7)
    for schedule, expected in (
        (make(**numbers), formula(steps, **numbers)),
        (in_epochs, references.per_epoch(formula, 7, **numbers)(steps)),
    ):
        values = jax.vmap(schedule)(steps)
        assert values.dtype == jnp.float64
        np.testing.assert_allclose(values, expected, rtol=1e-14)


@each
def test_per_epoch_counted_and_told(make, formula, numbers):
    steps = np.arange(60)
    told = schedules.per_epoch(make(**numbers))
    expected = references.per_epoch(formula, 7, **numbers)(steps)
    counted = jax.vmap(schedules.per_epoch(make(**numbers), steps_per_epoch=7))(steps)
    heard = jax.vmap(lambda step, epoch, fraction: told(step, epoch=epoch, epoch_fraction=fraction))(
        steps, steps // 7, np.float32(steps % 7) / np.float32(7)
    )
    np.testing.assert_allclose(counted, expected, rtol=2e-6)
    np.testing.assert_allclose(heard, expected, rtol=2e-6)


def test_any_function_speaks_in_epochs():
    schedule = schedules.per_epoch(lambda epoch: epoch + epoch, steps_per_epoch=4)
    assert [float(schedule(step)) for step in (0, 1, 4, 6)] == [0, 0.5, 2, 3]
    assert int(schedules.per_epoch(lambda epoch: epoch + epoch)(0, epoch=jnp.int32(3))) == 6


@pytest.mark.parametrize("epoch", [1, 32, 1000])
def test_a_staircase_changes_at_the_boundary_of_an_epoch_of_a_million_steps(epoch):
    counted = schedules.per_epoch(schedules.step_decay(1.0, epoch), steps_per_epoch=1_000_000)
    told = schedules.per_epoch(schedules.step_decay(1.0, epoch))
    boundary = epoch * 1_000_000
    assert [float(counted(step)) for step in (boundary - 1, boundary)] == [1.0, 0.5]
    last, first = {"epoch": epoch - 1, "epoch_fraction": 0.999999999}, {"epoch": epoch, "epoch_fraction": 0.0}
    assert [float(told(0, **position)) for position in (last, first)] == [1.0, 0.5]


@pytest.mark.parametrize("step", [2**24 + 1, 2**31 - 1])
def test_a_staircase_counts_beyond_the_integers_of_float32(step):
    assert float(schedules.step_decay(1.0, step)(step - 1)) == 1.0
    assert float(schedules.step_decay(1.0, step)(step)) == 0.5


@each
def test_numbers_are_leaves(make, formula, numbers):
    traces = []

    @jax.jit
    def value(schedule, step):
        traces.append(1)
        return schedule(step)

    for init_value in (0.1, 0.2, 0.4):
        changed = numbers | {"init_value": init_value}
        np.testing.assert_allclose(value(make(**changed), 9), formula(9, **changed), rtol=2e-6)
    assert len(traces) == 1


def test_a_schedule_is_built_under_vmap_and_differentiated():
    rates = jnp.array([0.1, 0.2])
    values = jax.vmap(lambda rate: schedules.inverse_time_decay(rate, 1.0)(1))(rates)
    np.testing.assert_allclose(values, rates / 2)
    assert float(jax.grad(lambda k: schedules.inverse_time_decay(1.0, k)(2))(0.5)) == pytest.approx(-2 / 4)


@pytest.mark.parametrize("make", [schedules.inverse_time_decay, schedules.exponential_decay, schedules.step_decay])
@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"transition_steps": 0}, ValueError, "`transition_steps` must be at least 1, got 0"),
        ({"transition_steps": -1}, ValueError, "`transition_steps` must be at least 1, got -1"),
        ({"transition_steps": 1.5}, TypeError, "`transition_steps` must be an integer, got 1.5"),
        ({"init_value": -1.0}, ValueError, "`init_value` must be finite and at least 0, got -1.0"),
        ({"init_value": np.nan}, ValueError, "`init_value` must be finite and at least 0, got nan"),
        ({"decay_rate": -0.5}, ValueError, "`decay_rate` must be finite and at least 0, got -0.5"),
        ({"decay_rate": np.inf}, ValueError, "`decay_rate` must be finite and at least 0, got inf"),
        ({"decay_rate": "0.5"}, TypeError, "`decay_rate` must be a number, got '0.5'"),
    ],
)
def test_numbers_out_of_range(make, changed, error, message):
    with pytest.raises(error, match=message):
        make(**(_EXPONENTIAL | changed))


@pytest.mark.parametrize(
    ("steps_per_epoch", "error"), [(0, ValueError), (-3, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_steps_per_epoch_out_of_range(steps_per_epoch, error):
    with pytest.raises(error, match="`steps_per_epoch` must be"):
        schedules.per_epoch(schedules.step_decay(1.0, 1), steps_per_epoch=steps_per_epoch)


def test_per_epoch_without_an_epoch_is_an_error():
    with pytest.raises(ValueError, match="must know the epoch: pass `epoch=` to `update`.*steps_per_epoch"):
        schedules.per_epoch(schedules.step_decay(1.0, 1))(0)


@pytest.mark.parametrize("schedule", [0.1, None, "cosine"])
def test_a_schedule_is_a_function(schedule):
    with pytest.raises(TypeError, match="`schedule` must be a function of the step, got"):
        schedules.per_epoch(schedule)
