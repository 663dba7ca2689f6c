"""Keras on JAX, chosen before anything imports it."""

import os

os.environ["KERAS_BACKEND"] = "jax"
