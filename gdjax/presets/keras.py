"""Keras's optimizers: the names (in lower case), keywords, defaults and numbers of `keras.optimizers` 3.15.

What has a place of its own in gdjax is not repeated here: `use_ema` is `fit(average=...)`,
`gradient_accumulation_steps` is `transforms.accumulate_gradients`, and no loss is scaled.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks, schedules
from gdjax.dtypes import is_trainable
from gdjax.presets.clipping import Clip, ClipByGlobalNorm, ClipByLeafNorm
from gdjax.schedules import Schedule, nadam_momentum, non_negative
from gdjax.transforms.adaptive_methods import adaptive, quotient, root
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    chain,
    elementwise,
    multiply,
    narrow,
    scalar,
    transformation,
    widen,
)
from gdjax.transforms.bias_correction import bias_corrected
from gdjax.transforms.clock import clocked
from gdjax.transforms.deviations import ema_of_variance
from gdjax.transforms.filters import accumulate, ema, ema_of_squares, sum_of_squares
from gdjax.transforms.look_ahead import nesterov as look_ahead
from gdjax.transforms.look_ahead import nesterov_corrected, two_speed
from gdjax.transforms.maxima import ema_of_max, running_max
from gdjax.transforms.plateau import reduce_on_plateau
from gdjax.transforms.plateau_rate import rate_on_plateau, starting_rate
from gdjax.transforms.signs import sign
from gdjax.transforms.trust_ratio import trust_ratio
from gdjax.transforms.units import unit_corrected
from gdjax.types import OptState, Params, Updates, state


@state
class DescendState(NamedTuple):
    """The states of the steps, and of the memory behind the learning rate."""

    steps: OptState
    memory: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _Descend(Rule):
    """Keras's order: first the weights shrink, then steps see them, and the rate enters the memory of steps."""

    steps: GradientTransformation
    memory: GradientTransformation
    learning_rate: Any
    weight_decay: Any

    def init(self, params: Params) -> DescendState:
        return DescendState(self.steps.init(params), self.memory.init(params))

    def update(self, updates: Updates, state: DescendState, params: Params | None = None, **extra: Any) -> tuple:
        pulls = self._pulls(updates, params)
        shrunk = params if pulls is None else jax.tree.map(_add, params, pulls)
        steps, steps_state = self.steps.update(widen(updates), state.steps, shrunk, **extra)
        moves = elementwise(lambda u: multiply(-scalar("learning_rate", self.learning_rate, u.dtype), u), steps)
        moves, memory = self.memory.update(moves, state.memory, shrunk, **extra)
        moves = moves if pulls is None else jax.tree.map(_add, moves, pulls)
        return narrow(moves, updates), DescendState(steps_state, memory)

    def _pulls(self, updates: Updates, params: Params | None) -> Updates | None:
        """−α·λ·θ, or None where no weights decay."""
        if self.weight_decay is None:
            return None
        if params is None:
            raise ValueError("`params` must be given to `update`, since weights decay, got None.")
        checks.same_tree("updates", updates, "params", params)

        def pull(p: jax.Array) -> jax.Array:
            rate, decay = (scalar(name, getattr(self, name), p.dtype) for name in ("learning_rate", "weight_decay"))
            return multiply(-rate * decay, p)

        return elementwise(pull, widen(params))


def _add(x: Any, y: Any) -> Any:
    return jnp.asarray(x).astype(y.dtype) + y if is_trainable(x) else x


def _clips(clipnorm: Any, clipvalue: Any, global_clipnorm: Any) -> list[GradientTransformation]:
    given = {"clipnorm": clipnorm, "clipvalue": clipvalue, "global_clipnorm": global_clipnorm}
    given = {name: checks.positive(name, value) for name, value in given.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"`clipnorm`, `clipvalue` and `global_clipnorm` must not be given together, got {given}.")
    made = {"clipnorm": ClipByLeafNorm, "clipvalue": Clip, "global_clipnorm": ClipByGlobalNorm}
    return [transformation(made[name](value)) for name, value in given.items()]


def _descend(
    learning_rate: Any, *steps: GradientTransformation, memory: Any = None, weight_decay: Any, clips: list
) -> GradientTransformation:
    if weight_decay is not None:
        weight_decay = non_negative("weight_decay", weight_decay)
    rate = non_negative("learning_rate", learning_rate)
    memory = chain() if memory is None else memory
    return clocked(transformation(_Descend(chain(*clips, *steps), memory, rate, weight_decay)))


def _average(beta_1: Any) -> GradientTransformation:
    return ema(beta_1, name="beta_1")


def _squares(beta_2: Any) -> GradientTransformation:
    return ema_of_squares(beta_2, name="beta_2")


def sgd(
    learning_rate: Any = 0.01,
    momentum: Any = 0.0,
    nesterov: bool = False,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.SGD`: v ← μ·v − α·g, θ ← θ + v, so that a change of rate is felt slowly.

    `learning_rate`, `weight_decay` and the three clips are in all of Keras's optimizers.

    Args:
      learning_rate: α ≥ 0, a number, a traced scalar or a schedule.
      momentum: μ in [0, 1), likewise; its memory is kept also for 0.
      nesterov: look ahead.
      weight_decay: λ ≥ 0, likewise; weights shrink by α·λ before the step. None is no decay.
      clipnorm: the largest norm of a leaf's gradient, above 0; None for any.
      clipvalue: the largest coordinate of the gradient, above 0; None for any.
      global_clipnorm: the largest norm of the whole gradient, above 0; None for any. At most one clip is given.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    memory = accumulate(momentum, name="momentum")
    memory = look_ahead(memory) if nesterov else memory
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, memory=memory, weight_decay=weight_decay, clips=clips)


def adam(
    learning_rate: Any = 0.001,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-7,
    amsgrad: bool = False,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Adam`: ε is added to the root before the correction, which then divides it too.

    Args:
      learning_rate: as in `sgd`.
      beta_1: decay of the average of gradients in [0, 1), a number, a traced scalar or a schedule.
      beta_2: decay of the average of squares in [0, 1), likewise.
      epsilon: ε ≥ 0, likewise.
      amsgrad: a magnitude that never shrinks; the maximum is of the raw average.
      weight_decay: as in `sgd`.
      clipnorm: as in `sgd`.
      clipvalue: as in `sgd`.
      global_clipnorm: as in `sgd`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    squares = running_max(_squares(beta_2)) if amsgrad else _squares(beta_2)
    size = bias_corrected(root(squares, eps=non_negative("epsilon", epsilon)))
    steps = quotient(direction=bias_corrected(_average(beta_1)), size=size)
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, weight_decay=weight_decay, clips=clips)


def adamw(
    learning_rate: Any = 0.001,
    weight_decay: Any = 0.004,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-7,
    amsgrad: bool = False,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.AdamW`, which is `adam` with another default; arguments as there."""
    if weight_decay is None:
        raise TypeError("`weight_decay` must be a number or a schedule, got None.")
    return adam(learning_rate, beta_1, beta_2, epsilon, amsgrad, weight_decay, clipnorm, clipvalue, global_clipnorm)


def nadam(
    learning_rate: Any = 0.001,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-7,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Nadam`, whose momentum schedule is β₁·(1 − ½·0.96^t); arguments as in `adam`, β₁ a number."""
    average = _average(beta_1)
    steps = adaptive(
        direction=nesterov_corrected(average, momentum=nadam_momentum(beta_1, 1.0)),
        magnitude=bias_corrected(_squares(beta_2)),
        eps=non_negative("epsilon", epsilon),
    )
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, weight_decay=weight_decay, clips=clips)


def adamax(
    learning_rate: Any = 0.001,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-7,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Adamax`; ε is added to the maximum; arguments as in `adam`."""
    steps = quotient(
        direction=bias_corrected(_average(beta_1)),
        size=ema_of_max(beta_2, name="beta_2"),
        eps=non_negative("epsilon", epsilon),
    )
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, weight_decay=weight_decay, clips=clips)


def rmsprop(
    learning_rate: Any = 0.001,
    rho: Any = 0.9,
    momentum: Any = 0.0,
    epsilon: Any = 1e-7,
    centered: bool = False,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.RMSprop`; ε stands inside the root, the learning rate before the momentum.

    Args:
      learning_rate: as in `sgd`.
      rho: decay of the averages in [0, 1), a number, a traced scalar or a schedule.
      momentum: decay of the heavy ball over the steps in [0, 1), likewise; its memory is kept also for 0.
      epsilon: ε ≥ 0, likewise.
      centered: divide by the root of the variance.
      weight_decay: as in `sgd`.
      clipnorm: as in `sgd`.
      clipvalue: as in `sgd`.
      global_clipnorm: as in `sgd`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    magnitude = (ema_of_variance if centered else ema_of_squares)(rho, name="rho")
    steps = adaptive(magnitude=magnitude, eps=None, eps_root=non_negative("epsilon", epsilon))
    memory = accumulate(momentum, name="momentum")
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, memory=memory, weight_decay=weight_decay, clips=clips)


def adagrad(
    learning_rate: Any = 0.001,
    initial_accumulator_value: Any = 0.1,
    epsilon: Any = 1e-7,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Adagrad`; ε stands inside the root.

    Args:
      learning_rate: as in `sgd`.
      initial_accumulator_value: the sum of squares before the first gradient, at least 0.
      epsilon: ε ≥ 0, a number, a traced scalar or a schedule.
      weight_decay: as in `sgd`.
      clipnorm: as in `sgd`.
      clipvalue: as in `sgd`.
      global_clipnorm: as in `sgd`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    magnitude = sum_of_squares(initial_value=initial_accumulator_value, name="initial_accumulator_value")
    steps = adaptive(magnitude=magnitude, eps=None, eps_root=non_negative("epsilon", epsilon))
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, weight_decay=weight_decay, clips=clips)


def adadelta(
    learning_rate: Any = 0.001,
    rho: Any = 0.95,
    epsilon: Any = 1e-7,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Adadelta`.

    Args:
      learning_rate: as in `sgd`; the paper's is 1.
      rho: decay of both averages in [0, 1), a number, a traced scalar or a schedule.
      epsilon: ε ≥ 0, likewise, inside both roots.
      weight_decay: as in `sgd`.
      clipnorm: as in `sgd`.
      clipvalue: as in `sgd`.
      global_clipnorm: as in `sgd`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    eps_root = non_negative("epsilon", epsilon)
    steps = unit_corrected(ema_of_squares(rho, name="rho"), eps_root=eps_root)
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, weight_decay=weight_decay, clips=clips)


def lion(
    learning_rate: Any = 0.001,
    beta_1: Any = 0.9,
    beta_2: Any = 0.99,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Lion`.

    Args:
      learning_rate: as in `sgd`.
      beta_1: how much of the answer is memory, in [0, 1), a number, a traced scalar or a schedule.
      beta_2: how long the memory is, in [0, 1), likewise.
      weight_decay: as in `sgd`.
      clipnorm: as in `sgd`.
      clipvalue: as in `sgd`.
      global_clipnorm: as in `sgd`.

    Raises:
      ValueError, TypeError: if a hyperparameter is out of range or no scalar, or two clips are given.
    """
    direction = two_speed(answers=_average(beta_1), remembers=ema(beta_2, name="beta_2"))
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, direction, sign(), weight_decay=weight_decay, clips=clips)


def lamb(
    learning_rate: Any = 0.001,
    beta_1: Any = 0.9,
    beta_2: Any = 0.999,
    epsilon: Any = 1e-7,
    weight_decay: Any = None,
    clipnorm: Any = None,
    clipvalue: Any = None,
    global_clipnorm: Any = None,
) -> GradientTransformation:
    """`keras.optimizers.Lamb`; the trust ratio sees the weights after their decay; arguments as in `adam`."""
    steps = adaptive(
        direction=bias_corrected(_average(beta_1)),
        magnitude=bias_corrected(_squares(beta_2)),
        eps=non_negative("epsilon", epsilon),
    )
    clips = _clips(clipnorm, clipvalue, global_clipnorm)
    return _descend(learning_rate, steps, trust_ratio(), weight_decay=weight_decay, clips=clips)


def inverse_time_decay(
    initial_learning_rate: Any, decay_steps: int, decay_rate: Any, staircase: bool = False
) -> Schedule:
    """`keras.optimizers.schedules.InverseTimeDecay`: α₀ / (1 + k·t/T).

    Args:
      initial_learning_rate: α₀ ≥ 0.
      decay_steps: T, at least 1.
      decay_rate: k ≥ 0.
      staircase: count whole periods only.

    Raises:
      ValueError, TypeError: if a number is out of its range.
    """
    return schedules.inverse_time_decay(
        checks.non_negative("initial_learning_rate", initial_learning_rate),
        decay_rate,
        transition_steps=checks.integer("decay_steps", decay_steps, least=1),
        staircase=staircase,
    )


def reduce_lr_on_plateau(
    optimizer: GradientTransformation,
    factor: Any = 0.1,
    patience: int = 10,
    mode: str = "auto",
    min_delta: Any = 1e-4,
    cooldown: int = 0,
    min_lr: Any = 0.0,
) -> GradientTransformation:
    """`keras.callbacks.ReduceLROnPlateau` over an optimizer of one learning rate.

    A judgement acts on the update that it is told with: in a hand-written loop tell the first update of an epoch what
    came out of the epoch before. `gdjax.fit` does so by itself.

    What is monitored is what `update` is told, in a run the validation loss. A first metric that is not finite does
    not become the best.

    Args:
      optimizer: a preset of this module, or any of gdjax's optimizers.
      factor: in [0, 1).
      patience: bad judgements that bring a cut, at least 0 (0 acts as 1).
      mode: "min", "max", or "auto", which is "min" since a loss is judged.
      min_delta: the absolute improvement that counts, at least 0.
      cooldown: the judgement after a cut from which bad ones count again, at least 0 (0 acts as 1).
      min_lr: the least learning rate, at least 0; for a schedule, at its first step.

    Returns:
      A transform that judges as `transforms.reduce_on_plateau` does, and whose rate acts where the optimizer's does.

    Raises:
      ValueError, TypeError: if a number is out of range, or `optimizer` has no single learning rate.
    """
    checks.choice("mode", mode, ("auto", "min", "max"))
    plateau = reduce_on_plateau(
        factor,
        patience,
        rtol=0.0,
        atol=checks.non_negative("min_delta", min_delta),
        # Keras counts the cooldown down before it looks at it.
        cooldown=max(checks.integer("cooldown", cooldown, least=0) - 1, 0),
        mode="min" if mode == "auto" else mode,
        min_scale=checks.non_negative("min_lr", min_lr) / starting_rate(optimizer),
    )
    return rate_on_plateau(optimizer, plateau)
