"""Units: what a schedule counts in, where it is not steps: epochs, or shares of the run."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gdjax.dtypes import float_dtype
from gdjax.schedules.base import OwnUnits, Position, Schedule, as_float, as_integer, count, part, registered

_MOST_SHARES = 2**16 - 1


@registered
class _PerEpoch(OwnUnits):
    steps_per_epoch: Any

    def position(self, step: Any, epoch: Any, epoch_fraction: Any, epochs: Any) -> Position:
        if self.steps_per_epoch is not None:
            step, steps = as_integer(step), as_integer(self.steps_per_epoch)
            return Position(step // steps, as_float(step % steps) / as_float(steps))
        if epoch is None:
            raise ValueError(
                "a schedule made by `per_epoch` must know the epoch: pass `epoch=` to `update`, "
                "or give `per_epoch(schedule, steps_per_epoch=...)`, got neither."
            )
        return Position(epoch, epoch_fraction)


def per_epoch(schedule: Callable, *, steps_per_epoch: int | None = None) -> Schedule:
    """Let any schedule speak in epochs instead of steps.

    A training run tells its optimizer the epoch. In a hand-written loop pass `epoch=` (and
    `epoch_fraction=`) to `update`, or say here how many steps an epoch has.

    Args:
      schedule: any schedule; its steps become epochs, and it also sees the fraction of the current one.
        For a value that changes only between epochs take a staircase.
      steps_per_epoch: updates an epoch, at least 1; None to be told the epoch.

    Raises:
      ValueError, TypeError: if `steps_per_epoch` is no positive integer, or `schedule` is no function of the step or
        has units of its own.

    >>> from gdjax.schedules import step_decay
    >>> schedule = per_epoch(step_decay(0.8, 2), steps_per_epoch=100)
    >>> [round(float(schedule(t)), 4) for t in (0, 199, 200)]
    [0.8, 0.8, 0.4]
    """
    if steps_per_epoch is not None:
        steps_per_epoch = count("steps_per_epoch", steps_per_epoch)
    return _PerEpoch(part("schedule", schedule), steps_per_epoch)


@registered
class _PerRun(OwnUnits):
    units: Any
    steps: Any

    def position(self, step: Any, epoch: Any, epoch_fraction: Any, epochs: Any) -> Position:
        if self.steps is not None:
            steps = as_integer(self.steps)
            whole, rest = _share(jnp.minimum(as_integer(step), steps), self.units, steps)
            return Position(whole, as_float(rest) / as_float(steps))
        missing = [f"`{name}=`" for name, value in (("epoch", epoch), ("epochs", epochs)) if value is None]
        if missing:
            raise ValueError(
                "a schedule made by `per_run` must know the length of the run: pass `epoch=` and `epochs=` to "
                f"`update`, or give `per_run(schedule, steps=...)`, got no {' and no '.join(missing)}."
            )
        return self._told(epoch, epoch_fraction, epochs)

    def _told(self, epoch: Any, epoch_fraction: Any, epochs: Any) -> Position:
        # A run of no epochs is asked for its first value only. The upper end keeps sums of counts below 2³¹.
        epochs = jnp.clip(as_integer(epochs), 1, 2**31 - 1 - _MOST_SHARES)
        finished = jnp.minimum(as_integer(epoch), epochs)
        whole, rest = _share(finished, self.units, epochs)
        within = jnp.where(finished < epochs, as_float(0 if epoch_fraction is None else epoch_fraction), 0)
        further = (as_float(rest) + within * as_float(self.units)) / as_float(epochs)
        # Rounding must make no boundary a step late, so one that is reached up to rounding is reached; nor any step of
        # this epoch reach a boundary of the next one, whose units are known as integers.
        reached = jnp.floor(further * (1 + 4 * jnp.finfo(float_dtype()).eps)).astype(rest.dtype)
        reached = jnp.minimum(reached, (rest + as_integer(self.units) - 1) // epochs)
        return Position(whole + reached, jnp.maximum(further - as_float(reached), 0))


def _share(done: Any, units: Any, total: Any) -> tuple[jax.Array, jax.Array]:
    """⌊done·units/total⌋ and the remainder, exact, for done ≤ total < 2³¹ and units < 2¹⁶.

    The product may not fit into 32 bits. The quotient does: in floats it is at most one too small, and so the remainder
    is below 2·total, where arithmetic modulo 2³² has it right.
    """
    # Lowered by more than rounding can raise it, by less than one in all.
    estimate = as_float(done) * as_float(units) / as_float(total) * (1 - 16 * jnp.finfo(float_dtype()).eps)
    done, units, total = (as_integer(x).astype(jnp.uint32) for x in (done, units, total))
    quotient = jnp.floor(estimate).astype(jnp.uint32)
    remainder = done * units - quotient * total
    one_more = (remainder >= total).astype(jnp.uint32)
    return as_integer(quotient + one_more), as_integer(remainder - one_more * total)


def per_run(schedule: Callable, *, units: int = 100, steps: int | None = None) -> Schedule:
    """Let any schedule speak in shares of the run: with 100 units its steps become percents.

    So one schedule fits runs of every length. A training run tells its optimizer the epoch and how many there shall
    be. In a hand-written loop pass `epoch=`, `epochs=` (and `epoch_fraction=`) to `update`, or say here how many
    steps the run has. After the end the position stays at `units`.

    Args:
      schedule: any schedule; its steps become units.
      units: the length of the run in units of the schedule, in [1, 65535].
      steps: updates the run has in all, at least 1; None to be told the epoch and the number of epochs.

    Raises:
      ValueError, TypeError: if a count is out of its range, or `schedule` is no function of the step or has units of
        its own.

    >>> from gdjax.schedules import step_decay
    >>> schedule = per_run(step_decay(0.8, 50), steps=6)
    >>> [round(float(schedule(t)), 4) for t in range(7)]
    [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2]
    """
    if steps is not None:
        steps = count("steps", steps)
    return _PerRun(part("schedule", schedule), count("units", units, most=_MOST_SHARES), steps)
