"""A flax nnx module with batch statistics and dropout, trained by gdjax on handwritten digits.

The module is taken apart once: its parameters train, its batch statistics are the model state, the rest is structure.
"""

import jax.numpy as jnp
import optax
from flax import nnx
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax


class Network(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 64, rngs=rngs)
        self.norm = nnx.BatchNorm(64, momentum=0.9, rngs=rngs)
        self.dropout = nnx.Dropout(0.2)
        self.out = nnx.Linear(64, 10, rngs=rngs)

    def __call__(self, images, rngs=None):
        return self.out(self.dropout(nnx.relu(self.norm(self.hidden(images))), rngs=rngs))


network = Network(nnx.Rngs(0))
structure, params, statistics = nnx.split(network, nnx.Param, nnx.BatchStat)


def loss(params, batch, *, key, training, model_state):
    images, labels = batch
    network = nnx.merge(structure, params, model_state)
    network.train() if training else network.eval()
    logits = network(images, rngs=nnx.Rngs(key))
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), nnx.state(network, nnx.BatchStat)


def accuracy(params, batch, *, model_state):
    images, labels = batch
    network = nnx.merge(structure, params, model_state)
    network.eval()
    return jnp.mean(jnp.argmax(network(images), axis=1) == labels)


images, labels = load_digits(return_X_y=True)
images, held_out_images, labels, held_out_labels = train_test_split(
    (images / 16).astype("float32"), labels.astype("int32"), test_size=0.25, random_state=0
)
train, held_out = (images, labels), (held_out_images, held_out_labels)
result = gdjax.fit(
    loss, params, train, model_state=statistics, optimizer=gdjax.adam(3e-3), regime=gdjax.mini_batch(64), epochs=20,
    validation=held_out, metrics={"accuracy": accuracy},
)  # fmt: skip
nnx.update(network, result.params, result.model_state)  # the module as flax knows it, trained
print(f"held-out accuracy {result.history.metrics['accuracy'][-1]:.3f}")
