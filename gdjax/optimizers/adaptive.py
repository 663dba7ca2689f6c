"""Adaptive methods before Adam: each is the gradient over the root of one magnitude."""

from typing import Any

from gdjax.schedules import non_negative
from gdjax.transforms.adaptive_methods import adaptive
from gdjax.transforms.base import GradientTransformation, chain, may_be_zero
from gdjax.transforms.bias_correction import bias_corrected
from gdjax.transforms.clock import clocked
from gdjax.transforms.deviations import ema_of_variance
from gdjax.transforms.filters import accumulate, ema_of_squares, sum_of_squares
from gdjax.transforms.look_ahead import nesterov as look_ahead
from gdjax.transforms.scaling import scale_by_learning_rate
from gdjax.transforms.units import unit_corrected
from gdjax.transforms.weight_decay import add_decayed_weights


def adagrad(
    learning_rate: Any,
    initial_accumulator_value: Any = 0.1,
    eps: Any = 1e-7,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """AdaGrad, s ← s + g², θ ← θ − α·g / √(s + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      initial_accumulator_value: s before the first gradient, at least 0, likewise; the paper's is 0.
      eps: ε ≥ 0, likewise; it stands inside the root.
      accumulator_dtype: the float dtype in which s is kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Duchi, Hazan & Singer (2011), "Adaptive subgradient methods for online learning and stochastic
    optimization", figure 1.
    """
    magnitude = sum_of_squares(
        initial_value=initial_accumulator_value, accumulator_dtype=accumulator_dtype, name="initial_accumulator_value"
    )
    steps = adaptive(magnitude=magnitude, eps=None, eps_root=non_negative("eps", eps))
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def rmsprop(
    learning_rate: Any,
    decay: Any = 0.9,
    eps: Any = 1e-8,
    initial_scale: Any = 0.0,
    eps_in_sqrt: bool = True,
    centered: bool = False,
    momentum: Any = None,
    nesterov: bool = False,
    bias_correction: bool = False,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """RMSProp, s ← β·s + (1 − β)·g², θ ← θ − α·g / √(s + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      decay: β in [0, 1), likewise.
      eps: ε ≥ 0, likewise.
      initial_scale: s before the first gradient, at least 0, likewise.
      eps_in_sqrt: whether ε stands inside the root, or outside, √s + ε.
      centered: divide by the root of the variance, s − (average of g)², instead.
      momentum: decay in [0, 1) of a heavy ball over the steps, the learning rate included; None for none, which
        keeps no memory for it.
      nesterov: let the heavy ball look ahead.
      bias_correction: correct s (and the average of g) for its start at zero; `initial_scale` must then be 0. With
        `centered` the first variance is then 0, and the first step as long as α·g/√ε.
      accumulator_dtype: the float dtype in which memories are kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Tieleman & Hinton (2012), "Lecture 6.5: rmsprop", Neural Networks for Machine Learning; centered after
    Graves (2013), "Generating sequences with recurrent neural networks".
    """
    remember = ema_of_variance if centered else ema_of_squares
    initial_scale = non_negative("initial_scale", initial_scale)
    magnitude = remember(decay, initial_value=initial_scale, accumulator_dtype=accumulator_dtype)
    if bias_correction:
        if not may_be_zero(initial_scale):
            raise ValueError(f"`initial_scale` must be 0 under `bias_correction`, got {initial_scale!r}.")
        magnitude = bias_corrected(magnitude)
    eps = non_negative("eps", eps)
    where = {"eps": None, "eps_root": eps} if eps_in_sqrt else {"eps": eps, "eps_root": None}
    steps = [adaptive(magnitude=magnitude, **where), scale_by_learning_rate(learning_rate)]
    if momentum is not None:
        memory = accumulate(momentum, accumulator_dtype=accumulator_dtype, name="momentum")
        steps.append(look_ahead(memory) if nesterov else memory)
    return clocked(chain(*steps))


def adadelta(
    learning_rate: Any = 1.0,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: Any = 0.0,
    weight_decay_mask: Any = None,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """AdaDelta, s ← ρ·s + (1 − ρ)·g², Δ = √(d + ε) / √(s + ε) · g, d ← ρ·d + (1 − ρ)·Δ², θ ← θ − α·Δ.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule; the paper's is 1.
      rho: ρ in [0, 1), likewise.
      eps: ε ≥ 0, likewise; the first steps are about its root.
      weight_decay: λ ≥ 0, likewise; λ·θ is added to the gradient.
      weight_decay_mask: which leaves decay, as in `transforms.add_decayed_weights`.
      accumulator_dtype: the float dtype in which s and d are kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Zeiler (2012), "ADADELTA: an adaptive learning rate method", algorithm 1.
    """
    squares = ema_of_squares(rho, accumulator_dtype=accumulator_dtype, name="rho")
    steps = unit_corrected(squares, eps_root=non_negative("eps", eps))
    decayed = add_decayed_weights(weight_decay, weight_decay_mask, mask_name="weight_decay_mask")
    return clocked(chain(decayed, steps, scale_by_learning_rate(learning_rate)))
