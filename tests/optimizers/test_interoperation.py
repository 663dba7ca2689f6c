"""gdjax's optimizers inside optax and flax, and optax's transforms inside gdjax."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training import train_state

import gdjax
from gdjax import transforms

X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
Y = np.sin(3 * X)
OPTIMIZERS = {
    "gd": lambda rate=0.1: gdjax.gd(rate),
    "momentum": lambda rate=0.5: gdjax.momentum(rate),
    "heavy_ball": lambda rate=0.01: gdjax.heavy_ball(rate, nesterov=True),
    "adagrad": lambda rate=0.1: gdjax.adagrad(rate),
    "rmsprop": lambda rate=0.01: gdjax.rmsprop(rate),
    "adam": lambda rate=0.01: gdjax.adam(rate),
    "adam-scheduled": lambda rate=0.01: gdjax.adam(gdjax.schedules.inverse_time_decay(rate, 0.01)),
}
every_optimizer = pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)

WRAPPED = {
    "optax.chain": lambda o: optax.chain(optax.clip_by_global_norm(1.0), o),
    "optax.named_chain": lambda o: optax.named_chain(("clip", optax.clip(1.0)), ("optimizer", o)),
    "optax.masked": lambda o: optax.masked(o, {"w": True, "b": True}),
    "optax.partition": lambda o: optax.partition({"a": o, "b": optax.sgd(0.1)}, {"w": "a", "b": "b"}),
    "optax.apply_if_finite": lambda o: optax.apply_if_finite(o, 3),
    "optax.MultiSteps": lambda o: optax.MultiSteps(o, 2).gradient_transformation(),
    "optax.flatten": optax.flatten,
    "gdjax.chain": lambda o: gdjax.chain(optax.clip_by_global_norm(1.0), o, optax.scale(0.9)),
    "gdjax.clocked": lambda o: transforms.clocked(gdjax.chain(optax.clip(1.0), o)),
}


@pytest.fixture
def lenient():
    """optax's MultiSteps mixes int32 and float32."""
    with jax.numpy_dtype_promotion("standard"):
        yield


PARAMS = {"w": jnp.full((1, 1), 0.1), "b": jnp.zeros((1, 1))}


def loss(params):
    return jnp.mean((X @ params["w"] + params["b"] - (2 * X + 1)) ** 2)


def losses(optimizer, steps=60):
    optimizer = optax.with_extra_args_support(optimizer)

    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            value, gradients = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(gradients, state, params, value=value)
            return (optax.apply_updates(params, updates), state), value

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[1]

    return np.asarray(run(PARAMS))


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
@pytest.mark.parametrize("make", [OPTIMIZERS["adam"], OPTIMIZERS["heavy_ball"]], ids=["adam", "heavy_ball"])
def test_wrapped_optimizers_train(make, wrap):
    seen = losses(wrap(make()))
    assert np.isfinite(seen).all()
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.parametrize("wrap", [optax.chain, gdjax.chain, optax.flatten, transforms.clocked])
@pytest.mark.parametrize("make", [OPTIMIZERS["adam-scheduled"], OPTIMIZERS["heavy_ball"]])
def test_a_bare_wrap_changes_no_number(make, wrap):
    np.testing.assert_allclose(losses(wrap(make())), losses(make()), rtol=1e-5)


@pytest.mark.usefixtures("lenient")
def test_multi_steps_is_one_update_of_the_mean_gradient():
    optimizer, wrapped = gdjax.adam(0.1), optax.MultiSteps(gdjax.adam(0.1), 2)
    gradients = [{"w": jnp.full((1, 1), g)} for g in (1.0, 3.0)]
    params = {"w": jnp.zeros((1, 1))}
    state = wrapped.init(params)
    first, state = wrapped.update(gradients[0], state, params)
    second, state = wrapped.update(gradients[1], state, params)
    expected, _ = optimizer.update({"w": jnp.full((1, 1), 2.0)}, optimizer.init(params), params)
    assert float(first["w"][0, 0]) == 0.0
    np.testing.assert_allclose(second["w"], expected["w"], rtol=1e-6)


def test_a_masked_leaf_is_left_alone():
    optimizer = optax.masked(gdjax.adam(0.1), {"w": True, "b": False})
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    np.testing.assert_array_equal(updates["b"], PARAMS["b"])
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)


def test_apply_if_finite_skips_a_step_that_is_not():
    optimizer = optax.apply_if_finite(gdjax.adam(0.1), 3)
    state = optimizer.init(jnp.ones(2))
    _, state = optimizer.update(jnp.ones(2), state)
    updates, after = optimizer.update(jnp.array([jnp.nan, 1.0]), state)
    assert updates.tolist() == [0.0, 0.0]
    jax.tree.map(np.testing.assert_array_equal, after.inner_state, state.inner_state)


@pytest.mark.parametrize("make", [gdjax.gd, gdjax.momentum, gdjax.heavy_ball, gdjax.adagrad, gdjax.rmsprop, gdjax.adam])
def test_inject_hyperparams(make):
    optimizer = optax.inject_hyperparams(make)(0.1)
    state = optimizer.init(PARAMS)
    update = jax.jit(optimizer.update)
    updates, state = update(PARAMS, state, PARAMS)
    expected, _ = make(0.1).update(PARAMS, make(0.1).init(PARAMS), PARAMS)
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5)
    state.hyperparams["learning_rate"] = jnp.asarray(0.0)
    updates, state = update(PARAMS, state, PARAMS)
    assert float(updates["w"][0, 0]) == 0.0


class Network(nnx.Module):
    def __init__(self):
        self.hidden = nnx.Linear(1, 8, rngs=nnx.Rngs(0))
        self.out = nnx.Linear(8, 1, rngs=nnx.Rngs(1))

    def __call__(self, x):
        return self.out(nnx.relu(self.hidden(x)))


def nnx_losses(tx, steps=20):
    model = Network()
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, gradients = nnx.value_and_grad(lambda model: jnp.mean((model(X) - Y) ** 2))(model)
        optimizer.update(model, gradients)
        return value

    return [float(step(model, optimizer)) for _ in range(steps)]


@every_optimizer
def test_nnx_optimizer_trains(make):
    seen = nnx_losses(make())
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("wrap", [WRAPPED["optax.chain"], WRAPPED["gdjax.chain"], WRAPPED["optax.MultiSteps"]])
def test_nnx_optimizer_trains_with_chains(wrap):
    seen = nnx_losses(wrap(gdjax.adam(0.02)))
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.parametrize("rate", [jnp.float32(0.01), jnp.array(0.01), np.float64(0.01)], ids=repr)
def test_nnx_optimizer_takes_a_learning_rate_that_is_an_array(rate):
    np.testing.assert_allclose(nnx_losses(gdjax.adam(rate), 5), nnx_losses(gdjax.adam(0.01), 5), rtol=1e-5)


class LinenNetwork(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(1)(linen.relu(linen.Dense(8)(x)))


def linen_losses(tx, steps=20):
    model = LinenNetwork()
    state = train_state.TrainState.create(apply_fn=model.apply, params=model.init(jax.random.key(0), X), tx=tx)

    @jax.jit
    def step(state):
        value, gradients = jax.value_and_grad(lambda params: jnp.mean((state.apply_fn(params, X) - Y) ** 2))(
            state.params
        )
        return state.apply_gradients(grads=gradients), value

    seen = []
    for _ in range(steps):
        state, value = step(state)
        seen.append(float(value))
    return seen


@every_optimizer
def test_linen_train_state_trains(make):
    seen = linen_losses(make())
    assert seen[-1] < 0.8 * seen[0]


@pytest.mark.usefixtures("lenient")
@pytest.mark.parametrize("wrap", [WRAPPED["optax.chain"], WRAPPED["gdjax.chain"], WRAPPED["optax.MultiSteps"]])
def test_linen_train_state_trains_with_chains(wrap):
    seen = linen_losses(wrap(gdjax.adam(0.02)))
    assert seen[-1] < 0.8 * seen[0]


def test_train_state_under_vmap_and_grad_of_the_learning_rate():
    model = LinenNetwork()
    params = model.init(jax.random.key(0), X)

    def trained(rate):
        state = train_state.TrainState.create(apply_fn=model.apply, params=params, tx=gdjax.adam(rate))

        def value(params):
            return jnp.mean((model.apply(params, X) - Y) ** 2)

        for _ in range(2):
            state = state.apply_gradients(grads=jax.grad(value)(state.params))
        return value(state.params)

    both = jax.value_and_grad(trained)
    rates = jnp.array([0.009, 0.01, 0.011])
    values, slopes = jax.jit(jax.vmap(both))(rates)
    alone = jax.jit(both)
    np.testing.assert_allclose(values, [alone(rate)[0] for rate in rates], rtol=1e-5)
    np.testing.assert_allclose(slopes[1], (values[2] - values[0]) / 0.002, rtol=0.05)
