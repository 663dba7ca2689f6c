"""PyTorch's optimizers: the names (in lower case), keywords, defaults and numbers of `torch.optim` 2.13.

What concerns its execution only (`foreach`, `fused`, `capturable`, `differentiable`) has no counterpart here.
In float64, PyTorch's NAdam keeps its product of momenta in the default dtype: `torch.set_default_dtype(torch.float64)`
before a comparison. For a decay of some parameters only, put `add_decayed_weights(..., mask)` before a preset.
Complex parameters follow gdjax, whose magnitude is |g|²; PyTorch takes their parts for two real numbers.
"""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.schedules import Schedule, inverse_time_decay, nadam_momentum, non_negative, product, scheduled
from gdjax.transforms.adaptive_methods import adaptive, quotient, root
from gdjax.transforms.base import GradientTransformation, chain, is_zero
from gdjax.transforms.bias_correction import bias_corrected
from gdjax.transforms.clock import clocked
from gdjax.transforms.deviations import ema_of_variance
from gdjax.transforms.filters import accumulate, ema, ema_of_squares, sum_of_squares
from gdjax.transforms.look_ahead import nesterov as look_ahead
from gdjax.transforms.look_ahead import nesterov_corrected
from gdjax.transforms.maxima import ema_of_max, running_max
from gdjax.transforms.plateau import reduce_on_plateau
from gdjax.transforms.plateau_rate import rate_on_plateau, starting_rate
from gdjax.transforms.rectification import rectified
from gdjax.transforms.scaling import dampen, scale_by_learning_rate
from gdjax.transforms.signs import negate
from gdjax.transforms.units import unit_corrected
from gdjax.transforms.weight_decay import add_decayed_weights


def _descend(
    lr: Any, *steps: GradientTransformation, weight_decay: Any, decoupled: bool = False, maximize: bool = False
) -> GradientTransformation:
    """The order of all of them: turn the gradient, add the penalty's, step, or decay beside the step."""
    decay = add_decayed_weights(weight_decay)
    before = [negate()] if maximize else []
    parts = [*steps, decay] if decoupled else [decay, *steps]
    rate = scale_by_learning_rate(non_negative("lr", lr))
    return clocked(chain(*before, *parts, rate))


def _average(betas: Any) -> GradientTransformation:
    return ema(_beta(betas, 0), name="betas[0]")


def _squares(betas: Any) -> GradientTransformation:
    return ema_of_squares(_beta(betas, 1), name="betas[1]")


def _beta(betas: Any, i: int) -> Any:
    if not isinstance(betas, tuple | list) or len(betas) != 2:
        raise TypeError(f"`betas` must be two decays, got {betas!r}.")
    return betas[i]


def sgd(
    lr: Any = 1e-3,
    momentum: Any = 0.0,
    dampening: Any = 0.0,
    weight_decay: Any = 0.0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.SGD`: b ← μ·b + (1 − d)·g (at first b = g), θ ← θ − α·b.

    The momentum's memory is kept also where `momentum` is 0, so that a sweep over it is one program; plain descent
    without it is `gdjax.gd`.

    Args:
      lr: α ≥ 0, a number, a traced scalar or a schedule.
      momentum: μ in [0, 1), likewise.
      dampening: d in [0, 1], likewise; without momentum it does nothing.
      weight_decay: λ ≥ 0, likewise; λ·θ is added to the gradient.
      nesterov: look ahead; takes momentum and no dampening.
      maximize: climb.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or `nesterov` without momentum.
    """
    momentum = scheduled(checks.decay, "momentum", momentum)
    dampening = scheduled(checks.share, "dampening", dampening)
    if nesterov and (is_zero(momentum) or not is_zero(dampening)):
        raise ValueError(
            "`nesterov` must have a momentum above 0 and no dampening, "
            f"got momentum={momentum!r} and dampening={dampening!r}."
        )
    if is_zero(momentum):
        dampening = 0.0
    elif isinstance(momentum, jax.core.Tracer) and not isinstance(dampening, Schedule):
        dampening = jnp.where(momentum == 0, 0.0, dampening)
    memory = accumulate(momentum, name="momentum")
    steps = [look_ahead(memory)] if nesterov else [dampen(dampening), memory]
    return _descend(lr, *steps, weight_decay=weight_decay, maximize=maximize)


def adam(
    lr: Any = 1e-3,
    betas: tuple = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
) -> GradientTransformation:
    """`torch.optim.Adam`; AMSGrad's maximum is of the raw average, and is corrected after.

    Args:
      lr: α ≥ 0, a number, a traced scalar or a schedule.
      betas: (β₁, β₂), both in [0, 1), likewise.
      eps: ε ≥ 0, likewise, outside the root.
      weight_decay: λ ≥ 0, likewise; λ·θ is added to the gradient.
      amsgrad: a magnitude that never shrinks.
      maximize: climb.
      decoupled_weight_decay: add λ·θ to the step instead, as `adamw`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.
    """
    squares = _squares(betas)
    steps = adaptive(
        direction=bias_corrected(_average(betas)),
        magnitude=bias_corrected(running_max(squares) if amsgrad else squares),
        eps=non_negative("eps", eps),
    )
    return _descend(lr, steps, weight_decay=weight_decay, decoupled=decoupled_weight_decay, maximize=maximize)


def adamw(
    lr: Any = 1e-3,
    betas: tuple = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.AdamW`: `adam` with decoupled weight decay; arguments as there."""
    return adam(lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True)


def adamax(
    lr: Any = 2e-3,
    betas: tuple = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.Adamax`; ε stands inside the maximum; arguments as in `adam`."""
    size = ema_of_max(_beta(betas, 1), eps=eps, name="betas[1]")
    steps = quotient(direction=bias_corrected(_average(betas)), size=size)
    return _descend(lr, steps, weight_decay=weight_decay, maximize=maximize)


def nadam(
    lr: Any = 2e-3,
    betas: tuple = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    momentum_decay: Any = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.NAdam`; arguments as in `adam`.

    The gradient's average keeps β₁; the look-ahead weighs it by the momentum schedule μ = β₁·(1 − ½·0.96^(t·ψ)),
    where ψ is `momentum_decay`, at least 0. β₁ itself is a number or a traced scalar.
    """
    average = _average(betas)
    momentum = nadam_momentum(_beta(betas, 0), momentum_decay)
    steps = adaptive(
        direction=nesterov_corrected(average, momentum=momentum),
        magnitude=bias_corrected(_squares(betas)),
        eps=non_negative("eps", eps),
    )
    return _descend(lr, steps, weight_decay=weight_decay, decoupled=decoupled_weight_decay, maximize=maximize)


def radam(
    lr: Any = 1e-3,
    betas: tuple = (0.9, 0.999),
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.RAdam`; ε is added to the root before the correction; arguments as in `adam`."""
    size = rectified(bias_corrected(root(_squares(betas), eps=non_negative("eps", eps))))
    steps = quotient(direction=bias_corrected(_average(betas)), size=size)
    return _descend(lr, steps, weight_decay=weight_decay, decoupled=decoupled_weight_decay, maximize=maximize)


def rmsprop(
    lr: Any = 1e-2,
    alpha: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0.0,
    momentum: Any = 0.0,
    centered: bool = False,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.RMSprop`; ε stands outside the root, and the learning rate after the momentum.

    Args:
      lr: learning rate, at least 0, a number, a traced scalar or a schedule.
      alpha: decay of the average of squares in [0, 1), likewise.
      eps: ε ≥ 0, likewise.
      weight_decay: λ ≥ 0, likewise; λ·θ is added to the gradient.
      momentum: decay of the heavy ball over the steps in [0, 1), likewise; its memory is kept also for 0.
      centered: divide by the root of the variance.
      maximize: climb.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.
    """
    magnitude = (ema_of_variance if centered else ema_of_squares)(alpha, name="alpha")
    memory = accumulate(momentum, name="momentum")
    return _descend(
        lr,
        adaptive(magnitude=magnitude, eps=non_negative("eps", eps)),
        memory,
        weight_decay=weight_decay,
        maximize=maximize,
    )


def adagrad(
    lr: Any = 1e-2,
    lr_decay: Any = 0.0,
    weight_decay: Any = 0.0,
    initial_accumulator_value: Any = 0.0,
    eps: Any = 1e-10,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.Adagrad`; ε stands outside the root.

    Args:
      lr: learning rate, at least 0, a number, a traced scalar or a schedule.
      lr_decay: k ≥ 0; the rate is divided by 1 + k·t.
      weight_decay: λ ≥ 0, a number, a traced scalar or a schedule; λ·θ is added to the gradient.
      initial_accumulator_value: the sum of squares before the first gradient, at least 0.
      eps: ε ≥ 0, a number, a traced scalar or a schedule.
      maximize: climb.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.
    """
    rate = non_negative("lr", lr)
    decayed = product(rate, inverse_time_decay(1.0, checks.non_negative("lr_decay", lr_decay)))
    magnitude = sum_of_squares(initial_value=initial_accumulator_value, name="initial_accumulator_value")
    return _descend(
        decayed,
        adaptive(magnitude=magnitude, eps=non_negative("eps", eps)),
        weight_decay=weight_decay,
        maximize=maximize,
    )


def adadelta(
    lr: Any = 1.0,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: Any = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    """`torch.optim.Adadelta`.

    Args:
      lr: learning rate, at least 0, a number, a traced scalar or a schedule.
      rho: decay of both averages in [0, 1), likewise.
      eps: ε ≥ 0, likewise, inside both roots.
      weight_decay: λ ≥ 0, likewise; λ·θ is added to the gradient.
      maximize: climb.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar.
    """
    steps = unit_corrected(ema_of_squares(rho, name="rho"), eps_root=non_negative("eps", eps))
    return _descend(lr, steps, weight_decay=weight_decay, maximize=maximize)


def reduce_lr_on_plateau(
    optimizer: GradientTransformation,
    mode: str = "min",
    factor: Any = 0.1,
    patience: int = 10,
    threshold: Any = 1e-4,
    threshold_mode: str = "rel",
    cooldown: int = 0,
    min_lr: Any = 0.0,
    eps: Any = 1e-8,
) -> GradientTransformation:
    """`torch.optim.lr_scheduler.ReduceLROnPlateau` over an optimizer of one learning rate.

    A judgement acts on the update that it is told with: in a loop that ends with `scheduler.step(loss)`, tell `update`
    the loss of the step before (`value=`, at first infinity). `gdjax.fit` does so once an epoch by itself.

    It cuts on the judgement after `patience` bad ones. Its relative threshold is a share of the best itself, not of
    its size: a constant negative metric counts as an improvement. A NaN is a bad epoch.

    Args:
      optimizer: a preset of this module, or any of gdjax's optimizers.
      mode: "min" or "max".
      factor: in [0, 1).
      patience: bad judgements that are let pass, at least 0.
      threshold: the improvement that counts: in [0, 1) where relative, at least 0 where absolute.
      threshold_mode: "rel" or "abs".
      cooldown: judgements after a cut that are not counted, at least 0.
      min_lr: the least learning rate, at least 0; for a schedule, at its first step.
      eps: cuts by no more than this are not made, at least 0; likewise.

    Returns:
      A transform that judges as `transforms.reduce_on_plateau` does, and whose rate acts where the optimizer's does.

    Raises:
      ValueError, TypeError: if a number is out of range, or `optimizer` has no single learning rate.
    """
    checks.choice("threshold_mode", threshold_mode, ("rel", "abs"))
    rate = starting_rate(optimizer)
    plateau = reduce_on_plateau(
        factor,
        checks.integer("patience", patience, least=0) + 1,
        rtol=checks.decay("threshold", threshold) if threshold_mode == "rel" else 0.0,
        atol=0.0 if threshold_mode == "rel" else checks.non_negative("threshold", threshold),
        cooldown=cooldown,
        mode=mode,
        min_scale=checks.non_negative("min_lr", min_lr) / rate,
        least_change=checks.non_negative("eps", eps) / rate,
        size=_signed,
    )
    return rate_on_plateau(optimizer, plateau)


def _signed(best: jax.Array) -> jax.Array:
    return best
