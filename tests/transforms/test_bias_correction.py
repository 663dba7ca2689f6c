import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gdjax import transforms


def answers(transform, gradients):
    def step(state, gradient):
        updates, state = transform.update(gradient, state)
        return state, updates

    return np.asarray(jax.lax.scan(step, transform.init(gradients[0]), gradients)[1])


@pytest.mark.parametrize(
    ("transform", "constant", "expected"),
    [
        (transforms.ema(0.999), 3.0, 3.0),
        (transforms.ema(0.0), 3.0, 3.0),
        (transforms.ema_of_squares(0.9999), 3.0, 9.0),
        (transforms.accumulate(0.9), 3.0, 3.0),
        (transforms.sum_of_squares(), 3.0, 9.0),
    ],
    ids=str,
)
def test_a_constant_gradient_comes_out_as_it_is(transform, constant, expected):
    said = answers(transforms.bias_corrected(transform), jnp.full((200,), constant))
    np.testing.assert_allclose(said, expected, rtol=3e-7)


def test_accumulate_over_its_response_is_ema_over_its_response():
    gradients = jnp.asarray(np.random.default_rng(0).normal(size=(50, 3)), jnp.float32)
    of_sum, of_mean = (
        answers(transforms.bias_corrected(filter), gradients)
        for filter in (transforms.accumulate(0.9), transforms.ema(0.9))
    )
    np.testing.assert_allclose(of_sum, of_mean, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("b", [0.5, 0.9, 0.9999])
def test_the_divisor_is_the_power_formula(b):
    gradients = np.random.default_rng(0).normal(size=(400, 3))
    v, expected = 0.0, []
    for t, g in enumerate(gradients, start=1):
        v = b * v + (1 - b) * g
        expected.append(v / (1 - b**t))
    np.testing.assert_allclose(answers(transforms.bias_corrected(transforms.ema(b)), gradients), expected, atol=1e-11)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    "filter",
    [transforms.ema(0.9), transforms.ema_of_squares(0.9), optax.ema(0.9, debias=False)],
    ids=["ema", "ema_of_squares", "foreign"],
)
def test_another_weight_divides(filter):
    gradients = np.random.default_rng(0).normal(size=(50, 3))
    divisor = 1 - 0.8 ** np.arange(1, 51)[:, None]
    corrected = answers(transforms.bias_corrected(filter, weight=transforms.ema(0.8)), gradients)
    np.testing.assert_allclose(corrected, answers(filter, gradients) / divisor, rtol=1e-12)


@pytest.mark.usefixtures("x64")
def test_a_foreign_filter_is_corrected_by_its_own_response():
    gradients = np.random.default_rng(0).normal(size=(50, 3))
    divisor = 1 - 0.9 ** np.arange(1, 51)[:, None]
    foreign = optax.ema(0.9, debias=False)
    corrected = answers(transforms.bias_corrected(foreign), gradients)
    np.testing.assert_allclose(corrected, answers(foreign, gradients) / divisor, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("weight", [None, transforms.ema(0.999)], ids=["self", "weight"])
def test_16_bit_answers_are_rounded_once(dtype, weight):
    corrected = transforms.bias_corrected(transforms.ema(0.999), weight=weight)
    gradient = jnp.asarray(1e-3, dtype)
    updates, _ = corrected.update(gradient, corrected.init(gradient))
    assert float(updates) == float(gradient)


def test_the_divisor_does_not_stall_in_float32():
    corrected = transforms.bias_corrected(transforms.ema(0.9999), weight=transforms.ema(0.9999))
    step = jax.jit(
        lambda state: jax.lax.fori_loop(0, 200_000, lambda _, s: corrected.update(jnp.ones(()), s)[1], state)
    )
    response = step(corrected.init(jnp.zeros(()))).response
    np.testing.assert_allclose(response.value, 1 - 0.9999**200_000, rtol=2e-7)


def test_corrected_filters_start_at_zero():
    with pytest.raises(ValueError, match="`filter` must start from 0 to be corrected"):
        transforms.bias_corrected(transforms.sum_of_squares(initial_value=0.1))


@pytest.mark.parametrize(("arguments", "name"), [((0.9,), "filter"), ((transforms.ema(0.9), 0.9), "weight")])
def test_only_transforms_are_taken(arguments, name):
    with pytest.raises(TypeError, match=f"`{name}` must be a gradient transformation of gdjax or optax, got 0.9"):
        transforms.bias_corrected(*arguments)


def test_a_weight_that_needs_parameters_is_an_error():
    corrected = transforms.bias_corrected(transforms.ema(0.9), weight=optax.add_decayed_weights(0.1))
    with pytest.raises(ValueError, match="param"):
        corrected.update(jnp.ones(2), corrected.init(jnp.ones(2)), jnp.ones(2))
