"""gdjax's optimizers where JAX users keep theirs, and optax's further ones in gdjax's runs, as they are."""

import chex
import equinox as eqx
import haiku
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import gdjax
from gdjax import presets, transforms

X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
Y = np.sin(3 * X)
PARAMS = {"w": jnp.full((1, 4), 0.1), "b": jnp.full((4, 1), 0.2)}


def loss(params, batch):
    x, y = batch
    return jnp.mean((jnp.tanh(x @ params["w"]) @ params["b"] - y) ** 2)


FOREIGN = {
    "muon": lambda: optax.contrib.muon(0.02),
    "schedule_free_adamw": lambda: optax.contrib.schedule_free_adamw(0.1, warmup_steps=5),
    "ademamix": lambda: optax.contrib.ademamix(0.02),
    "prodigy": lambda: optax.contrib.prodigy(1.0),
    "adafactor": lambda: optax.adafactor(0.1),
    "sm3": lambda: optax.sm3(0.1),
    "polyak_sgd": lambda: optax.polyak_sgd(0.5),
    "reduce_on_plateau": lambda: optax.chain(optax.adam(0.05), optax.contrib.reduce_on_plateau(patience=3)),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_is_outside_the_family_runs_in_fit_as_in_a_plain_loop(make):
    with jax.numpy_dtype_promotion("standard"):
        result = gdjax.fit(loss, PARAMS, (X, Y), optimizer=make(), regime=gdjax.full_batch(), epochs=60)
        optimizer = optax.with_extra_args_support(make())
        params, state = PARAMS, optimizer.init(PARAMS)

        @jax.jit
        def step(params, state):
            value, gradients = jax.value_and_grad(loss)(params, (X, Y))
            updates, state = optimizer.update(gradients, state, params, value=value)
            return optax.apply_updates(params, updates), state, value

        losses = []
        for _ in range(60):
            params, state, value = step(params, state)
            losses.append(float(value))
    np.testing.assert_allclose(result.history.step_loss, losses, rtol=2e-3)
    assert losses[-1] < 0.5 * losses[0]


def trained(optimizer, steps=20):
    @jax.jit
    def run(params):
        def step(carry, _):
            params, state = carry
            gradients = jax.grad(loss)(params, (X, Y))
            updates, state = optimizer.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0]

    return run(PARAMS)


MADE = {
    "adamw": lambda: gdjax.adamw(0.01),
    "radam": lambda: gdjax.radam(0.01),
    "nadam": lambda: gdjax.nadam(0.01, b1=gdjax.schedules.nadam_momentum(0.9)),
    "adadelta": gdjax.adadelta,
    "rmsprop": lambda: gdjax.rmsprop(0.01, centered=True, momentum=0.9),
    "accumulated": lambda: transforms.accumulate_gradients(gdjax.amsgrad(0.01), 2),
    "keras.lamb": lambda: gdjax.chain(presets.keras.lamb(0.01), transforms.kahan()),
    "torch.plateau": lambda: presets.torch.reduce_lr_on_plateau(presets.torch.sgd(0.01, 0.9, 0.5)),
}
every = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


def updated(optimizer):
    state = optimizer.init(PARAMS)
    return lambda state: optimizer.update(PARAMS, state, PARAMS, value=jnp.array(1.0)), state


@every
def test_a_program_with_its_state_can_be_exported(make):
    update, state = updated(make())
    saved = jax.export.export(jax.jit(update))(state).serialize()
    again = jax.export.deserialize(saved).call(state)
    jax.tree.map(np.testing.assert_array_equal, again, jax.jit(update)(state))


@every
def test_a_state_goes_through_a_checkpoint(make, tmp_path):
    update, state = updated(make())
    state = update(state)[1]
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(0, args=ocp.args.StandardSave(state))
        manager.wait_until_finished()
        again = manager.restore(0, args=ocp.args.StandardRestore(state))
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, again, state)


@every
def test_one_trace_for_all_numbers(make):
    chex.clear_trace_counter()
    update, state = updated(make())
    step = jax.jit(chex.assert_max_traces(update, n=1))
    for _ in range(3):
        _, state = step(state)


class TestVariants(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True, with_device=True, without_device=True)
    def test_updates_are_the_same_in_every_variant(self):
        update, state = updated(gdjax.adamw(0.1))
        chex.assert_trees_all_close(self.variant(update)(state), update(state), rtol=1e-6)


def test_equinox_filters():
    model = eqx.nn.MLP(1, 1, 8, 1, key=jax.random.key(0))
    optimizer = gdjax.adamw(0.01)
    state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

    @eqx.filter_jit
    def step(model, state):
        value, gradients = eqx.filter_value_and_grad(lambda m: jnp.mean((jax.vmap(m)(X) - Y) ** 2))(model)
        updates, state = optimizer.update(gradients, state, eqx.filter(model, eqx.is_inexact_array))
        return eqx.apply_updates(model, updates), state, value

    losses = []
    for _ in range(100):
        model, state, value = step(model, state)
        losses.append(float(value))
    assert losses[-1] < 0.5 * losses[0]


def test_nnx_split_and_scan():
    graph, params = nnx.split(nnx.Linear(1, 1, rngs=nnx.Rngs(0)))
    optimizer = gdjax.lion(0.01)

    def value(params):
        return jnp.mean((nnx.merge(graph, params)(X) - 2 * X) ** 2)

    def step(carry, _):
        params, state = carry
        loss, gradients = jax.value_and_grad(value)(params)
        updates, state = optimizer.update(gradients, state, params)
        return (optax.apply_updates(params, updates), state), loss

    losses = jax.lax.scan(step, (params, optimizer.init(params)), length=100)[1]
    assert losses[-1] < 0.5 * losses[0]


def test_haiku():
    with jax.numpy_dtype_promotion("standard"):
        network = haiku.without_apply_rng(haiku.transform(lambda x: haiku.nets.MLP([8, 1])(x)))
        params = network.init(jax.random.key(0), X)
        result = gdjax.fit(
            lambda params, batch: jnp.mean((network.apply(params, batch[0]) - batch[1]) ** 2), params, (X, Y),
            optimizer=gdjax.radam(0.01), regime=gdjax.mini_batch(8), epochs=50,
        )  # fmt: skip
    assert result.history.loss[-1] < 0.5 * result.history.loss[0]
