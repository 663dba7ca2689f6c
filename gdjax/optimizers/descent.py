"""Plain gradient descent and its two kinds of momentum."""

from typing import Any

from gdjax.transforms.base import GradientTransformation, chain
from gdjax.transforms.clock import clocked
from gdjax.transforms.filters import accumulate, ema
from gdjax.transforms.look_ahead import nesterov as look_ahead
from gdjax.transforms.scaling import scale_by_learning_rate


def gd(learning_rate: Any) -> GradientTransformation:
    """Gradient descent, θ ← θ − α·g.

    Batch, stochastic and mini-batch descent all have this update; they differ in the batch that g is the
    mean over, which is the regime's business.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.

    Raises:
      ValueError, TypeError: if it is negative, not finite or no scalar.

    >>> import jax.numpy as jnp
    >>> optimizer = gd(0.1)
    >>> updates, state = optimizer.update(jnp.array(2.0), optimizer.init(jnp.array(1.0)))
    >>> round(float(updates), 6)
    -0.2

    Source: Cauchy (1847), "Méthode générale pour la résolution des systèmes d'équations simultanées".
    """
    return clocked(scale_by_learning_rate(learning_rate))


def momentum(learning_rate: Any, beta: Any = 0.9, *, accumulator_dtype: Any = None) -> GradientTransformation:
    """Momentum as a moving average, v ← β·v + (1 − β)·g, θ ← θ − α·v.

    With β = 0 it is `gd`. At an equal learning rate it moves 1/(1 − β) times slower than `heavy_ball`,
    whose memory is a sum: `momentum(α, β)` walks the path of `heavy_ball(α·(1 − β), β)`.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      beta: β in [0, 1), likewise; about the last 1/(1 − β) gradients count.
      accumulator_dtype: the float dtype in which v is kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Polyak (1964), "Some methods of speeding up the convergence of iteration methods", with the
    sum written as an average.
    """
    return clocked(
        chain(ema(beta, accumulator_dtype=accumulator_dtype, name="beta"), scale_by_learning_rate(learning_rate))
    )


def heavy_ball(
    learning_rate: Any, decay: Any = 0.9, *, nesterov: bool = False, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Polyak's heavy ball, v ← β·v + g, θ ← θ − α·v; the momentum of most frameworks.

    With Nesterov's look-ahead the step is θ ← θ − α·(g + β·v).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      decay: β in [0, 1), likewise.
      nesterov: look ahead; the state is the same.
      accumulator_dtype: the float dtype in which v is kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Polyak (1964), as in `momentum`; the look-ahead after Sutskever et al. (2013), "On the importance of
    initialization and momentum in deep learning".
    """
    memory = accumulate(decay, accumulator_dtype=accumulator_dtype)
    direction = look_ahead(memory) if nesterov else memory
    return clocked(chain(direction, scale_by_learning_rate(learning_rate)))
