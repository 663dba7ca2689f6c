import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

from gdjax import schedules

LONG = 100_000
STEPS = np.array([0, 1, 2, 1000, LONG // 2, LONG - 1000, LONG - 1, LONG, LONG + 1, 2**31 - 1])


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("linear", {"init_value": 1e-7, "end_value": 1.0, "transition_steps": LONG}),
        ("linear", {"init_value": 1.0, "end_value": 0.0, "transition_steps": LONG}),
        ("polynomial", {"init_value": 1e-7, "end_value": 1.0, "transition_steps": LONG, "power": 3.0}),
        ("polynomial", {"init_value": 1.0, "end_value": 1e-7, "transition_steps": LONG, "power": 0.5}),
        ("cosine_decay", {"init_value": 1.0, "decay_steps": LONG}),
        ("cosine_decay", {"init_value": 1.0, "decay_steps": LONG, "alpha": 1e-6, "exponent": 0.5}),
    ],
)
def test_small_values_are_as_good_as_large_ones_in_float32(name, numbers):
    """Where 1 − t/T and 1 + cos(πt/T) cancel: at both ends of a long run."""
    steps = STEPS if name == "linear" else np.longdouble(STEPS)
    formula = getattr(references, name)(steps, **numbers)
    if name == "cosine_decay" and "alpha" not in numbers:  # its 1 + cos cancels in the formula, too
        formula = np.sin(np.pi / 2 * (LONG - np.minimum(STEPS, LONG)) / LONG) ** 2
    values = jax.jit(jax.vmap(getattr(schedules, name)(**numbers)))(STEPS)
    np.testing.assert_allclose(values, np.float64(formula), rtol=2e-6)


@pytest.mark.parametrize("power", [0.5, 1.0, 3])
@pytest.mark.parametrize("steps", [1, 3, 45, 49, 2**24 + 1, 2**31 - 1])
def test_the_ends_are_reached(steps, power):
    """Compiled with constants too, where t/T becomes t·(1/T), which at T is not always 1."""
    schedule = schedules.polynomial(0.7, 0.3, power, steps)
    values = jax.jit(lambda step: (schedule(0), schedule(step), schedules.cosine_decay(0.7, steps)(step)))(steps)
    np.testing.assert_allclose(values, [0.7, 0.3, 0.0], rtol=2e-7)


def test_gradients_at_the_end_are_finite():
    def value(numbers):
        return schedules.polynomial(**numbers, transition_steps=4)(4)

    slopes = jax.grad(value)({"init_value": 1.0, "end_value": 0.5, "power": 0.5})
    assert {name: float(slope) for name, slope in slopes.items()} == {"init_value": 0, "end_value": 1, "power": 0}
    slope = jax.grad(lambda exponent: schedules.cosine_decay(1.0, 4, exponent=exponent)(4))(0.5)
    assert float(slope) == 0


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("polynomial", {"transition_steps": 0}, "`transition_steps` must be at least 1, got 0"),
        ("polynomial", {"init_value": -1.0}, "`init_value` must be finite and at least 0, got -1.0"),
        ("polynomial", {"end_value": np.inf}, "`end_value` must be finite and at least 0, got inf"),
        ("polynomial", {"power": 0}, "`power` must be finite and above 0, got 0.0"),
        ("linear", {"transition_steps": 0}, "`transition_steps` must be at least 1, got 0"),
        ("cosine_decay", {"decay_steps": 0}, "`decay_steps` must be at least 1, got 0"),
        ("cosine_decay", {"init_value": -1.0}, "`init_value` must be finite and at least 0, got -1.0"),
        ("cosine_decay", {"alpha": 1.5}, r"`alpha` must lie in \[0, 1\], got 1.5"),
        ("cosine_decay", {"exponent": -1.0}, "`exponent` must be finite and above 0, got -1.0"),
    ],
)
def test_numbers_out_of_range(name, changed, message):
    numbers = {
        "polynomial": {"init_value": 1.0, "end_value": 0.0, "power": 1.0, "transition_steps": 5},
        "linear": {"init_value": 1.0, "end_value": 0.0, "transition_steps": 5},
        "cosine_decay": {"init_value": 1.0, "decay_steps": 5},
    }[name]
    with pytest.raises(ValueError, match=message):
        getattr(schedules, name)(**numbers | changed)


def test_a_count_that_is_mapped():
    values = jax.vmap(lambda steps: schedules.linear(1.0, 0.0, steps)(2))(jnp.array([2, 4, 8]))
    np.testing.assert_allclose(values, [0.0, 0.5, 0.75])
