import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import additive_squares, bias_corrected, ema, ema_of_squares, ema_of_variance, surprise

DRAWN = np.random.default_rng(0).normal(size=(40, 3))


@jax.jit
def scanned(transform, gradients):
    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, updates

    return jax.lax.scan(step, transform.init(gradients[0]), gradients)[1]


def answers(transform, gradients):
    """What it says to each gradient, float64 [steps, ...]."""
    said = np.asarray(scanned(transform, jnp.asarray(gradients)))
    return said.astype(np.complex128 if np.iscomplexobj(said) else np.float64)


def weights(decays):
    """[steps, gradients]: what a moving average of these decays gives each gradient after each step."""
    steps = len(decays)
    result = np.zeros((steps, steps))
    for t in range(steps):
        result[t] = result[t - 1] * decays[t] if t else 0
        result[t, t] = 1 - decays[t]
    return result


def variances(gradients, decays, *, corrected=False, initial_value=0.0):
    """ema(|g|²) − |ema(g)|² in float64; `initial_value` fades with the decays."""
    share = weights(decays)
    if corrected:
        share = share / share.sum(axis=1, keepdims=True)
    gradients = gradients.astype(np.result_type(gradients.dtype, np.float64))
    squares, means = share @ np.abs(gradients) ** 2, share @ gradients
    return squares - np.abs(means) ** 2 + initial_value * np.cumprod(decays)[:, None]


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_variance_is_the_difference_of_two_averages(decay, corrected):
    transform = ema_of_variance(decay)
    said = answers(bias_corrected(transform) if corrected else transform, DRAWN)
    np.testing.assert_allclose(said, variances(DRAWN, [decay] * 40, corrected=corrected), rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_an_initial_variance_fades():
    said = answers(ema_of_variance(0.9, initial_value=4.0), DRAWN)
    np.testing.assert_allclose(said, variances(DRAWN, [0.9] * 40, initial_value=4.0), rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_the_variance_under_a_scheduled_decay():
    decays = 0.5 + 0.4 / (1 + np.arange(40))
    schedule = schedules.as_schedule(lambda step: 0.5 + 0.4 / (1 + jnp.asarray(step, float)))
    for corrected in (False, True):
        transform = ema_of_variance(schedule)
        said = answers(transforms.clocked(bias_corrected(transform) if corrected else transform), DRAWN)
        np.testing.assert_allclose(said, variances(DRAWN, decays, corrected=corrected), rtol=1e-9, atol=1e-13)


@pytest.mark.usefixtures("x64")
def test_the_variance_of_complex_gradients_is_real():
    gradients = DRAWN + 1j * DRAWN[::-1]
    said = answers(ema_of_variance(0.9), gradients)
    np.testing.assert_allclose(said.real, variances(gradients, [0.9] * 40), rtol=1e-12)
    assert np.all(said.imag == 0)
    moments = ema_of_variance(0.9).init(jnp.zeros(3, complex)).memory
    assert (moments.mean.dtype, moments.variance.dtype) == (np.complex128, np.float64)


@pytest.mark.parametrize("corrected", [False, True])
def test_a_small_variance_on_a_large_mean_in_float32(corrected):
    """1e3 ± 1e-2, which float32 tells apart in steps of 6e-5. The difference of two averages has nothing left."""
    gradients = (1e3 + 1e-2 * np.random.default_rng(0).normal(size=(3000, 2))).astype(np.float32)
    exact = variances(gradients, [0.99] * 3000, corrected=True)[1000:]  # corrected or not, by now
    of_variance, of_squares, of_gradients = ema_of_variance(0.99), ema_of_squares(0.99), ema(0.99)
    if corrected:
        of_variance, of_squares, of_gradients = map(bias_corrected, (of_variance, of_squares, of_gradients))
    said = answers(of_variance, gradients)
    assert said.min() >= 0
    # Uncorrected, the mean comes from zero, and stops 3e-3 before it is there: less is no increment to float32.
    np.testing.assert_allclose(said[2500:], exact[1500:], rtol=0.02 if corrected else 0.25)
    squares, means = (scanned(each, jnp.asarray(gradients)) for each in (of_squares, of_gradients))
    naive = np.float64(squares - means**2)[1000:]
    assert np.abs(naive / exact - 1).max() > 10
    assert naive.min() < 0


@given(
    st.lists(st.floats(-(2.0**50), 2.0**50, width=32), min_size=8, max_size=8),
    st.floats(0, 0.9999),
)
@settings(deadline=None)
def test_no_variance_is_negative(gradients, decay):
    for transform in (ema_of_variance(decay), bias_corrected(ema_of_variance(decay))):
        said = answers(transform, np.array(gradients, np.float32))
        assert said.min() >= 0


@pytest.mark.parametrize("size", [1e30, -1e30, 3e38])
def test_a_huge_gradient_leaves_a_finite_variance(size):
    said = answers(ema_of_variance(0.9), np.array([1, size, 1, 1], np.float32))
    assert np.isfinite(said).all()


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("initial_value", [0.0, 0.5])
def test_additive_squares_is_its_formula(initial_value):
    gradients, v, expected = DRAWN.copy(), np.full(3, initial_value), []
    gradients[20:30] = 0  # nothing changes
    for g in gradients:
        v = v - 0.1 * np.sign(v - g**2) * g**2
        expected.append(v)
    said = answers(additive_squares(0.9, initial_value=initial_value), gradients)
    np.testing.assert_allclose(said, expected, rtol=1e-12)
    assert np.all(said[20:30] == said[19])
    corrected = answers(bias_corrected(additive_squares(0.9, initial_value=initial_value)), gradients)
    np.testing.assert_allclose(corrected, expected / (1 - 0.9 ** np.arange(1, 41))[:, None], rtol=1e-12)


def test_additive_squares_rests_at_the_square():
    assert answers(additive_squares(0.5, initial_value=4.0), np.full(5, 2, np.float32)).tolist() == [4] * 5


@given(st.lists(st.floats(-(2.0**80), 2.0**80, width=32), min_size=8, max_size=8), st.floats(0, 0.9999))
@settings(deadline=None)
def test_additive_squares_are_never_negative_nor_infinite(gradients, decay):
    said = answers(additive_squares(decay), np.array(gradients, np.float32))
    assert said.min() >= 0
    assert np.isfinite(said).all()


DIRECTIONS = {
    "ema": ema(0.8),
    "corrected": bias_corrected(ema(0.8)),
    "nesterov": transforms.nesterov(ema(0.8)),
    "nesterov_corrected": transforms.nesterov_corrected(ema(0.8)),
    "weight": bias_corrected(ema(0.8), weight=ema(0.5)),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("direction", DIRECTIONS.values(), ids=DIRECTIONS)
def test_the_surprise_is_the_gradient_less_the_memory(direction):
    """The memory as it is, not as the direction looks ahead with it or corrects it."""
    magnitude = transforms.chain(surprise(), ema_of_squares(0.9))
    said = answers(transforms.adaptive(direction=direction, magnitude=magnitude, eps=0.1), DRAWN)
    surprises = DRAWN - weights([0.8] * 40) @ DRAWN
    size = np.sqrt(weights([0.9] * 40) @ surprises**2) + 0.1
    np.testing.assert_allclose(said, answers(direction, DRAWN) / size, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_size_may_be_surprised_too():
    said = answers(
        transforms.quotient(direction=ema(0.8), size=transforms.chain(surprise(), ema(0.0)), eps=10.0), DRAWN
    )
    means = weights([0.8] * 40) @ DRAWN
    np.testing.assert_allclose(said, means / (DRAWN - means + 10), rtol=1e-12)


@pytest.mark.parametrize(
    "transform",
    [
        surprise(),
        transforms.chain(ema(0.9), surprise()),
        transforms.adaptive(magnitude=transforms.chain(surprise(), ema_of_squares(0.9))),
        transforms.adaptive(direction=gdjax.gd(0.1), magnitude=transforms.chain(surprise(), ema_of_squares(0.9))),
        gdjax.chain(gdjax.adam(0.1), surprise()),
    ],
    ids=["alone", "behind", "no direction", "another direction", "behind adam"],
)
def test_where_nobody_predicts_is_an_error(transform):
    with pytest.raises(
        ValueError, match=r"^`surprise\(\)` must stand in the size or magnitude of.*got no prediction\."
    ):
        jax.eval_shape(lambda g: transform.update(g, transform.init(g)), jnp.ones(2))


@pytest.mark.parametrize("make", [ema_of_variance, additive_squares])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"decay": 1.0}, ValueError, r"`b2` must lie in \[0, 1\), got 1.0"),
        ({"decay": 0.9, "initial_value": -1.0}, ValueError, "`initial_value` must be finite and at least 0, got -1.0"),
        ({"decay": 0.9, "accumulator_dtype": "int8"}, TypeError, "`accumulator_dtype` must be a float dtype"),
    ],
)
def test_wrong_arguments_are_refused(make, arguments, error, message):
    with pytest.raises(error, match=message):
        make(**arguments, name="b2")


def test_an_initial_variance_is_not_corrected():
    with pytest.raises(ValueError, match="`filter` must start from 0 to be corrected"):
        bias_corrected(ema_of_variance(0.9, initial_value=0.1))
