import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules
from gdjax.schedules.base import as_integer, part


@pytest.mark.parametrize("schedule", [0.1, None, "cosine"])
def test_a_schedule_is_a_function(schedule):
    for make in (schedules.as_schedule, schedules.per_epoch, schedules.per_run, schedules.ahead):
        with pytest.raises(TypeError, match="`schedule` must be a function of the step, got"):
            make(schedule)


def test_a_schedule_of_ones_own():
    class Unfinished(schedules.Schedule):
        pass

    with pytest.raises(TypeError, match="Unfinished is a schedule without a formula: it must define `at`"):
        Unfinished()(0)

    @jax.tree_util.register_static
    class Squares(schedules.Schedule):
        def at(self, position):
            return position.elapsed**2

    assert schedules.as_schedule(Squares())(3) == 9
    assert schedules.per_epoch(Squares(), steps_per_epoch=2)(3) == 2.25


@pytest.mark.parametrize("count", [1.5, np.float32(2), True])
def test_positions_are_counted_in_integers(count):
    for call in (
        lambda: as_integer(count),
        lambda: schedules.step_decay(0.5, 2)(count),
        lambda: schedules.per_epoch(schedules.step_decay(0.5, 2))(0, epoch=count),
        lambda: schedules.ahead(schedules.step_decay(0.5, 2))(count),
    ):
        with pytest.raises(TypeError, match="steps and epochs must be counted in integers, got"):
            call()


def test_integers_of_any_width_are_steps():
    for step in (3, np.int64(3), np.uint8(3), jnp.int16(3), jnp.uint32(3)):
        assert schedules.step_decay(0.8, 2)(step) == np.float32(0.4)
        assert schedules.per_epoch(schedules.step_decay(0.8, 2), steps_per_epoch=1)(step) == np.float32(0.4)


@pytest.mark.parametrize("number", [jnp.bfloat16(0.5), jnp.float16(0.5), jnp.int32(0), np.float64(0.5)])
def test_numbers_of_any_dtype_are_computed_with_in_float32(number):
    value = jax.jit(lambda x: schedules.warmup(schedules.cosine_decay(x, 9, alpha=x), 3, init_value=x)(5))(number)
    assert value.dtype == jnp.float32


@pytest.mark.parametrize("own", [schedules.per_epoch, schedules.per_run])
def test_epochs_and_shares_belong_outermost(own):
    inner = own(schedules.step_decay(0.5, 2))
    deep = schedules.product(2.0, schedules.ahead(inner))
    for name, make in {
        "schedule": schedules.per_epoch,
        r"schedules\[1\]": lambda s: schedules.join([schedules.constant(1.0), s], [3]),
    }.items():
        with pytest.raises(ValueError, match=f"`{name}` must count in the units of the whole, so `per_epoch` and"):
            make(inner)
    for make in (schedules.per_run, lambda s: schedules.warmup(s, 3), lambda s: schedules.restarts(s, 3)):
        with pytest.raises(ValueError, match="`per_epoch` and `per_run` belong outermost, got"):
            make(deep)
    assert part("schedule", schedules.product(2.0)) is not None


def test_scheduled_is_a_number_or_a_schedule():
    def check(name, value):
        return (name, value)

    assert schedules.scheduled(check, "eps", 0.1) == ("eps", 0.1)
    assert isinstance(schedules.scheduled(check, "eps", lambda step: 0.1), schedules.Schedule)


def test_complement_of_a_number_is_formed_in_double_precision():
    assert schedules.complement("b1", 0.999) == 1 - 0.999
    assert schedules.complement("b1", jnp.bfloat16(0.999)) == 2**-9
    with pytest.raises(ValueError, match=r"`b1` must lie in \[0, 1\), got 1.0"):
        schedules.complement("b1", 1.0)


def test_complement_of_a_schedule():
    assert schedules.complement("b1", lambda step: 0.999)(0) == np.float32(1 - 0.999)
    assert schedules.complement("b1", schedules.step_decay(0.5, 2))(2) == 0.75


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (1, 2**-25),
        (1.0, 2**-25),
        (1.5, 2**-25),
        (np.inf, 2**-25),
        (np.float32(1), 2**-25),
        (jnp.bfloat16(1), 2**-9),
        (jnp.float16(1), 2**-12),
        (0, 1.0),
        (-0.5, 1.0),
        (np.nan, np.nan),
    ],
)
def test_a_scheduled_decay_beyond_its_range(decay, expected):
    complement = schedules.complement("b1", lambda step: decay)(0)
    assert complement.dtype == jnp.float32
    np.testing.assert_array_equal(complement, expected)


@pytest.mark.usefixtures("x64")
def test_a_scheduled_decay_of_one_in_float64():
    assert schedules.complement("b1", schedules.constant(1.0))(0) == 2.0**-54


def test_adam_survives_a_decay_that_reaches_one():
    rising = schedules.join([schedules.linear(0.9, 1.0, 3), schedules.constant(1.0)], [5])
    for numbers in ({"b1": rising}, {"b2": rising}, {"b1": lambda step: 1.0}):
        optimizer = gdjax.adam(0.1, **numbers)
        state = optimizer.init(jnp.array(0.0))
        for _ in range(8):
            update, state = optimizer.update(jnp.array(1.0), state)
            assert float(update) == pytest.approx(-0.1, rel=1e-5)


def test_optax_takes_a_schedule_for_its_own():
    schedule = schedules.warmup(schedules.cosine_decay(1.0, 4), 2)
    optimizer = optax.sgd(schedule)
    state, updates = optimizer.init(jnp.array(0.0)), []
    for _ in range(4):
        update, state = optimizer.update(jnp.array(1.0), state)
        updates.append(float(update))
    np.testing.assert_allclose(updates, [0.0, -0.5, -1.0, -0.853553], rtol=1e-5)
