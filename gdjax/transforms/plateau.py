"""Reduce on plateau: smaller steps once a metric has stopped improving."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype
from gdjax.transforms.base import GradientTransformation, Rule, elementwise, multiply, scalar, static, transformation
from gdjax.types import Number, Params, Updates, state


@state
class PlateauState(NamedTuple):
    """What the judge remembers; all scalars."""

    plateau_scale: jax.Array
    """The factor on the updates, float32 (float64 under x64)."""
    best: jax.Array
    """The best metric so far, as a thing to minimize; infinite before the first."""
    bad: jax.Array
    """Judgements since the best, int32."""
    cooldown: jax.Array
    """Judgements still to be passed over after a cut, int32."""
    epoch: jax.Array
    """The epoch of the last update, int32."""


@dataclasses.dataclass(frozen=True, eq=False)
class ReduceOnPlateau(Rule):
    """The judge and its factor; see `reduce_on_plateau`."""

    factor: Any
    patience: Any
    rtol: Any
    atol: Any
    cooldown: Any
    min_scale: Any
    least_change: Any
    mode: str = static()
    size: Callable = static()

    def init(self, params: Params) -> PlateauState:
        # Each its own array: a buffer that stood here twice could not be donated.
        bad, cooldown, epoch = (jnp.zeros((), jnp.int32) for _ in range(3))
        return PlateauState(jnp.ones((), float_dtype()), jnp.full((), jnp.inf, float_dtype()), bad, cooldown, epoch)

    def update(
        self,
        updates: Updates,
        state: PlateauState,
        params: Params | None = None,
        *,
        value: Any = None,
        epoch: Any = None,
        epoch_value: Any = None,
        **extra: Any,
    ) -> tuple:
        if epoch_value is not None and epoch is not None:
            epoch = jnp.asarray(epoch, jnp.int32)
            judged = self._judge(state._replace(epoch=epoch), _metric("epoch_value", epoch_value))
            state = jax.tree.map(lambda new, old: jnp.where(epoch != state.epoch, new, old), judged, state)
        elif value is not None:
            state = self._judge(state, _metric("value", value))
        else:
            raise ValueError(
                "`reduce_on_plateau` must be told what to judge: pass `value=` to every `update`, "
                "or `epoch=` and `epoch_value=`, got neither."
            )
        scaled = elementwise(lambda u: multiply(scalar("plateau_scale", state.plateau_scale, u.dtype), u), updates)
        return scaled, state

    def _judge(self, state: PlateauState, metric: jax.Array) -> PlateauState:
        dtype = state.best.dtype
        sign = 1 if self.mode == "min" else -1
        metric = sign * metric.astype(dtype)
        # A margin below an infinite best is no number: before the first metric, any finite one is better.
        margin = jnp.where(jnp.isinf(state.best), 0, self.rtol * self.size(sign * state.best) + self.atol)
        better = metric < state.best - margin.astype(dtype)  # False for NaN: a bad epoch
        cooling = state.cooldown > 0
        bad = jnp.where(better | cooling, 0, state.bad + 1)
        cut = ~better & ~cooling & (bad >= self.patience)
        reduced = jnp.maximum(state.plateau_scale * self.factor, self.min_scale).astype(dtype)
        lower = state.plateau_scale - reduced > self.least_change
        return PlateauState(
            plateau_scale=jnp.where(cut & lower, reduced, state.plateau_scale),
            best=jnp.where(better, metric, state.best),
            bad=jnp.where(cut, 0, bad).astype(jnp.int32),
            cooldown=jnp.where(cut, self.cooldown, jnp.maximum(state.cooldown - 1, 0)).astype(jnp.int32),
            epoch=state.epoch,
        )


def _metric(name: str, value: Any) -> jax.Array:
    metric = jnp.asarray(value)
    if metric.shape != ():
        raise ValueError(f"`{name}` must be a scalar, got an array of shape {metric.shape}.")
    return metric


def reduce_on_plateau(
    factor: Number = 0.1,
    patience: int = 10,
    rtol: Number = 1e-4,
    atol: Number = 0.0,
    cooldown: int = 0,
    *,
    mode: str = "min",
    min_scale: Number = 0.0,
    least_change: Number = 0.0,
    size: Callable = jnp.abs,
) -> GradientTransformation:
    """Multiply the steps by `factor` whenever `patience` judgements in a row brought nothing better.

    Stands after an optimizer: `chain(adam(1e-3), reduce_on_plateau(patience=5))`. Inside a training run it
    judges once an epoch, when the epoch changes, the validation loss where there is one, else the epoch's
    training loss. In a hand-written loop it judges `value=` at every update, or once an epoch where `update` is told
    `epoch=`, the epochs finished so far, and `epoch_value=`, the metric of the last of them. A judgement acts on the
    update that it is told with.

    Better is below best − (rtol·|best| + atol) (above, in mode "max"), also for negative metrics; NaN is never
    better.

    Args:
      factor: in [0, 1).
      patience: judgements without improvement that bring a cut, at least 0 (0 acts as 1).
      rtol: relative improvement that counts, in [0, 1).
      atol: absolute improvement that counts, at least 0.
      cooldown: judgements after a cut in which nothing counts as bad, at least 0.
      mode: "min" where a smaller metric is better, "max" where a larger one is.
      min_scale: the product of all factors never goes below it, at least 0.
      least_change: a cut by no more than this much of the first rate is not made, at least 0.
      size: how large the best is, for `rtol`: its absolute value, or what another framework takes.

    Raises:
      ValueError, TypeError: if a number is out of range; if `update` is told nothing to judge.

    >>> import jax.numpy as jnp
    >>> plateau = reduce_on_plateau(0.5, patience=2)
    >>> state = plateau.init(jnp.array(0.0))
    >>> for loss in (-1.0, -1.0, -1.0):
    ...     updates, state = plateau.update(jnp.array(1.0), state, value=loss)
    >>> float(updates)
    0.5
    """
    return transformation(
        ReduceOnPlateau(
            factor=checks.decay("factor", factor),
            patience=checks.integer("patience", patience, least=0),
            rtol=checks.decay("rtol", rtol),
            atol=checks.non_negative("atol", atol),
            cooldown=checks.integer("cooldown", cooldown, least=0),
            min_scale=checks.non_negative("min_scale", min_scale),
            least_change=checks.non_negative("least_change", least_change),
            mode=checks.choice("mode", mode, ("min", "max")),
            size=size,
        )
    )
