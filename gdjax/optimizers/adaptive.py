"""Adaptive methods: each is one direction over the root of one magnitude."""

from typing import Any

from gdjax.transforms.adaptive_methods import adaptive
from gdjax.transforms.base import GradientTransformation, chain
from gdjax.transforms.bias_correction import bias_corrected
from gdjax.transforms.clock import clocked
from gdjax.transforms.filters import ema, ema_of_squares, sum_of_squares
from gdjax.transforms.scaling import scale_by_learning_rate
from gdjax.types import Number


def adagrad(learning_rate: Any, initial_accumulator_value: Number = 0.1, *, eps: Any = 1e-7) -> GradientTransformation:
    """AdaGrad, s ← s + g², θ ← θ − α·g / (√s + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      initial_accumulator_value: s before the first gradient, at least 0; the paper's is 0.
      eps: ε ≥ 0, likewise a number, a traced scalar or a schedule.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", figure 1.
    """
    magnitude = sum_of_squares(initial_value=initial_accumulator_value, name="initial_accumulator_value")
    return clocked(chain(adaptive(magnitude=magnitude, eps=eps), scale_by_learning_rate(learning_rate)))


def rmsprop(learning_rate: Any, decay: Any = 0.9, *, eps: Any = 1e-8) -> GradientTransformation:
    """RMSProp, s ← β·s + (1 − β)·g², θ ← θ − α·g / (√s + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      decay: β in [0, 1), likewise.
      eps: ε ≥ 0, likewise; it stands outside the root.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Tieleman & Hinton (2012), "Lecture 6.5: rmsprop", Neural Networks for Machine Learning.
    """
    return clocked(chain(adaptive(magnitude=ema_of_squares(decay), eps=eps), scale_by_learning_rate(learning_rate)))


def adam(learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, *, eps: Any = 1e-8) -> GradientTransformation:
    """Adam, the direction of momentum with the speed of RMSProp, both corrected for their start at zero.

    m ← β₁·m + (1 − β₁)·g,  s ← β₂·s + (1 − β₂)·g²,
    θ ← θ − α · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ)) + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: β₁ in [0, 1), likewise; the correction stays right under a schedule.
      b2: β₂ in [0, 1), likewise.
      eps: ε ≥ 0, likewise; it stands outside the root.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    >>> import jax.numpy as jnp
    >>> optimizer = adam(1e-3)
    >>> updates, state = optimizer.update(jnp.array(1e-4), optimizer.init(jnp.array(0.0)))
    >>> round(float(updates), 6)
    -0.001

    Source: Kingma & Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """
    direction = bias_corrected(ema(b1, name="b1"))
    magnitude = bias_corrected(ema_of_squares(b2, name="b2"))
    steps = adaptive(direction=direction, magnitude=magnitude, eps=eps)
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))
