"""An equinox module with batch statistics and dropout, trained by gdjax on handwritten digits.

The module is the parameters, functions among its leaves included; its `State` is the model state.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax


class Network(eqx.Module):
    hidden: eqx.nn.Linear
    norm: eqx.nn.BatchNorm
    dropout: eqx.nn.Dropout
    out: eqx.nn.Linear

    def __init__(self, key):
        one, two = jax.random.split(key)
        self.hidden, self.out = eqx.nn.Linear(64, 64, key=one), eqx.nn.Linear(64, 10, key=two)
        self.norm, self.dropout = eqx.nn.BatchNorm(64, "batch", momentum=0.9, mode="batch"), eqx.nn.Dropout(0.2)

    def __call__(self, image, state, key):
        hidden, state = self.norm(self.hidden(image), state)
        return self.out(self.dropout(jax.nn.relu(hidden), key=key)), state


def logits(network, images, state, key, training):
    network = eqx.nn.inference_mode(network, not training)
    rows = jax.vmap(network, in_axes=(0, None, 0), out_axes=(0, None), axis_name="batch")
    return rows(images, state, jax.random.split(key, len(images)))


def loss(network, batch, *, key, training, model_state):
    images, labels = batch
    out, model_state = logits(network, images, model_state, key, training)
    return optax.softmax_cross_entropy_with_integer_labels(out, labels).mean(), model_state


def accuracy(network, batch, *, key, training, model_state):
    images, labels = batch
    return jnp.mean(jnp.argmax(logits(network, images, model_state, key, training)[0], axis=1) == labels)


images, labels = load_digits(return_X_y=True)
images, held_out_images, labels, held_out_labels = train_test_split(
    (images / 16).astype("float32"), labels.astype("int32"), test_size=0.25, random_state=0
)
train, held_out = (images, labels), (held_out_images, held_out_labels)
result = gdjax.fit(
    loss, eqx.nn.make_with_state(Network), train, optimizer=gdjax.adam(3e-3), regime=gdjax.mini_batch(64), epochs=20,
    validation=held_out, metrics={"accuracy": accuracy},
)  # fmt: skip
print(f"held-out accuracy {result.history.metrics['accuracy'][-1]:.3f}")
