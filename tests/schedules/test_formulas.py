"""Every schedule against its formula in NumPy float64, in every unit, and as a pytree of its numbers."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import references

from gdjax import schedules

STEPS, STEPS_PER_EPOCH, EPOCHS, UNITS = np.arange(61), 7, 9, 50
TOTAL = STEPS_PER_EPOCH * EPOCHS

_INVERSE = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 4}
_EXPONENTIAL = {"init_value": 0.3, "transition_steps": 4, "decay_rate": 0.8}
_FALLING = {"init_value": 0.3, "end_value": 1e-4, "power": 2.0, "transition_steps": 40}
_RISING = {"init_value": 1e-6, "end_value": 0.3, "power": 0.7, "transition_steps": 45}
_CYCLIC = {"init_value": 0.01, "peak_value": 0.3, "transition_steps": 3, "decay_rate": 0.9}
_ONE_CYCLE = {"peak_value": 0.3, "transition_steps": 43, "pct_start": 0.29}
_STABLE = {"peak_value": 0.3, "warmup_steps": 5, "stable_steps": 6, "decay_steps": 8}


def _cosine(make):
    """A schedule of schedules, or its formula, as a function of flat numbers."""
    module = references if make.__module__ == "references" else schedules

    def of_cosine(*position, init_value, decay_steps, **numbers):
        if module is schedules:
            return make(schedules.cosine_decay(init_value, decay_steps), **numbers)

        def formula(whole, fraction=0.0):
            return references.cosine_decay(whole, fraction, init_value=init_value, decay_steps=decay_steps)

        return make(formula, **numbers)(*position)

    return of_cosine


def _after(step):
    return 0.1 / (1.0 + jnp.asarray(step, jnp.result_type(float)))


_ramp = optax.linear_schedule(0.5, 1.0, 10)


def _joined(init_value, decay_rate, boundary, transition_steps):
    parts = [
        schedules.exponential_decay(init_value, transition_steps, decay_rate),
        schedules.step_decay(init_value, transition_steps, decay_rate),
        _after,
    ]
    return schedules.join(parts, [boundary, 2 * boundary])


def _joined_formula(whole, fraction=0.0, *, init_value, decay_rate, boundary, transition_steps):
    numbers = {"init_value": init_value, "decay_rate": decay_rate, "transition_steps": transition_steps}
    parts = [
        lambda whole, fraction: references.exponential_decay(whole, fraction, **numbers),
        lambda whole, fraction: references.step_decay(whole, fraction, **numbers),
        lambda whole, fraction: 0.1 / (1 + whole + fraction),
    ]
    return references.join(parts, [boundary, 2 * boundary])(whole, fraction)


def _multiplied(init_value, decay_steps, transition_steps):
    factors = schedules.cosine_decay(init_value, decay_steps), 0.7, schedules.step_decay(0.9, transition_steps)
    return schedules.product(*factors, _ramp)


def _multiplied_formula(whole, fraction=0.0, *, init_value, decay_steps, transition_steps):
    return (
        references.cosine_decay(whole, fraction, init_value=init_value, decay_steps=decay_steps)
        * 0.7
        * references.step_decay(whole, fraction, init_value=0.9, transition_steps=transition_steps)
        * references.linear(whole, fraction, init_value=0.5, end_value=1.0, transition_steps=10)
    )


def _next_value(init_value, transition_steps):
    return schedules.ahead(schedules.inverse_square_root(init_value, transition_steps))


def _next_value_formula(whole, fraction=0.0, **numbers):
    return references.inverse_square_root(whole + 1, fraction, **numbers)


def _both(name, numbers):
    return getattr(schedules, name), getattr(references, name), numbers


def _over_cosine(name, numbers):
    return _cosine(getattr(schedules, name)), _cosine(getattr(references, name)), numbers


# Name -> (maker, formula, numbers).
SCHEDULES = {
    "constant": _both("constant", {"value": 0.3}),
    "inverse_time_decay": _both("inverse_time_decay", _INVERSE),
    "inverse_time_decay-staircase": _both("inverse_time_decay", _INVERSE | {"staircase": True}),
    "exponential_decay": _both("exponential_decay", _EXPONENTIAL),
    "exponential_decay-staircase": _both("exponential_decay", _EXPONENTIAL | {"staircase": True}),
    "step_decay": _both("step_decay", _EXPONENTIAL),
    "inverse_square_root": _both("inverse_square_root", {"init_value": 0.3, "transition_steps": 4}),
    "piecewise_constant": _both(
        "piecewise_constant", {"init_value": 0.3, "boundaries_and_scales": {21: 0.5, 7: 2.0, 8: 0.3}}
    ),
    "polynomial-falling": _both("polynomial", _FALLING),
    "polynomial-rising": _both("polynomial", _RISING),
    "linear": _both("linear", {"init_value": 0.3, "end_value": 0.0, "transition_steps": 49}),
    "cosine_decay": _both("cosine_decay", {"init_value": 0.3, "decay_steps": 49}),
    "cosine_decay-all": _both("cosine_decay", {"init_value": 0.3, "decay_steps": 35, "alpha": 0.01, "exponent": 1.5}),
    "cyclic": _both("cyclic", _CYCLIC),
    "one_cycle": _both("one_cycle", _ONE_CYCLE),
    "warmup_stable_decay": _both("warmup_stable_decay", _STABLE | {"init_value": 0.01, "end_value": 0.02}),
    "nadam_momentum": _both("nadam_momentum", {"b1": 0.9, "momentum_decay": 0.3}),
    "warmup": _over_cosine("warmup", {"init_value": 0.3, "decay_steps": 30, "warmup_steps": 5}),
    "warmup-none": _over_cosine("warmup", {"init_value": 0.3, "decay_steps": 30, "warmup_steps": 0}),
    "restarts": _over_cosine("restarts", {"init_value": 0.3, "decay_steps": 7, "period": 7}),
    "restarts-2": _over_cosine("restarts", {"init_value": 0.3, "decay_steps": 4, "period": 4, "factor": 2}),
    "restarts-3": _over_cosine("restarts", {"init_value": 0.3, "decay_steps": 5, "period": 2, "factor": 3}),
    "join": (_joined, _joined_formula, _EXPONENTIAL | {"boundary": 6}),
    "product": (_multiplied, _multiplied_formula, {"init_value": 0.3, "decay_steps": 40, "transition_steps": 9}),
    "ahead": (_next_value, _next_value_formula, {"init_value": 0.3, "transition_steps": 5}),
}
STRUCTURE = ("factor", "staircase")
each = pytest.mark.parametrize("name", SCHEDULES)

# One program for all schedules at a time: dozens of small ones would spend a minute in the compiler.


@jax.tree_util.register_static
class Whereabouts(schedules.Schedule):
    """A schedule whose value is where it stands."""

    def at(self, position):
        return position


def positions(step, epoch, fraction):
    """Where an update stands in epochs and shares of the run, counted and told."""
    told = {"epoch": epoch, "epoch_fraction": fraction, "epochs": EPOCHS}
    return {
        "counted epochs": schedules.per_epoch(Whereabouts(), steps_per_epoch=STEPS_PER_EPOCH)(step),
        "counted shares": schedules.per_run(Whereabouts(), units=UNITS, steps=TOTAL)(step),
        "told epochs": schedules.per_epoch(Whereabouts())(0, **told),
        "told shares": schedules.per_run(Whereabouts(), units=UNITS)(0, **told),
    }


@functools.cache
def values_in_units(dtype):
    """{name: {unit: values [steps]}}."""
    fractions = (STEPS % STEPS_PER_EPOCH).astype(dtype) / dtype(STEPS_PER_EPOCH)
    everywhere = jax.jit(jax.vmap(positions))(STEPS, STEPS // STEPS_PER_EPOCH, fractions)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *everywhere.values())
    made = {name: make(**numbers) for name, (make, _, numbers) in SCHEDULES.items()}
    at = jax.jit(lambda made: {name: jax.vmap(jax.vmap(schedule.at))(stacked) for name, schedule in made.items()})
    return {name: dict(zip(everywhere, values, strict=True)) for name, values in at(made).items()}


def check_in_units(name, dtype, rtol, tolerances):
    _, formula, numbers = SCHEDULES[name]
    expected = {
        "epochs": references.per_epoch(formula, STEPS_PER_EPOCH, **numbers)(STEPS),
        "shares": references.per_run(formula, UNITS, TOTAL, **numbers)(STEPS),
    }
    for unit, values in values_in_units(dtype)[name].items():
        assert values.dtype == dtype
        atol = tolerances.get(unit, tolerances["any"])
        np.testing.assert_allclose(values, expected[unit.split()[-1]], rtol=rtol, atol=atol, err_msg=unit)


# A fraction of a unit is good to the last bit of 1. An epoch has several shares of the run, hence their fraction, where
# the fraction of the epoch is told, to several bits.


@each
def test_values_in_epochs_and_shares(name):
    check_in_units(name, np.float32, 2e-6, {"any": 1e-9, "told shares": 1e-6})


@pytest.mark.usefixtures("x64")
@each
def test_values_in_epochs_and_shares_in_float64(name):
    check_in_units(name, np.float64, 1e-13, {"any": 2e-16, "told shares": 1e-14})


def other_numbers(numbers):
    """Numbers that all differ, save those that are structure."""

    def other(name, number):
        if name in STRUCTURE:
            return number
        if name == "boundaries_and_scales":
            return {2 * boundary: scale / 3 for boundary, scale in number.items()}
        return number + 2 if isinstance(number, int) else number * 0.9

    return {name: other(name, number) for name, number in numbers.items()}


@functools.cache
def values_in_steps(dtype):
    """{name: values [steps] of the numbers, and of other numbers}, and how many programs were traced."""
    traces = []

    @jax.jit
    def values(made):
        traces.append(1)
        return {name: jax.vmap(schedule)(STEPS) for name, schedule in made.items()}

    first = values({name: make(**numbers) for name, (make, _, numbers) in SCHEDULES.items()})
    second = values({name: make(**other_numbers(numbers)) for name, (make, _, numbers) in SCHEDULES.items()})
    return {name: (first[name], second[name]) for name in SCHEDULES}, len(traces)


def check_in_steps(name, dtype, rtol):
    _, formula, numbers = SCHEDULES[name]
    values, traces = values_in_steps(dtype)
    for value, its_numbers in zip(values[name], (numbers, other_numbers(numbers)), strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, formula(STEPS, **its_numbers), rtol=rtol, atol=2e-16)
    assert traces == 1, "other numbers are another program"


@each
def test_values(name):
    check_in_steps(name, np.float32, 2e-6)


@pytest.mark.usefixtures("x64")
@each
def test_values_in_float64(name):
    check_in_steps(name, np.float64, 1e-13)


def first_number(name):
    """The name of a number of which the schedule's value is a linear function."""
    return next(key for key in SCHEDULES[name][-1] if key in ("init_value", "peak_value", "value", "b1"))


@functools.cache
def values_and_slopes():
    """{name: values and slopes [2] with respect to the first number, at half of it and at it}, numbers all traced."""

    def at_half_and_whole(name, numbers):
        make, _, all_numbers = SCHEDULES[name]
        structure = {key: number for key, number in all_numbers.items() if key in STRUCTURE}
        first = first_number(name)

        def value(x):
            return make(**numbers | {first: x}, **structure)(11)

        return jax.vmap(jax.value_and_grad(value))(numbers[first] * jnp.array([0.5, 1.0]))

    @jax.jit
    def all_of_them(numbers):
        return {name: at_half_and_whole(name, its_numbers) for name, its_numbers in numbers.items()}

    return all_of_them(
        {
            name: {key: number for key, number in numbers.items() if key not in STRUCTURE}
            for name, (_, _, numbers) in SCHEDULES.items()
        }
    )


@each
def test_made_of_traced_numbers_mapped_and_differentiated(name):
    _, formula, numbers = SCHEDULES[name]
    values, slopes = values_and_slopes()[name]
    key = first_number(name)
    half, whole = (formula(11, **numbers | {key: numbers[key] * part}) for part in (0.5, 1.0))
    np.testing.assert_allclose(values, [half, whole], rtol=2e-6)
    np.testing.assert_allclose(slopes, [(whole - half) / (numbers[key] / 2)] * 2, rtol=1e-5, atol=1e-9)


OPTAX = {
    "constant": optax.constant_schedule,
    "exponential_decay": optax.exponential_decay,
    "exponential_decay-staircase": optax.exponential_decay,
    "piecewise_constant": optax.piecewise_constant_schedule,
    "polynomial-falling": optax.polynomial_schedule,
    "linear": optax.linear_schedule,
    "cosine_decay": optax.cosine_decay_schedule,
    "cosine_decay-all": optax.cosine_decay_schedule,
    "one_cycle": optax.cosine_onecycle_schedule,
}


@functools.cache
def values_of_both():
    """{name: [gdjax's values, optax's]}."""

    def theirs(name, step):
        with jax.numpy_dtype_promotion("standard"):
            return jnp.asarray(OPTAX[name](**SCHEDULES[name][-1])(step), jnp.float64)

    def both(name, step):
        make, _, numbers = SCHEDULES[name]
        return make(**numbers)(step), theirs(name, step)

    return jax.jit(jax.vmap(lambda step: {name: both(name, step) for name in OPTAX}))(STEPS)


# Not its polynomial of fractional power: compiled, it is NaN at the end, where 1 − T·(1/T) may be less than 0.
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", OPTAX)
def test_optax_has_the_same(name):
    np.testing.assert_allclose(*values_of_both()[name], rtol=1e-12, atol=1e-15)
