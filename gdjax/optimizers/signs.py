"""Lion: every coordinate steps equally far, and momentum says only where."""

from typing import Any

from gdjax import checks
from gdjax.transforms.base import GradientTransformation, chain
from gdjax.transforms.clock import clocked
from gdjax.transforms.filters import ema
from gdjax.transforms.look_ahead import two_speed
from gdjax.transforms.scaling import scale_by_learning_rate
from gdjax.transforms.signs import sign
from gdjax.transforms.weight_decay import add_decayed_weights


def lion(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.99,
    mu_dtype: Any = None,
    weight_decay: Any = 1e-3,
    mask: Any = None,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Lion, θ ← θ − α·(sign(β₁·m + (1 − β₁)·g) + λ·θ), m ← β₂·m + (1 − β₂)·g.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: β₁ in [0, 1), likewise: how much of the answer is memory.
      b2: β₂ in [0, 1), likewise: how long the memory is.
      mu_dtype: the float dtype in which m is kept; by default `accumulator_dtype`.
      weight_decay: λ ≥ 0, a number, a traced scalar or a schedule.
      mask: which leaves decay, as in `transforms.add_decayed_weights`.
      accumulator_dtype: the same as `mu_dtype`; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Chen et al. (2023), "Symbolic discovery of optimization algorithms", algorithm 2.
    """
    mu_dtype = checks.float_type(mu_dtype, "mu_dtype")
    memory = ema(b2, accumulator_dtype=accumulator_dtype if mu_dtype is None else mu_dtype, name="b2")
    direction = two_speed(answers=ema(b1, name="b1"), remembers=memory)
    decayed = add_decayed_weights(weight_decay, mask)
    return clocked(chain(direction, sign(), decayed, scale_by_learning_rate(learning_rate)))
