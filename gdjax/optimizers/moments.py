"""Adam and its kin: a corrected moving average for direction, over the root of a magnitude."""

from typing import Any

from gdjax import checks
from gdjax.schedules import non_negative
from gdjax.transforms.adaptive_methods import adaptive, quotient, root
from gdjax.transforms.base import GradientTransformation, chain
from gdjax.transforms.bias_correction import bias_corrected
from gdjax.transforms.clock import clocked
from gdjax.transforms.deviations import additive_squares, surprise
from gdjax.transforms.filters import ema, ema_of_squares
from gdjax.transforms.look_ahead import nesterov_corrected
from gdjax.transforms.maxima import ema_of_max, running_max
from gdjax.transforms.rectification import rectified
from gdjax.transforms.scaling import scale_by_learning_rate
from gdjax.transforms.trust_ratio import trust_ratio
from gdjax.transforms.weight_decay import add_decayed_weights


def _average(b1: Any, mu_dtype: Any, accumulator_dtype: Any) -> GradientTransformation:
    mu_dtype = checks.float_type(mu_dtype, "mu_dtype")
    return ema(b1, accumulator_dtype=accumulator_dtype if mu_dtype is None else mu_dtype, name="b1")


def _corrected(average: GradientTransformation, nesterov: bool) -> GradientTransformation:
    return nesterov_corrected(average) if nesterov else bias_corrected(average)


def _adam_steps(
    b1: Any, b2: Any, eps: Any, eps_root: Any, mu_dtype: Any, nesterov: bool, accumulator_dtype: Any
) -> GradientTransformation:
    return adaptive(
        direction=_corrected(_average(b1, mu_dtype, accumulator_dtype), nesterov),
        magnitude=bias_corrected(ema_of_squares(b2, accumulator_dtype=accumulator_dtype, name="b2")),
        eps=non_negative("eps", eps),
        eps_root=non_negative("eps_root", eps_root),
    )


def adam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """Adam, the direction of momentum with the speed of RMSProp, both corrected for their start at zero.

    m ← β₁·m + (1 − β₁)·g,  s ← β₂·s + (1 − β₂)·g²,
    θ ← θ − α · m/(1 − β₁ᵗ) / (√(s/(1 − β₂ᵗ) + ε_root) + ε).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: β₁ in [0, 1), likewise; the correction stays right under a schedule.
      b2: β₂ in [0, 1), likewise.
      eps: ε ≥ 0, likewise; it stands outside the root.
      eps_root: likewise, inside the root.
      mu_dtype: the float dtype in which m is kept; by default `accumulator_dtype`.
      nesterov: look ahead, as NAdam does; the state is the same.
      accumulator_dtype: the float dtype in which m and s are kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    >>> import jax.numpy as jnp
    >>> optimizer = adam(1e-3)
    >>> updates, state = optimizer.update(jnp.array(1e-4), optimizer.init(jnp.array(0.0)))
    >>> round(float(updates), 6)
    -0.001

    Source: Kingma & Ba (2015), "Adam: a method for stochastic optimization", algorithm 1.
    """
    steps = _adam_steps(b1, b2, eps, eps_root, mu_dtype, nesterov, accumulator_dtype)
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def adamw(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    weight_decay: Any = 1e-4,
    mask: Any = None,
    *,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """AdamW, `adam` whose weights decay beside the moments: θ ← θ − α·(Adam's direction + λ·θ).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: as in `adam`.
      mu_dtype: as in `adam`.
      weight_decay: λ ≥ 0, a number, a traced scalar or a schedule.
      mask: which leaves decay, as in `transforms.add_decayed_weights`.
      nesterov: as in `adam`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Loshchilov & Hutter (2019), "Decoupled weight decay regularization", algorithm 2.
    """
    steps = _adam_steps(b1, b2, eps, eps_root, mu_dtype, nesterov, accumulator_dtype)
    return clocked(chain(steps, add_decayed_weights(weight_decay, mask), scale_by_learning_rate(learning_rate)))


def amsgrad(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    bias_correction_mu: bool = True,
    bias_correction_nu: bool = True,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """AMSGrad, `adam` whose magnitude never shrinks: ŝ ← max(ŝ, s/(1 − β₂ᵗ)).

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: as in `adam`.
      mu_dtype: as in `adam`.
      bias_correction_mu: correct m; the paper does not.
      bias_correction_nu: correct s, before the maximum; the paper does not.
      accumulator_dtype: as in `adam`, and for the maximum.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", algorithm 2.
    """
    average = _average(b1, mu_dtype, accumulator_dtype)
    squares = ema_of_squares(b2, accumulator_dtype=accumulator_dtype, name="b2")
    steps = adaptive(
        direction=bias_corrected(average) if bias_correction_mu else average,
        magnitude=running_max(
            bias_corrected(squares) if bias_correction_nu else squares, accumulator_dtype=accumulator_dtype
        ),
        eps=non_negative("eps", eps),
        eps_root=non_negative("eps_root", eps_root),
    )
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def adamax(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-8, *, accumulator_dtype: Any = None
) -> GradientTransformation:
    """AdaMax, u ← max(β₂·u, |g| + ε), θ ← θ − α · m/(1 − β₁ᵗ) / u.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: β₁ in [0, 1), likewise.
      b2: β₂ in [0, 1), likewise.
      eps: ε ≥ 0, likewise; it stands inside the maximum.
      accumulator_dtype: the float dtype in which m and u are kept; by default the parameters', at least float32.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Kingma & Ba (2015), "Adam", algorithm 2.
    """
    direction = bias_corrected(_average(b1, None, accumulator_dtype))
    size = ema_of_max(b2, eps=eps, accumulator_dtype=accumulator_dtype, name="b2")
    return clocked(chain(quotient(direction=direction, size=size), scale_by_learning_rate(learning_rate)))


def nadam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    mu_dtype: Any = None,
    *,
    nesterov: bool = True,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """NAdam, `adam` that looks ahead: m̂ = μₜ₊₁·m/(1 − μ₁⋯μₜ₊₁) + (1 − μₜ)·g/(1 − μ₁⋯μₜ).

    The momentum μ is `b1`. For the paper's momentum schedule give `b1=schedules.nadam_momentum(0.99)`, which is
    also read one step ahead.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: μ in [0, 1), likewise.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: as in `adam`.
      mu_dtype: as in `adam`.
      nesterov: look ahead; without it this is `adam`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Dozat (2016), "Incorporating Nesterov momentum into Adam", algorithm 2.
    """
    average = _average(b1, mu_dtype, accumulator_dtype)
    steps = adaptive(
        direction=nesterov_corrected(average, momentum=b1) if nesterov else bias_corrected(average),
        magnitude=bias_corrected(ema_of_squares(b2, accumulator_dtype=accumulator_dtype, name="b2")),
        eps=non_negative("eps", eps),
        eps_root=non_negative("eps_root", eps_root),
    )
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def radam(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-8,
    eps_root: Any = 0.0,
    threshold: Any = 5.0,
    *,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """RAdam, `adam` that is momentum until its magnitude rests on gradients enough, and rectified after.

    θ ← θ − α·r·m̂ / (√ŝ + ε) where the average of squares is as long as ρ ≥ `threshold` (the paper has ρ > 4), and
    θ ← θ − α·m̂ before; r and ρ as in `transforms.rectified`.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: as in `adam`.
      threshold: the length of the average of squares from which it counts, at least 0, a number, a traced scalar or
        a schedule.
      nesterov: as in `adam`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Liu et al. (2020), "On the variance of the adaptive learning rate and beyond", algorithm 2.
    """
    magnitude = bias_corrected(ema_of_squares(b2, accumulator_dtype=accumulator_dtype, name="b2"))
    steps = quotient(
        direction=_corrected(_average(b1, None, accumulator_dtype), nesterov),
        size=rectified(
            root(magnitude, eps=non_negative("eps", eps), eps_root=non_negative("eps_root", eps_root)),
            threshold=threshold,
        ),
    )
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def adabelief(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-16,
    eps_root: Any = 1e-16,
    *,
    nesterov: bool = False,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """AdaBelief, `adam` whose magnitude is of what m did not expect: s ← β₂·s + (1 − β₂)·(g − m)² + ε_root.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: ε_root ≥ 0, likewise; it enters the average in every step.
      nesterov: as in `adam`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Zhuang et al. (2020), "AdaBelief optimizer: adapting stepsizes by the belief in observed gradients",
    algorithm 2.
    """
    eps_root = non_negative("eps_root", eps_root)
    squares = ema_of_squares(b2, increment=eps_root, accumulator_dtype=accumulator_dtype, name="b2")
    steps = adaptive(
        direction=_corrected(_average(b1, None, accumulator_dtype), nesterov),
        magnitude=chain(surprise(), bias_corrected(squares)),
        eps=non_negative("eps", eps),
    )
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def yogi(
    learning_rate: Any, b1: Any = 0.9, b2: Any = 0.999, eps: Any = 1e-3, *, accumulator_dtype: Any = None
) -> GradientTransformation:
    """Yogi, `adam` whose magnitude grows and shrinks by no more than it is fed: s ← s − (1 − β₂)·sign(s − g²)·g².

    s starts at 1e-6, m at 0, and both are corrected, which the paper does not do.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.

    Source: Zaheer et al. (2018), "Adaptive methods for nonconvex optimization", algorithm 2.
    """
    squares = additive_squares(b2, initial_value=1e-6, accumulator_dtype=accumulator_dtype, name="b2")
    steps = adaptive(
        direction=bias_corrected(_average(b1, None, accumulator_dtype)),
        magnitude=bias_corrected(squares),
        eps=non_negative("eps", eps),
    )
    return clocked(chain(steps, scale_by_learning_rate(learning_rate)))


def lamb(
    learning_rate: Any,
    b1: Any = 0.9,
    b2: Any = 0.999,
    eps: Any = 1e-6,
    eps_root: Any = 0.0,
    weight_decay: Any = 0.0,
    mask: Any = None,
    *,
    accumulator_dtype: Any = None,
) -> GradientTransformation:
    """LAMB, `adamw` with steps as long as each leaf's weights: u = Adam's direction + λ·θ, θ ← θ − α·‖θ‖/‖u‖·u.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      b1: as in `adam`.
      b2: as in `adam`.
      eps: as in `adam`.
      eps_root: as in `adam`.
      weight_decay: λ ≥ 0, a number, a traced scalar or a schedule.
      mask: which leaves decay, as in `transforms.add_decayed_weights`.
      accumulator_dtype: as in `adam`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar; at `update`, if no parameters are given.

    Source: You et al. (2020), "Large batch optimization for deep learning: training BERT in 76 minutes", algorithm 2.
    """
    steps = _adam_steps(b1, b2, eps, eps_root, None, False, accumulator_dtype)
    decayed = add_decayed_weights(weight_decay, mask)
    return clocked(chain(steps, decayed, trust_ratio(), scale_by_learning_rate(learning_rate)))
