"""The neighbours' examples: short, right, and in every step what the framework's own loop does."""

import pathlib
import re
import runpy
from types import SimpleNamespace

import equinox as eqx
import jax
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import gdjax

FOLDER = pathlib.Path(__file__).parents[2] / "examples"
NEIGHBOURS = ["with_equinox", "with_flax_linen", "with_flax_nnx", "with_haiku"]
KEY = jax.random.key(7)


@pytest.fixture(scope="module", autouse=True)
def dtypes_as_users_have_them():
    """Equinox's batch norm and haiku's dropout mix dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module", params=NEIGHBOURS)
def example(request):
    """The names that the script leaves, its own `name` and what it `printed`."""
    printed = []
    names = runpy.run_path(str(FOLDER / f"{request.param}.py"), {"print": printed.append})
    return SimpleNamespace(**names, name=request.param, printed=printed)


def test_every_neighbour_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("with_*.py")) == NEIGHBOURS


def test_it_is_short(example):
    assert len((FOLDER / f"{example.name}.py").read_text("utf-8").splitlines()) < 60


def test_it_classifies_what_it_has_not_seen(example):
    (line,) = example.printed
    (number,) = re.findall(r"^held-out accuracy (\d\.\d{3})$", line)
    assert 0.95 < float(number) < 1


def weights(example, params, state):
    """Hidden weights [in, out] and biases, mean, variance, scale and offset, output weights and biases, in float64."""
    match example.name:
        case "with_equinox":
            hidden, norm, out = params.hidden, params.norm, params.out
            moments = *state.get(norm.batch_state_index), norm.weight, norm.bias
            leaves = hidden.weight.T, hidden.bias, *moments, out.weight.T, out.bias
        case "with_flax_linen":
            hidden, norm, out = params["Dense_0"], params["BatchNorm_0"], params["Dense_1"]
            running = state["BatchNorm_0"]
            moments = running["mean"], running["var"], norm["scale"], norm["bias"]
            leaves = hidden["kernel"], hidden["bias"], *moments, out["kernel"], out["bias"]
        case "with_flax_nnx":
            hidden, norm, out, running = params["hidden"], params["norm"], params["out"], state["norm"]
            moments = running["mean"], running["var"], norm["scale"], norm["bias"]
            leaves = hidden["kernel"], hidden["bias"], *moments, out["kernel"], out["bias"]
            leaves = (leaf[...] for leaf in leaves)
        case "with_haiku":
            hidden, norm, out = params["linear"], params["batch_norm"], params["linear_1"]
            running = (state[f"batch_norm/~/{name}_ema"]["average"] for name in ("mean", "var"))
            leaves = hidden["w"], hidden["b"], *running, norm["scale"], norm["offset"], out["w"], out["b"]
    return [np.asarray(leaf, np.float64).squeeze() for leaf in leaves]


def cross_entropy(logits, labels):
    logits = logits - logits.max(axis=1, keepdims=True)
    return np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(labels)), labels])


def test_it_evaluates_with_running_statistics_and_without_dropout(example):
    w, b, mean, variance, scale, offset, w_out, b_out = weights(
        example, example.result.params, example.result.model_state
    )
    images, labels = example.held_out
    hidden = (images @ w + b - mean) / np.sqrt(variance + 1e-5) * scale + offset
    logits = np.maximum(hidden, 0) @ w_out + b_out
    history = example.result.history
    np.testing.assert_allclose(history.validation_loss[-1], cross_entropy(logits, labels), rtol=1e-4)
    assert history.metrics["accuracy"][-1] == pytest.approx(np.mean(logits.argmax(axis=1) == labels))
    batch_mean = (example.train[0] @ w + b).mean(axis=0)
    np.testing.assert_allclose(mean, batch_mean, atol=0.2 * np.abs(batch_mean).max())
    assert np.abs(mean).max() > 0.1


def own_step(example, batch, optimizer):
    """(parameters, model state) after a step as the framework's users write it."""
    images, labels = batch

    def mean_loss(logits):
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    match example.name:
        case "with_equinox":
            network, state = eqx.nn.make_with_state(example.Network)(KEY)

            @eqx.filter_grad(has_aux=True)
            def gradients_of(network):
                keys = jax.random.split(KEY, len(images))
                rows = jax.vmap(network, in_axes=(0, None, 0), out_axes=(0, None), axis_name="batch")
                logits, changed = rows(images, state, keys)
                return mean_loss(logits), changed

            gradients, changed = gradients_of(network)
            arrays = eqx.filter(network, eqx.is_inexact_array)
            updates, _ = optimizer.update(gradients, optimizer.init(arrays), arrays)
            return eqx.apply_updates(network, updates), changed
        case "with_flax_linen":
            params, statistics = example.start(KEY)
            state = TrainState.create(apply_fn=example.network.apply, params=params, tx=optimizer)

            def loss(params):
                variables = {"params": params, "batch_stats": statistics}
                logits, changed = state.apply_fn(
                    variables, images, training=True, rngs={"dropout": KEY}, mutable=["batch_stats"]
                )
                return mean_loss(logits), changed["batch_stats"]

            gradients, changed = jax.grad(loss, has_aux=True)(params)
            return state.apply_gradients(grads=gradients).params, changed
        case "with_flax_nnx":
            network = example.Network(nnx.Rngs(KEY))
            tx = nnx.Optimizer(network, optimizer, wrt=nnx.Param)
            tx.update(network, nnx.grad(lambda model: mean_loss(model(images, rngs=nnx.Rngs(KEY))))(network))
            return nnx.state(network, nnx.Param), nnx.state(network, nnx.BatchStat)
        case "with_haiku":
            params, state = example.start(KEY)

            def loss(params):
                logits, changed = example.network.apply(params, state, KEY, images, training=True)
                return mean_loss(logits), changed

            gradients, changed = jax.grad(loss, has_aux=True)(params)
            updates, _ = optimizer.update(gradients, optimizer.init(params), params)
            return optax.apply_updates(params, updates), changed


def test_a_step_is_that_of_the_frameworks_own_loop(example):
    batch, optimizer = jax.tree.map(lambda rows: rows[:64], example.train), gdjax.momentum(0.1)

    def loss(params, batch, *, training, model_state):
        return example.loss(params, batch, key=KEY, training=training, model_state=model_state)

    start = {
        "with_equinox": lambda: eqx.nn.make_with_state(example.Network)(KEY),
        "with_flax_linen": lambda: example.start(KEY),
        "with_flax_nnx": lambda: nnx.split(example.Network(nnx.Rngs(KEY)), nnx.Param, nnx.BatchStat)[1:],
        "with_haiku": lambda: example.start(KEY),
    }[example.name]
    params, model_state = start()
    result = gdjax.fit(
        loss, params, batch, model_state=model_state, optimizer=optimizer, regime=gdjax.full_batch(), epochs=1
    )
    got = weights(example, result.params, result.model_state)
    for one, other in zip(got, weights(example, *own_step(example, batch, optimizer)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    moved = [np.abs(one - other).max() > 1e-4 for one, other in zip(got, weights(example, *start()), strict=True)]
    assert moved == [True, False, *[True] * 6]  # a bias before a batch's mean is taken off changes nothing
