"""Schedules: pure functions `step -> value`, and pytrees of their numbers.

A schedule is evaluated at a *position*, whole units and a fraction of one. In steps the fraction is 0; `per_epoch`
makes the unit an epoch, `per_run` a share of the run. Whatever changes at a boundary compares or divides the whole
units as integers, so a boundary is never missed by rounding, however many steps there are.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, dataclass_transform

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype, is_trainable, leaf_dtype
from gdjax.types import Number

MOST_UNITS = 2**31 - 1
"""The largest count of anything: positions are int32 unless x64 is on."""


def as_float(x: Any) -> jax.Array:
    """A number in the dtype in which schedules compute."""
    return jnp.asarray(x, float_dtype())


def as_integer(x: Any) -> jax.Array:
    """A count in the widest integer that is on.

    Raises:
      TypeError: if it is no integer; rounding it here could miss a boundary.
    """
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise TypeError(f"steps and epochs must be counted in integers, got {x!r}.")
    return x.astype(jnp.result_type(int))


class Position(NamedTuple):
    """Where a run stands, in units of a schedule."""

    whole: Any
    """Finished units, an integer scalar."""
    fraction: Any = None
    """The part of the unit under way, a float scalar in [0, 1); None where units are not divided."""

    @property
    def elapsed(self) -> jax.Array:
        """Units passed, as a float."""
        whole = as_float(self.whole)
        return whole if self.fraction is None else whole + as_float(self.fraction)

    @property
    def start(self) -> "Position":
        """The position 0, its fraction like this one's."""
        return Position(jnp.zeros_like(as_integer(self.whole)), None if self.fraction is None else as_float(0))

    def reached(self, boundary: Any) -> jax.Array:
        """Whether `boundary` units have passed, a boolean scalar."""
        return as_integer(self.whole) >= as_integer(boundary)

    def since(self, boundary: Any) -> "Position":
        """This position counted from a boundary; before it, in the first unit."""
        return self._replace(whole=jnp.maximum(as_integer(self.whole) - as_integer(boundary), 0))

    def progress(self, units: Any) -> tuple[jax.Array, jax.Array]:
        """The parts of `units` (at least 1) that are done and that are left, floats in [0, 1].

        Each is right to rounding where it is small; one minus the other would not be.
        """
        units = as_integer(units)
        whole = jnp.minimum(as_integer(self.whole), units)
        fraction = as_float(0 if self.fraction is None else self.fraction)
        left = jnp.maximum(as_float(units - whole) - fraction, 0)
        done = jnp.minimum(as_float(whole) + fraction, as_float(units))
        return done / as_float(units), left / as_float(units)


class Schedule:
    """A callable pytree; its leaves are its numbers, so they can be traced, mapped and differentiated."""

    def at(self, position: Position) -> Any:
        """The value at a position in the schedule's units, a float scalar."""
        raise TypeError(f"{type(self).__name__} is a schedule without a formula: it must define `at`.")

    def position(self, step: Any, epoch: Any, epoch_fraction: Any, epochs: Any) -> Position:
        """Where a run stands, in the schedule's units; arguments as in a call."""
        return Position(step)

    def __call__(self, step: Any, *, epoch: Any = None, epoch_fraction: Any = None, epochs: Any = None) -> Any:
        """The value that acts on update number `step` (0-based).

        Args:
          step: updates made so far, an integer scalar.
          epoch: epochs finished so far, an integer scalar; only `per_epoch` and `per_run` ask for it.
          epoch_fraction: the part of the current epoch that is done, in [0, 1).
          epochs: how many epochs the run shall have in all, an integer scalar; only `per_run` asks for it.

        Returns:
          A float scalar.
        """
        return self.at(self.position(step, epoch, epoch_fraction, epochs))


@dataclass_transform(frozen_default=True)
def registered(cls: type) -> Any:
    """A class of schedules made a frozen dataclass and a pytree of its fields."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, eq=False)(cls))


def static() -> Any:
    """A field of a schedule that is part of its structure: a function or a flag, not a number."""
    return dataclasses.field(metadata={"static": True})


@registered
class OwnUnits(Schedule):
    """A schedule that reckons its position itself: whoever hands it one counts in other units."""

    schedule: Any

    def at(self, position: Position) -> Any:
        """The value at a position in the schedule's units, a float scalar."""
        return self.schedule.at(position)


@registered
class _Function(Schedule):
    function: Callable = static()

    def at(self, position: Position) -> Any:
        return self.function(position.whole if position.fraction is None else position.elapsed)


def as_schedule(schedule: Callable, *, name: str = "schedule") -> Schedule:
    """Any `step -> value` function as a schedule; one of gdjax's own is itself.

    A function is part of a program's structure, not one of its numbers: another function object is
    another compilation.
    """
    if isinstance(schedule, Schedule):
        return schedule
    if not callable(schedule):
        raise TypeError(f"`{name}` must be a function of the step, got {schedule!r}.")
    return _Function(schedule)


def part(name: str, schedule: Callable) -> Schedule:
    """A schedule that is to stand inside another, whose units it shares.

    Raises:
      TypeError: if it is no function.
      ValueError: if it has units of its own, or a part of it has.
    """
    result = as_schedule(schedule, name=name)
    if any(isinstance(node, OwnUnits) for node in jax.tree.leaves(result, is_leaf=lambda x: isinstance(x, OwnUnits))):
        raise ValueError(
            f"`{name}` must count in the units of the whole, so `per_epoch` and `per_run` belong outermost, "
            f"got {schedule!r}."
        )
    return result


def scheduled(check: Callable[[str, Any], Number], name: str, value: Any) -> Any:
    """A hyperparameter: a schedule if it is callable, else a number that passes `check`."""
    return as_schedule(value, name=name) if callable(value) else check(name, value)


def non_negative(name: str, value: Any) -> Any:
    """A hyperparameter that is at least 0, or a schedule."""
    return scheduled(checks.non_negative, name, value)


def count(name: str, value: Any, *, least: int = 1, most: int = MOST_UNITS) -> Any:
    """A count of units: a Python integer where it is concrete, itself where it is traced."""
    return value if isinstance(value, jax.core.Tracer) else checks.integer(name, value, least=least, most=most)


@registered
class _Complement(Schedule):
    schedule: Any

    def __call__(self, step: Any, **position: Any) -> Any:
        decay = self.schedule(step, **position)
        least = _half_a_spacing(leaf_dtype(decay) if is_trainable(decay) else float_dtype())
        return jnp.clip(as_float(1 - decay), least, 1)  # NaN stays, to be seen


def complement(name: str, decay: Any) -> Any:
    """1 − decay, formed in double precision where decay is a number: float32 keeps it whole.

    β = 0.999 as a float32 is off by 1.3e-8, which is 1e-5 of 1 − β. A 16-bit array cannot even hold it: its 1.0
    is any decay that rounds to it (optax's `inject_hyperparams` hands such over), so 1 − β is at least half the
    distance to the number below. So it is where β is a schedule: one that reaches 1 (or passes it, or falls below 0)
    would divide a bias correction by 0, hence 1 − β stays in [half that distance, 1].
    """
    dtype = getattr(decay, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits == 16:
        decay = jnp.minimum(jnp.asarray(decay, jnp.float32), 1 - _half_a_spacing(dtype))
    decay = scheduled(checks.decay, name, decay)
    return _Complement(decay) if isinstance(decay, Schedule) else 1 - decay


def _half_a_spacing(dtype: Any) -> float:
    """Half the distance from 1 to the number below it."""
    return float(jnp.finfo(dtype).epsneg) / 2
