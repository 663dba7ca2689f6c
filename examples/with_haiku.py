"""A haiku network with batch statistics and dropout, trained by gdjax on handwritten digits.

`transform_with_state` gives parameters, which train, and a state, which is the model state.
"""

import haiku as hk
import jax
import jax.numpy as jnp
import optax
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gdjax


@hk.transform_with_state
def network(images, training):
    hidden = hk.BatchNorm(create_scale=True, create_offset=True, decay_rate=0.9)(hk.Linear(64)(images), training)
    hidden = jax.nn.relu(hidden)
    if training:
        hidden = hk.dropout(hk.next_rng_key(), 0.2, hidden)
    return hk.Linear(10)(hidden)


def start(key):
    return network.init(key, jnp.zeros((1, 64)), True)


def loss(params, batch, *, key, training, model_state):
    images, labels = batch
    logits, model_state = network.apply(params, model_state, key, images, training)
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), model_state


def accuracy(params, batch, *, model_state):
    images, labels = batch
    logits, _ = network.apply(params, model_state, None, images, False)
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
