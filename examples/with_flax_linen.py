"""A flax linen module with batch statistics and dropout, trained by gdjax on handwritten digits.

The collection "params" trains, "batch_stats" is the model state; `apply` puts them together.
"""

import jax.numpy as jnp
import optax
from flax import linen as nn
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax


class Network(nn.Module):
    @nn.compact
    def __call__(self, images, training=False):
        hidden = nn.Dense(64)(images)
        hidden = nn.relu(nn.BatchNorm(use_running_average=not training, momentum=0.9)(hidden))
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not training)(hidden))


network = Network()


def start(key):
    variables = network.init(key, jnp.zeros((1, 64)))
    return variables["params"], variables["batch_stats"]


def loss(params, batch, *, key, training, model_state):
    images, labels = batch
    variables = {"params": params, "batch_stats": model_state}
    logits, changed = network.apply(variables, images, training, rngs={"dropout": key}, mutable=["batch_stats"])
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), changed["batch_stats"]


def accuracy(params, batch, *, model_state):
    images, labels = batch
    logits = network.apply({"params": params, "batch_stats": model_state}, images)
    return jnp.mean(jnp.argmax(logits, axis=1) == labels)


images, labels = load_digits(return_X_y=True)
images, held_out_images, labels, held_out_labels = train_test_split(
    (images / 16).astype("float32"), labels.astype("int32"), test_size=0.25, random_state=0
)
train, held_out = (images, labels), (held_out_images, held_out_labels)
result = gdjax.fit(
    loss, start, train, optimizer=gdjax.adam(3e-3), regime=gdjax.mini_batch(64), epochs=20,
    validation=held_out, metrics={"accuracy": accuracy},
)  # fmt: skip
print(f"held-out accuracy {result.history.metrics['accuracy'][-1]:.3f}")
