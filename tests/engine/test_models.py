import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from sklearn.datasets import load_digits

import gdjax


@pytest.fixture(scope="module")
def digits():
    """(600 rows to train on, 300 to test on) of handwritten digits: images [rows, 64] in [0, 1], labels [rows]."""
    images, labels = load_digits(return_X_y=True)
    images, labels = (images / 16).astype(np.float32), labels.astype(np.int32)
    return (images[:600], labels[:600]), (images[600:900], labels[600:900])


def cross_entropy(logits, labels):
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def test_an_equinox_module_with_dropout_trains_as_it_is(digits):
    train, test = digits

    class Network(eqx.Module):
        hidden: eqx.nn.Linear
        dropout: eqx.nn.Dropout
        out: eqx.nn.Linear
        activation: callable
        temperature: float
        name: str

        def __init__(self, key):
            one, two = jax.random.split(key)
            self.hidden, self.out = eqx.nn.Linear(64, 48, key=one), eqx.nn.Linear(48, 10, key=two)
            self.dropout, self.activation, self.temperature, self.name = eqx.nn.Dropout(0.2), jax.nn.relu, 1.0, "digits"

        def __call__(self, image, key):
            return self.out(self.dropout(self.activation(self.hidden(image)), key=key)) / self.temperature

    def logits(network, images, key, training):
        network = eqx.nn.inference_mode(network, not training)
        return jax.vmap(network)(images, jax.random.split(key, len(images)))

    def loss(network, batch, *, key, training):
        return cross_entropy(logits(network, batch[0], key, training), batch[1])

    def accuracy(network, batch, *, key, training):
        return jnp.mean(jnp.argmax(logits(network, batch[0], key, training), axis=1) == batch[1])

    result = gdjax.fit(
        loss,
        Network,
        train,
        optimizer=gdjax.adam(0.003),
        regime=gdjax.mini_batch(64),
        epochs=30,
        validation=test,
        metrics={"accuracy": accuracy},
    )
    trained = result.params
    assert result.history.metrics["accuracy"][-1] > 0.88
    assert isinstance(trained, Network)
    assert (trained.activation, trained.temperature, trained.name) == (jax.nn.relu, 1.0, "digits")
    assert (trained.dropout.p, trained.dropout.inference) == (0.2, False)
    inference = loss(trained, test, key=jax.random.key(1), training=False)  # dropout off: the key has no say
    np.testing.assert_allclose(result.history.validation_loss[-1], inference, rtol=1e-5)


def test_a_flax_model_with_batch_statistics_trains(digits):
    train, test = digits

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.hidden = nnx.Linear(64, 48, rngs=rngs)
            self.norm = nnx.BatchNorm(48, momentum=0.9, rngs=rngs)
            self.out = nnx.Linear(48, 10, rngs=rngs)

        def __call__(self, images):
            return self.out(nnx.relu(self.norm(self.hidden(images))))

    graph, params, statistics = nnx.split(Network(nnx.Rngs(0)), nnx.Param, nnx.BatchStat)

    def loss(params, batch, *, training, model_state):
        network = nnx.merge(graph, params, model_state)
        network.train() if training else network.eval()
        value = cross_entropy(network(batch[0]), batch[1])
        return value, nnx.split(network, nnx.Param, nnx.BatchStat)[2]

    def accuracy(params, batch, *, model_state):
        network = nnx.merge(graph, params, model_state)
        network.eval()
        return jnp.mean(jnp.argmax(network(batch[0]), axis=1) == batch[1])

    result = gdjax.fit(
        loss,
        params,
        train,
        optimizer=gdjax.adam(0.01),
        regime=gdjax.mini_batch(64),
        epochs=15,
        model_state=statistics,
        validation=test,
        metrics={"accuracy": accuracy},
    )
    assert result.history.metrics["accuracy"][-1] > 0.88
    mean = np.asarray(jax.tree.leaves(result.state.model_state["norm"]["mean"])[0])
    expected = np.mean(np.asarray(nnx.merge(graph, result.params, statistics).hidden(train[0])), axis=0)
    np.testing.assert_allclose(mean, expected, atol=0.4)  # running means follow the data
    assert np.abs(mean).max() > 0.1
    assert np.all(np.asarray(jax.tree.leaves(statistics["norm"]["mean"])[0]) == 0)  # the caller's is left alone
