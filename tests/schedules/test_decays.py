import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import schedules


@pytest.mark.parametrize("step", [2**24 + 1, 2**31 - 1])
def test_a_staircase_counts_beyond_the_integers_of_float32(step):
    assert float(schedules.step_decay(1.0, step)(step - 1)) == 1.0
    assert float(schedules.step_decay(1.0, step)(step)) == 0.5


def test_built_under_vmap_and_differentiated():
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
        ({"transition_steps": 2**31}, ValueError, "`transition_steps` must be at most 2147483647, got 2147483648"),
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
        make(**({"init_value": 0.3, "transition_steps": 4, "decay_rate": 0.8} | changed))


def test_inverse_square_root_out_of_range():
    with pytest.raises(ValueError, match="`transition_steps` must be at least 1, got 0"):
        schedules.inverse_square_root(0.1, 0)
    with pytest.raises(ValueError, match="`init_value` must be finite and at least 0, got -0.1"):
        schedules.inverse_square_root(-0.1, 1)
