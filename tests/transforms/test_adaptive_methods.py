"""Adaptive methods where numbers are at their worst."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms

RATE = 1e-2
ADAPTIVE = {
    "adam": lambda: gdjax.adam(RATE),
    "rmsprop": lambda: gdjax.rmsprop(RATE, eps_in_sqrt=False),  # optax's ε inside the root is 1e-4 of a gradient
    "adagrad": lambda: gdjax.adagrad(RATE, 0.0),
}
adaptive_ones = pytest.mark.parametrize("make", ADAPTIVE.values(), ids=ADAPTIVE)
moving_ones = pytest.mark.parametrize("make", [ADAPTIVE["adam"], ADAPTIVE["rmsprop"]], ids=["adam", "rmsprop"])


def last_update(optimizer, gradient, steps, dtype=jnp.float32):
    """The last update of a run on a constant gradient."""
    gradient = jnp.asarray(gradient, dtype)
    start = gradient, optimizer.init(gradient)
    return jax.lax.fori_loop(0, steps, lambda _, carry: optimizer.update(gradient, carry[1]), start)[0]


def run(*arguments):
    return np.float64(last_update(*arguments))


@adaptive_ones
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_zero_gradient_does_not_move(make, dtype):
    assert run(make(), 0.0, 3, dtype) == 0


@pytest.mark.parametrize("make", [gdjax.adam, gdjax.rmsprop, gdjax.adagrad])
def test_zero_gradient_does_not_move_with_eps_zero(make):
    assert run(make(RATE, eps=0.0), 0.0, 3) == 0


@moving_ones
@pytest.mark.parametrize("gradient", [1e-5, 1e3, -1e3])
def test_float16_squares_neither_underflow_nor_overflow(make, gradient):
    update = run(make(), gradient, 300, jnp.float16)
    np.testing.assert_allclose(update, -RATE * np.sign(gradient), rtol=5e-3)


@adaptive_ones
@pytest.mark.parametrize("gradient", [1e20, 1e-25])
@pytest.mark.parametrize("steps", [1, 2, 50])
def test_float32_gradients_whose_squares_overflow_or_underflow_make_no_giant_step(make, gradient, steps):
    update = run(make(), gradient, steps)
    assert -20 * RATE <= update <= 0


@adaptive_ones
def test_a_nan_in_the_memory_is_not_taken_for_a_zero(make):
    optimizer = make()
    _, state = optimizer.update(jnp.array([jnp.nan, 1.0]), optimizer.init(jnp.zeros(2)))
    updates, _ = optimizer.update(jnp.array([1.0, 1.0]), state)
    assert np.isnan(updates).tolist() == [True, False]


@moving_ones
@pytest.mark.parametrize("traced", [False, True])
def test_a_thousand_bfloat16_steps(make, traced):
    last = jax.jit(lambda optimizer: last_update(optimizer, 0.5, 1000, "bfloat16"))
    update = last(make()) if traced else last_update(make(), 0.5, 1000, "bfloat16")
    np.testing.assert_allclose(np.float64(update), -RATE, rtol=1e-2)


@pytest.mark.parametrize("gradient", [1.0, -3.0, 1e3, 0.123])
@pytest.mark.parametrize("b2", [0.9, 0.999, 0.9999])
def test_the_first_step_of_adam_is_the_learning_rate(gradient, b2):
    update = run(gdjax.adam(RATE, b2=b2), gradient, 1)
    assert update / (-np.float64(np.float32(RATE)) * np.sign(gradient)) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("b1", [0, 0.0])
def test_without_momentum_adam_is_finite_for_ever(b1):
    assert run(gdjax.adam(RATE, b1=b1), 0.5, 70) == pytest.approx(-RATE, rel=1e-6)


@pytest.mark.parametrize("rate", [np.float64(RATE), np.float32(RATE), jnp.float32(RATE), np.array(RATE)], ids=repr)
@pytest.mark.parametrize("make", [gdjax.gd, gdjax.momentum, gdjax.heavy_ball, gdjax.adagrad, gdjax.rmsprop, gdjax.adam])
def test_the_dtype_of_the_learning_rate_does_not_matter(make, rate):
    gradient = jnp.ones(2, jnp.bfloat16)
    optimizer = make(rate)
    updates, _ = jax.eval_shape(optimizer.update, gradient, optimizer.init(gradient))
    assert updates.dtype == jnp.bfloat16


def test_bfloat16_parameters_with_float32_gradients_under_scan():
    optimizer = gdjax.adam(RATE)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(params.astype(jnp.float32), state, params)
        assert updates.dtype == jnp.float32
        return (params + updates.astype(params.dtype), state), None

    params = jnp.ones(3, jnp.bfloat16)
    (after, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), length=50)
    assert bool((after < 0.9).all())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_optax_inject_hyperparams_is_finite(dtype):
    optimizer = optax.inject_hyperparams(gdjax.adam)(RATE)
    params = jnp.ones(3, dtype)
    state = optimizer.init(params)
    for _ in range(10):
        updates, state = optimizer.update(params, state, params)
        assert updates.dtype == params.dtype
        assert bool(jnp.isfinite(updates).all())
    np.testing.assert_allclose(np.asarray(updates, np.float32), -RATE, rtol=2e-2)


def test_a_complex_loss_falls():
    target = jnp.array([1.0 + 2.0j, -3.0j], jnp.complex64)

    def loss(z):
        return jnp.sum(jnp.abs(z - target) ** 2)

    for optimizer in (gdjax.gd(0.1), gdjax.momentum(0.1), gdjax.heavy_ball(0.02), gdjax.adam(0.1), gdjax.rmsprop(0.02)):

        def step(carry, _, optimizer=optimizer):
            z, state = carry
            updates, state = optimizer.update(jnp.conj(jax.grad(loss)(z)), state, z)
            return (optax.apply_updates(z, updates), state), None

        start = jnp.zeros(2, jnp.complex64)
        (z, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), length=200)
        assert float(loss(z)) < 1e-2 * float(loss(start)), optimizer


def test_turning_a_complex_gradient_turns_the_update():
    """|g|² is the magnitude of a complex coordinate, so an optimizer does not know its phase."""
    gradients = np.random.default_rng(0).normal(size=(20, 3)) + 1j * np.random.default_rng(1).normal(size=(20, 3))
    gradients, turn = jnp.asarray(gradients, jnp.complex64), jnp.asarray(np.exp(0.7j), jnp.complex64)
    optimizer = gdjax.adam(RATE)

    def updates(gradients):
        def step(state, gradient):
            update, state = optimizer.update(gradient, state)
            return state, update

        return jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]

    np.testing.assert_allclose(updates(gradients * turn), updates(gradients) * turn, atol=1e-7)


def test_any_direction_over_any_magnitude():
    transform = transforms.adaptive(
        direction=transforms.accumulate(0.5), magnitude=transforms.sum_of_squares(), eps=1.0
    )
    state = transform.init(jnp.zeros(()))
    updates, state = transform.update(jnp.array(3.0), state)
    assert float(updates) == pytest.approx(3 / (3 + 1))
    updates, state = transform.update(jnp.array(4.0), state)
    assert float(updates) == pytest.approx(5.5 / (5 + 1))


def test_the_root_has_derivative_zero_at_zero():
    def update(gradient, eps):
        transform = transforms.adaptive(magnitude=transforms.sum_of_squares(), eps=eps)
        return transform.update(gradient, transform.init(gradient))[0]

    by_gradient, by_eps = jax.grad(update, argnums=(0, 1))(0.0, 0.01)
    assert float(by_gradient) == pytest.approx(1 / 0.01)
    assert float(by_eps) == 0


def test_eps_may_be_scheduled():
    optimizer = transforms.clocked(
        transforms.adaptive(magnitude=transforms.sum_of_squares(), eps=schedules.inverse_time_decay(2.0, 1.0))
    )
    updates, state = optimizer.update(jnp.array(2.0), optimizer.init(jnp.zeros(())))
    assert float(updates) == pytest.approx(2 / (2 + 2))
    assert float(state.hyperparameters["eps"]) == 2.0


@pytest.mark.parametrize("argument", ["direction", "magnitude"])
def test_only_transforms_are_taken(argument):
    arguments = {"magnitude": transforms.sum_of_squares()} | {argument: transforms.ema}
    with pytest.raises(TypeError, match=f"`{argument}` must be a gradient transformation.*still has to be called"):
        transforms.adaptive(**arguments)
