import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdjax import schedules, transforms
from gdjax.transforms import bias_corrected, ema, ema_of_max, ema_of_squares, running_max

DRAWN = np.random.default_rng(0).normal(size=(60, 3)) * np.exp(-np.arange(60) / 20)[:, None]
"""They shrink, so that maxima are of the past."""


@jax.jit
def scanned(transform, gradients):
    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, updates

    return jax.lax.scan(step, transform.init(gradients[0]), gradients)[1]


def answers(transform, gradients=DRAWN):
    return np.asarray(scanned(transform, jnp.asarray(gradients)))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("filter", [ema_of_squares(0.8), bias_corrected(ema_of_squares(0.8)), ema(0.8)], ids=repr)
def test_the_running_max_is_of_all_answers(filter):
    expected = np.maximum(np.maximum.accumulate(answers(filter), axis=0), 0)
    assert not np.array_equal(expected, answers(filter))
    np.testing.assert_array_equal(answers(running_max(filter)), expected)


@given(st.lists(st.floats(-(2.0**80), 2.0**80, width=32), min_size=8, max_size=8))
@settings(deadline=None)
def test_the_running_max_never_shrinks(gradients):
    for filter in (ema_of_squares(0.5), bias_corrected(ema_of_squares(0.9))):
        said = answers(running_max(filter), np.array(gradients, np.float32))
        assert np.all(np.diff(said) >= 0)


def test_it_never_shrinks_where_it_is_kept_in_16_bits():
    said = answers(running_max(ema(0.0), accumulator_dtype="bfloat16"), np.array([1.003, 0.5, 1.001], np.float32))
    assert np.all(np.diff(said) >= 0)


@pytest.mark.usefixtures("x64")
def test_the_corrected_running_max_is_over_the_largest_response():
    """A response that grows is its own running maximum."""
    said = answers(bias_corrected(running_max(ema_of_squares(0.8))))
    response = (1 - 0.8 ** np.arange(1, 61))[:, None]
    np.testing.assert_allclose(said, answers(running_max(ema_of_squares(0.8))) / response, rtol=1e-12)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("eps", [0.0, 0.3])
def test_ema_of_max_is_its_formula(eps):
    v, expected = np.zeros(3), []
    for g in DRAWN:
        v = np.maximum(0.9 * v, np.abs(g) + eps)
        expected.append(v)
    np.testing.assert_allclose(answers(ema_of_max(0.9, eps=eps)), expected, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_ema_of_max_under_schedules():
    v, expected = np.zeros(3), []
    for t, g in enumerate(DRAWN):
        v = np.maximum((0.5 + 0.4 * min(t, 20) / 20) * v, np.abs(g) + 0.1 / (1 + t))
        expected.append(v)
    transform = ema_of_max(schedules.linear(0.5, 0.9, 20), eps=schedules.inverse_time_decay(0.1, 1.0))
    np.testing.assert_allclose(answers(transforms.clocked(transform)), expected, rtol=1e-12)


@pytest.mark.parametrize("eps", [0.0, 1e-8])
def test_the_size_of_a_complex_gradient(eps):
    transform = ema_of_max(0.5, eps=eps)
    assert transform.init(jnp.zeros(2, jnp.complex64)).memory.dtype == jnp.float32
    said = answers(transform, np.array([3 + 4j, 0, 1j], np.complex64))
    np.testing.assert_allclose(said, [5, 2.5, 1.25], rtol=1e-6)


def test_a_huge_gradient_is_forgotten_again():
    said = answers(ema_of_max(0.5, eps=1e38), np.array([3e38, -3e38, 0, 0], np.float32))
    assert np.isfinite(said).all()
    np.testing.assert_allclose(said[2:], said[1] * np.array([0.5, 0.29]), rtol=0.02)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ema_of_max(1.0, name="b2"), ValueError, r"`b2` must lie in \[0, 1\), got 1.0"),
        (lambda: ema_of_max(0.9, eps=-1.0), ValueError, "`eps` must be finite and at least 0, got -1.0"),
        (lambda: ema_of_max(0.9, accumulator_dtype=int), TypeError, "`accumulator_dtype` must be a float dtype"),
        (lambda: running_max(0.9), TypeError, "`filter` must be a gradient transformation of gdjax or optax, got 0.9"),
        (lambda: running_max(ema(0.9), accumulator_dtype=bool), TypeError, "`accumulator_dtype` must be a float"),
    ],
)
def test_wrong_arguments_are_refused(make, error, message):
    with pytest.raises(error, match=message):
        make()
