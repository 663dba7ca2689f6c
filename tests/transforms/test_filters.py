import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import transforms

GRADIENTS = [3.0, -1.0, 0.5]


def answers(transform, gradients, dtype=jnp.float32):
    state, said = transform.init(jnp.zeros((), dtype)), []
    for gradient in gradients:
        update, state = transform.update(jnp.asarray(gradient, dtype), state)
        said.append(complex(update) if jnp.iscomplexobj(update) else float(update))
    return said


@pytest.mark.parametrize(
    ("transform", "expected"),
    [
        (transforms.ema(0.75), [0.75, 0.3125, 0.359375]),
        (transforms.ema_of_squares(0.75), [2.25, 1.9375, 1.515625]),
        (transforms.accumulate(0.5), [3.0, 0.5, 0.75]),
        (transforms.sum_of_squares(), [9.0, 10.0, 10.25]),
        (transforms.sum_of_squares(initial_value=0.25), [9.25, 10.25, 10.5]),
        (transforms.nesterov(transforms.accumulate(0.5)), [4.5, -0.75, 0.875]),
        (transforms.nesterov(transforms.ema(0.5)), [2.25, -0.375, 0.4375]),
    ],
    ids=str,
)
def test_answers(transform, expected):
    assert answers(transform, GRADIENTS) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("magnitude", [transforms.ema_of_squares(0.0), transforms.sum_of_squares()], ids=str)
def test_the_square_of_a_complex_gradient_is_real(magnitude):
    assert answers(magnitude, [3.0 + 4.0j], jnp.complex64) == [25.0]
    assert magnitude.init(jnp.zeros((), jnp.complex64)).memory.dtype == jnp.float32


def test_ema_of_a_complex_gradient_is_complex():
    assert answers(transforms.ema(0.5), [2.0 + 4.0j, 2.0j], jnp.complex64) == [1.0 + 2.0j, 0.5 + 2.0j]


@pytest.mark.parametrize("average", [transforms.ema, transforms.accumulate])
def test_without_decay_a_filter_is_the_gradient_bit_for_bit(average):
    gradients = [1e9, 1.1, -3e-9, 0.0, 7e-30]
    assert answers(average(0.0), gradients) == [float(np.float32(g)) for g in gradients]


def test_a_16_bit_memory_does_not_lose_small_gradients():
    average = transforms.ema(0.999)
    state = average.init(jnp.zeros((), jnp.bfloat16))
    step = jax.jit(lambda state: average.update(jnp.ones((), jnp.bfloat16), state)[1])
    for _ in range(1000):
        state = step(state)
    np.testing.assert_allclose(state.memory, 1 - 0.999**1000, rtol=1e-5)


def test_only_filters_look_ahead():
    with pytest.raises(TypeError, match=r"`filter` must be a filter such as `ema\(0.9\)`"):
        transforms.nesterov(gdjax.gd(0.1))


@pytest.mark.parametrize("nesterov", [False, True])
def test_look_ahead_does_not_change_the_state(nesterov):
    params = {"w": jnp.ones(3)}
    state = gdjax.heavy_ball(0.1, nesterov=nesterov).init(params)
    assert jax.tree.structure(state) == jax.tree.structure(gdjax.heavy_ball(0.1).init(params))
