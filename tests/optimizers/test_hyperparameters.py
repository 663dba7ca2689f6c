"""An optimizer is a pytree of its hyperparameters: checked when built, then data of a compiled program."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax

RATES = [0.02, 0.05, 0.1]
CLIP = optax.clip(1.0)
CASES = {
    "gd": (gdjax.gd, {}),
    "momentum": (gdjax.momentum, {"beta": [0.9, 0.8, 0.0]}),
    "heavy_ball": (gdjax.heavy_ball, {"decay": [0.9, 0.8, 0.0]}),
    "nesterov": (lambda rate, **n: gdjax.heavy_ball(rate, nesterov=True, **n), {"decay": [0.9, 0.8, 0.0]}),
    "adagrad": (gdjax.adagrad, {"initial_accumulator_value": [0.1, 0.2, 1.0], "eps": [1e-7, 1e-3, 0.0]}),
    "rmsprop": (gdjax.rmsprop, {"decay": [0.9, 0.99, 0.0], "eps": [1e-8, 1e-3, 0.0]}),
    "adam": (gdjax.adam, {"b1": [0.9, 0.5, 0.0], "b2": [0.999, 0.99, 0.9], "eps": [1e-8, 1e-3, 0.0]}),
}
every_optimizer = pytest.mark.parametrize(("make", "numbers"), CASES.values(), ids=CASES)
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array(0.3)}


def loss(params):
    return 0.5 * jnp.sum(params["w"] ** 2) + 2.0 * params["b"] ** 2


def train(optimizer, steps=10):
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (PARAMS, optimizer.init(PARAMS)), length=steps)[0][0]


def assert_close(tree, expected, rtol=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-6), tree, expected)


@every_optimizer
@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: gdjax.chain(CLIP, o)], ids=["alone", "chain"])
def test_other_numbers_are_the_same_program(make, numbers, wrap):
    traces = []

    @jax.jit
    def run(optimizer):
        traces.append(1)
        return train(optimizer)

    settings = [{name: values[i] for name, values in numbers.items()} for i in range(3)]
    ends = [float(run(wrap(make(rate, **rest)))["b"]) for rate, rest in zip(RATES, settings, strict=True)]
    assert len(traces) == 1
    assert len(set(ends)) == 3


WRAPS = {
    "alone": lambda optimizer: optimizer,
    "gdjax.chain": lambda optimizer: gdjax.chain(CLIP, optimizer),
    "optax.chain": lambda optimizer: optax.chain(optax.clip_by_global_norm(0.5), optimizer),
    "optax.MultiSteps": lambda optimizer: optax.MultiSteps(optimizer, 2).gradient_transformation(),
}
MADE_AND_WRAPPED = pytest.mark.parametrize(
    ("make", "wrap"),
    [(make, WRAPS["alone"]) for make, _ in CASES.values()] + [(gdjax.adam, wrap) for wrap in list(WRAPS.values())[1:]],
    ids=[*CASES, *(f"adam-{name}" for name in list(WRAPS)[1:])],
)


@pytest.fixture
def lenient():
    """optax's MultiSteps mixes int32 and float32."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("lenient")
@MADE_AND_WRAPPED
def test_vmap_over_learning_rates_equals_separate_runs(make, wrap):
    def run(optimizer):
        return train(wrap(optimizer))

    together = jax.jit(jax.vmap(run))(jax.vmap(make)(jnp.array(RATES)))
    alone = jax.jit(run)
    for i, rate in enumerate(RATES):
        expected = alone(make(rate))
        assert_close(jax.tree.map(lambda leaf, i=i: leaf[i], together), expected)
        assert float(loss(expected)) < float(loss(PARAMS))


def network(params, x):
    return jax.nn.relu(x @ params["w"] + params["b"]) @ params["v"]


def network_loss(params):
    x = np.linspace(-1, 1, 16)[:, None]
    return jnp.mean((network(params, x) - np.sin(3 * x)) ** 2)


def network_params():
    """The last hidden unit is dead: it is below zero on all the data, and its gradients are exactly zero."""
    draw = np.random.default_rng(0)
    return {
        "w": jnp.asarray(draw.normal(size=(1, 4))),
        "b": jnp.asarray([[0.1, 0.5, -0.3, -100.0]]),
        "v": jnp.asarray(draw.normal(size=(4, 1))),
    }


def trained_loss(optimizer):
    optimizer = optax.with_extra_args_support(optimizer)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(network_loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = network_params()
    return network_loss(jax.lax.scan(step, (params, optimizer.init(params)), length=6)[0][0])


@pytest.mark.usefixtures("x64")
def test_the_last_unit_is_dead():
    gradients = jax.grad(network_loss)(network_params())
    assert float(gradients["b"][0, 3]) == float(gradients["w"][0, 3]) == float(gradients["v"][3, 0]) == 0.0


@pytest.mark.usefixtures("x64", "lenient")
@MADE_AND_WRAPPED
def test_gradient_with_respect_to_the_learning_rate(make, wrap):
    value_and_slope = jax.jit(jax.value_and_grad(lambda rate: trained_loss(wrap(make(rate)))))
    rate, step = 1e-2, 1e-6
    slope = (value_and_slope(rate + step)[0] - value_and_slope(rate - step)[0]) / (2 * step)
    np.testing.assert_allclose(value_and_slope(rate)[1], slope, rtol=1e-4)


@pytest.mark.usefixtures("x64")
def test_gradient_with_respect_to_every_hyperparameter():
    optimizer = gdjax.adam(1e-2, eps=1e-3, eps_root=1e-4)
    leaves, structure = jax.tree.flatten(optimizer)
    value_and_gradients = jax.jit(jax.value_and_grad(trained_loss))
    for i, gradient in enumerate(jax.tree.leaves(value_and_gradients(optimizer)[1])):
        step = 1e-5 * leaves[i]
        moved = [structure.unflatten([*leaves[:i], leaves[i] + move, *leaves[i + 1 :]]) for move in (step, -step)]
        more, less = (value_and_gradients(optimizer)[0] for optimizer in moved)
        np.testing.assert_allclose(gradient, (more - less) / (2 * step), rtol=1e-4)


def test_momentum_without_memory_is_gd_bit_for_bit():
    gradients = jnp.asarray(
        np.random.default_rng(0).normal(size=(40, 64)) * np.logspace(9, -9, 40)[:, None], jnp.float32
    )

    def updates(optimizer):
        def step(state, gradient):
            update, state = optimizer.update(gradient, state)
            return state, update

        return np.asarray(jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1])

    for beta in (0, 0.0):
        np.testing.assert_array_equal(updates(gdjax.momentum(0.1, beta)), updates(gdjax.gd(0.1)))
        np.testing.assert_array_equal(updates(gdjax.heavy_ball(0.1, beta)), updates(gdjax.gd(0.1)))


@pytest.mark.usefixtures("x64")
def test_momentum_walks_the_path_of_the_heavy_ball():
    assert_close(train(gdjax.momentum(0.2, 0.75)), train(gdjax.heavy_ball(0.05, 0.75)), rtol=1e-12)


NOT_NUMBERS = ["0.1", True, None, 1j]
BAD_DECAYS = [1, 1.0, 1.5, -0.1, math.nan, math.inf]
BAD_SIZES = [-0.1, math.nan, math.inf, -math.inf]
HYPERPARAMETERS = [
    *(
        (make, "learning_rate", "be finite and at least 0", BAD_SIZES)
        for make in vars(gdjax.optimizers).values()
        if callable(make)
    ),
    (gdjax.momentum, "beta", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.heavy_ball, "decay", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.rmsprop, "decay", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.adam, "b1", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.adam, "b2", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.adam, "eps", "be finite and at least 0", BAD_SIZES),
    (gdjax.rmsprop, "eps", "be finite and at least 0", BAD_SIZES),
    (gdjax.adagrad, "eps", "be finite and at least 0", BAD_SIZES),
    (gdjax.adagrad, "initial_accumulator_value", "be finite and at least 0", BAD_SIZES),
    (gdjax.transforms.scale_by_learning_rate, "learning_rate", "be finite and at least 0", BAD_SIZES),
    (gdjax.transforms.ema, "decay", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.transforms.ema_of_squares, "decay", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.transforms.accumulate, "decay", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.transforms.sum_of_squares, "initial_value", "be finite and at least 0", BAD_SIZES),
    (gdjax.transforms.reduce_on_plateau, "factor", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.transforms.reduce_on_plateau, "rtol", r"lie in \[0, 1\)", BAD_DECAYS),
    (gdjax.transforms.reduce_on_plateau, "atol", "be finite and at least 0", BAD_SIZES),
    (gdjax.transforms.reduce_on_plateau, "min_scale", "be finite and at least 0", BAD_SIZES),
]


@pytest.mark.parametrize(
    ("make", "name", "rule", "bad"),
    HYPERPARAMETERS,
    ids=lambda x: getattr(x, "__name__", x if isinstance(x, str) else ""),
)
def test_hyperparameters_out_of_range(make, name, rule, bad):
    rest = {"learning_rate": 0.1} if make in vars(gdjax.optimizers).values() else {}
    for value in bad:
        for as_given in (value, np.float32(value), jnp.float32(value)):
            with pytest.raises(ValueError, match=rf"^`{name}` must {rule}, got {float(as_given)!r}\.$"):
                make(**(rest | {name: as_given}))
    for value in NOT_NUMBERS:
        with pytest.raises(TypeError, match=rf"^`{name}` must be a number, got {value!r}\.$"):
            make(**(rest | {name: value}))
    with pytest.raises(ValueError, match=rf"^`{name}` must be a scalar, got an array of shape \(3,\)"):
        make(**(rest | {name: jnp.full(3, 0.1)}))


@pytest.mark.parametrize("name", ["patience", "cooldown"])
@pytest.mark.parametrize(("value", "error"), [(-1, ValueError), (1.5, TypeError), ("2", TypeError), (True, TypeError)])
def test_integers_out_of_range(name, value, error):
    with pytest.raises(error, match=f"^`{name}` must be "):
        gdjax.transforms.reduce_on_plateau(**{name: value})
