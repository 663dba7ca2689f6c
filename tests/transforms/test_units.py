import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import ema_of_squares, unit_corrected

DRAWN = np.random.default_rng(0).normal(size=(30, 3))


@jax.jit
def scanned(transform, gradients):
    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, (updates, state)

    return jax.lax.scan(step, transform.init(gradients[0]), gradients)[1]


def zeiler(gradients, *, decay, eps):
    """(steps, s, d) by algorithm 1; the numbers may be [steps]."""
    s = d = np.zeros(gradients.shape[1:])
    steps, of_gradients, of_steps = [], [], []
    for g, rho, e in zip(gradients, np.broadcast_to(decay, 30), np.broadcast_to(eps, 30), strict=True):
        s = rho * s + (1 - rho) * np.abs(g) ** 2
        steps.append(np.sqrt(d + e) / np.sqrt(s + e) * g)
        d = rho * d + (1 - rho) * np.abs(steps[-1]) ** 2
        of_gradients.append(s)
        of_steps.append(d)
    return steps, of_gradients, of_steps


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("gradients", [DRAWN, DRAWN + 1j * DRAWN[::-1]], ids=["real", "complex"])
def test_it_is_its_formula(gradients):
    said, state = scanned(unit_corrected(ema_of_squares(0.9), eps_root=1e-4), jnp.asarray(gradients))
    steps, of_gradients, of_steps = zeiler(gradients, decay=0.9, eps=1e-4)
    np.testing.assert_allclose(said, steps, rtol=1e-11)
    np.testing.assert_allclose(state.gradients, of_gradients, rtol=1e-11)
    np.testing.assert_allclose(state.steps, of_steps, rtol=1e-11)


@pytest.mark.usefixtures("x64")
def test_its_numbers_may_follow_schedules():
    decays, eps = np.interp(np.arange(30), [0, 20], [0.5, 0.95]), 1e-2 * 0.5 ** (np.arange(30) // 5)
    transform = unit_corrected(
        ema_of_squares(schedules.linear(0.5, 0.95, 20)), eps_root=schedules.step_decay(1e-2, 5, 0.5)
    )
    said, _ = scanned(transforms.clocked(transform), jnp.asarray(DRAWN))
    np.testing.assert_allclose(said, zeiler(DRAWN, decay=decays, eps=eps)[0], rtol=1e-11)


@pytest.mark.usefixtures("x64")
def test_a_sum_will_do_too():
    said, _ = scanned(unit_corrected(transforms.sum_of_squares(), eps_root=1e-2), jnp.asarray(DRAWN))
    s, d = np.cumsum(DRAWN**2, axis=0), np.zeros(3)
    for g, of_gradients, step in zip(DRAWN, s, said, strict=True):
        expected = np.sqrt(d + 1e-2) / np.sqrt(of_gradients + 1e-2) * g
        np.testing.assert_allclose(step, expected, rtol=1e-12)
        d = d + expected**2


def test_the_unit_is_that_of_the_steps():
    """Gradients a thousand times as large bring the same steps, as far as ε is small beside them."""
    transform = unit_corrected(ema_of_squares(0.9), eps_root=1e-10)
    small, large = (scanned(transform, jnp.asarray(DRAWN * scale, jnp.float32))[0] for scale in (1.0, 1e3))
    np.testing.assert_allclose(large, small, rtol=1e-4)


def test_without_an_eps_nothing_moves():
    said, state = scanned(unit_corrected(ema_of_squares(0.9), eps_root=0.0), jnp.asarray(DRAWN, jnp.float32))
    assert not np.any(said)
    assert not np.any(state.steps)


@pytest.mark.parametrize("size", [0.0, 1e-25, 1e20, -1e20])
def test_tiny_and_huge_gradients_have_finite_steps(size):
    said, state = scanned(unit_corrected(ema_of_squares(0.9)), jnp.full((30, 2), size))
    assert all(np.isfinite(leaf).all() for leaf in (said, *state))
    assert np.all(np.sign(said) == np.sign(size))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("memory", ["float32", "bfloat16"])
def test_narrow_memories_of_wide_parameters(memory):
    transform = unit_corrected(ema_of_squares(0.9, accumulator_dtype=memory), eps_root=1e-4)
    said, state = scanned(transform, jnp.asarray(DRAWN))
    assert state.gradients.dtype == state.steps.dtype == jnp.dtype(memory)
    assert said.dtype == jnp.float64
    np.testing.assert_allclose(said, zeiler(DRAWN, decay=0.9, eps=1e-4)[0], rtol=0.05 if memory == "bfloat16" else 1e-5)


@pytest.mark.parametrize(
    "wrong",
    [
        0.9,
        ema_of_squares,
        gdjax.gd(0.1),
        transforms.bias_corrected(ema_of_squares(0.9)),
        transforms.ema_of_variance(0.9),
    ],
    ids=["number", "factory", "gd", "corrected", "variance"],
)
def test_only_filters_are_taken(wrong):
    with pytest.raises(TypeError, match=r"`filter` must be a filter such as `ema_of_squares\(0.9\)`"):
        unit_corrected(wrong)


@pytest.mark.parametrize("eps_root", [-1e-9, float("inf"), float("nan")])
def test_eps_is_not_negative(eps_root):
    with pytest.raises(ValueError, match="`eps_root` must be finite and at least 0, got"):
        unit_corrected(ema_of_squares(0.9), eps_root=eps_root)
