import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import accumulate, bias_corrected, dampen, ema, nesterov, nesterov_corrected, two_speed

DRAWN = np.random.default_rng(0).normal(size=(30, 3))


@jax.jit
def scanned(transform, gradients):
    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, (updates, state)

    return jax.lax.scan(step, transform.init(gradients[0]), gradients)[1]


def answers(transform, gradients=DRAWN):
    return np.asarray(scanned(transform, jnp.asarray(gradients))[0])


def leaky(decay, gain):
    """v ← β·v + gain·g, [steps, 3]."""
    v, seen = np.zeros(3), []
    for g in DRAWN:
        v = decay * v + gain * g
        seen.append(v)
    return np.array(seen)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("filter", "gain"), [(accumulate(0.9), 1.0), (ema(0.9), 0.1)], ids=["accumulate", "ema"])
def test_nesterov_is_the_filter_once_more(filter, gain):
    memory = leaky(0.9, gain)
    said, state = scanned(nesterov(filter), jnp.asarray(DRAWN))
    np.testing.assert_allclose(said, 0.9 * memory + gain * DRAWN, rtol=1e-12)
    np.testing.assert_allclose(state.memory, memory, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_nesterov_of_squares_and_sums():
    squares = answers(nesterov(transforms.sum_of_squares()))
    np.testing.assert_allclose(squares, np.cumsum(DRAWN**2, axis=0) + DRAWN**2, rtol=1e-12)


def dozat(m, momenta):
    """μₜ₊₁·m / (1 − μ₁⋯μₜ₊₁) + (1 − μₜ)·g / (1 − μ₁⋯μₜ) for μ [steps + 1]."""
    products = np.cumprod(momenta)[:, None]
    now, later = momenta[:-1, None], momenta[1:, None]
    return later * m / (1 - products[1:]) + (1 - now) * DRAWN / (1 - products[:-1])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("momentum", [None, 0.9, 0.6])
def test_nesterov_corrected_is_its_formula(momentum):
    momenta = np.full(31, 0.9 if momentum is None else momentum)
    np.testing.assert_allclose(
        answers(nesterov_corrected(ema(0.9), momentum)), dozat(leaky(0.9, 0.1), momenta), rtol=1e-11
    )


@pytest.mark.usefixtures("x64")
def test_a_scheduled_momentum_is_read_one_step_ahead():
    schedule = schedules.linear(0.5, 0.95, 20)
    momenta = np.interp(np.arange(31), [0, 20], [0.5, 0.95])
    said = answers(transforms.clocked(nesterov_corrected(ema(0.9), schedule)))
    np.testing.assert_allclose(said, dozat(leaky(0.9, 0.1), momenta), rtol=1e-11)


def test_without_momentum_it_is_the_gradient():
    np.testing.assert_array_equal(answers(nesterov_corrected(ema(0.0)), np.float32(DRAWN)), np.float32(DRAWN))


@pytest.mark.parametrize("momentum", [None, 0.999])
def test_a_constant_gradient_comes_out_as_it_is_in_float32(momentum):
    """With one decay: next's weight of the memory and this one's of the gradient sum to 1 + a bit, as in the paper."""
    said = answers(nesterov_corrected(ema(0.999), momentum), np.full((2000, 1), 3, np.float32))
    one = -np.expm1(np.arange(1, 2002) * np.log1p(-0.001))[:, None]
    exact = 3 * (0.999 * one[:-1] / one[1:] + 0.001 / one[:-1])
    np.testing.assert_allclose(said, exact, rtol=2e-6)


@pytest.mark.usefixtures("x64")
def test_two_speed_answers_fast_and_remembers_slowly():
    said, state = scanned(two_speed(answers=ema(0.5), remembers=ema(0.9)), jnp.asarray(DRAWN))
    memory = leaky(0.9, 0.1)
    before = np.concatenate([np.zeros((1, 3)), memory[:-1]])
    np.testing.assert_allclose(said, 0.5 * before + 0.5 * DRAWN, rtol=1e-12)
    np.testing.assert_allclose(state.memory, memory, rtol=1e-12)


def test_two_speed_keeps_its_memory_as_it_is_told():
    kept = two_speed(answers=ema(0.5), remembers=ema(0.9, accumulator_dtype="bfloat16"))
    assert kept.init(jnp.ones(2)).memory.dtype == jnp.bfloat16
    assert (
        two_speed(answers=ema(0.5, accumulator_dtype="bfloat16"), remembers=ema(0.9)).init(jnp.ones(2)).memory.dtype
        == jnp.float32
    )


@pytest.mark.parametrize("speeds", [(0.0, 0.9), (0.9, 0.9)], ids=str)
def test_two_speeds_that_are_one(speeds):
    gradients = np.float32(DRAWN)
    said = answers(two_speed(answers=ema(speeds[0]), remembers=ema(speeds[1])), gradients)
    np.testing.assert_allclose(said, answers(ema(speeds[0]), gradients), rtol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("dampening", [0.0, 0.3, 1.0])
def test_dampening_spares_the_first_gradient(dampening):
    expected = DRAWN * np.where(np.arange(30) == 0, 1, 1 - dampening)[:, None]
    np.testing.assert_allclose(answers(dampen(dampening)), expected, rtol=1e-15)


@pytest.mark.usefixtures("x64")
def test_dampening_may_follow_a_schedule():
    said = answers(transforms.clocked(dampen(schedules.linear(0.5, 0.0, 10))))
    dampening = np.interp(np.arange(30), [0, 10], [0.5, 0.0])
    dampening[0] = 0
    np.testing.assert_allclose(said, DRAWN * (1 - dampening)[:, None], rtol=1e-12)


@pytest.mark.parametrize("dampening", [-0.1, 1.1, float("nan")])
def test_dampening_is_a_share(dampening):
    with pytest.raises(ValueError, match=r"`dampening` must lie in \[0, 1\], got"):
        dampen(dampening)


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (nesterov, "filter"),
        (nesterov_corrected, "filter"),
        (lambda wrong: two_speed(answers=wrong, remembers=ema(0.9)), "answers"),
        (lambda wrong: two_speed(answers=ema(0.9), remembers=wrong), "remembers"),
    ],
    ids=["nesterov", "nesterov_corrected", "answers", "remembers"],
)
@pytest.mark.parametrize(
    "wrong",
    [gdjax.gd(0.1), 0.9, ema, bias_corrected(ema(0.9)), transforms.chain(ema(0.9)), transforms.ema_of_variance(0.9)],
    ids=["gd", "number", "factory", "corrected", "chain", "variance"],
)
def test_only_filters_look_ahead(make, name, wrong):
    with pytest.raises(TypeError, match=rf"`{name}` must be a (filter|moving average) such as `ema\(0.9\)`"):
        make(wrong)


@pytest.mark.parametrize(
    "filter", [accumulate(0.9), transforms.ema_of_squares(0.9), transforms.sum_of_squares()], ids=repr
)
def test_nesterov_corrected_is_of_a_moving_average(filter):
    """It is refused, as the docstring says, or it is right: a leaky sum corrected is a moving average corrected."""
    try:
        transform = nesterov_corrected(filter)
    except TypeError:
        return
    signal = filter.rule.signal(jnp.asarray(DRAWN, jnp.float32))
    one = nesterov_corrected(ema(0.9))
    np.testing.assert_allclose(answers(transform, np.float32(DRAWN)), answers(one, np.float32(signal)), rtol=1e-4)


@pytest.mark.parametrize("momentum", [1.0, -0.1])
def test_a_momentum_is_a_decay(momentum):
    with pytest.raises(ValueError, match=r"`momentum` must lie in \[0, 1\), got"):
        nesterov_corrected(ema(0.9), momentum)
