"""One clock: the only place that counts steps and reads schedules.

Transforms know neither schedules nor counts. `clocked(optimizer)` reads every hyperparameter that is a
schedule at the present step, runs the optimizer on the numbers, and keeps the numbers that acted.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gdjax import checks
from gdjax.dtypes import float_dtype
from gdjax.schedules import Schedule
from gdjax.transforms.base import GradientTransformation, Rule, lift, narrow, transformation, widen
from gdjax.transforms.plateau import PlateauState
from gdjax.transforms.plateau_rate import RateState
from gdjax.types import OptState, Params, Updates, state


@state
class ClockState(NamedTuple):
    """The step count, the hyperparameters that acted last, and the optimizer's own state."""

    count: jax.Array
    """Updates made so far, int32, shape (); stays at its largest value."""
    hyperparameters: dict[str, jax.Array]
    """Name to number, float scalars: those of the last update, before it those of the first."""
    inner: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _Clocked(Rule):
    optimizer: GradientTransformation

    def init(self, params: Params) -> ClockState:
        present = _read(self.optimizer, jnp.zeros((), jnp.int32), epoch=0, epoch_fraction=0.0, epochs=1)
        return ClockState(jnp.zeros((), jnp.int32), hyperparameters(present), present.init(params))

    def update(
        self,
        updates: Updates,
        state: ClockState,
        params: Params | None = None,
        *,
        epoch: Any = None,
        epoch_fraction: Any = None,
        epochs: Any = None,
        **extra: Any,
    ) -> tuple:
        if params is not None:
            checks.same_tree("updates", updates, "params", params)
        position = {"epoch": epoch, "epoch_fraction": epoch_fraction, "epochs": epochs}
        present = _read(self.optimizer, state.count, **position)
        # Between the parts nothing is rounded to the gradient's 16 bits: only the result is.
        steps, inner = present.update(widen(updates), state.inner, params, **position, **extra)
        new_state = ClockState(jnp.asarray(optax.safe_increment(state.count)), hyperparameters(present), inner)
        return narrow(steps, updates), new_state


def _read(optimizer: GradientTransformation, step: jax.Array, **position: Any) -> GradientTransformation:
    """The optimizer with every schedule replaced by its number."""

    def number(leaf: Any) -> Any:
        return leaf(step, **position) if isinstance(leaf, Schedule) else leaf

    return jax.tree.map(number, optimizer, is_leaf=lambda leaf: isinstance(leaf, Schedule))


def clocked(optimizer: GradientTransformation) -> GradientTransformation:
    """An optimizer any of whose hyperparameters may follow a schedule.

    Args:
      optimizer: a transform, usually a `chain` that ends in `scale_by_learning_rate`.

    Returns:
      A transform with the state `ClockState`, of the same structure whether a hyperparameter is a number
      or a schedule. Its update takes `epoch=` and `epoch_fraction=` for schedules made by `per_epoch`,
      and `epochs=` beside them for those made by `per_run`.

    Raises:
      TypeError: if `optimizer` is no transform.

    >>> import jax.numpy as jnp
    >>> from gdjax import schedules
    >>> from gdjax.transforms.scaling import scale_by_learning_rate
    >>> optimizer = clocked(scale_by_learning_rate(schedules.step_decay(1.0, 1)))
    >>> state = optimizer.init(jnp.array(0.0))
    >>> for _ in range(3):
    ...     updates, state = optimizer.update(jnp.array(1.0), state)
    >>> float(updates), float(state.hyperparameters["learning_rate"])
    (-0.25, 0.25)
    """
    return transformation(_Clocked(lift("optimizer", optimizer)))


def hyperparameters(optimizer: GradientTransformation) -> dict[str, jax.Array]:
    """The numbers of an optimizer by name: the last part of their path, and as much before it as tells them apart."""
    leaves = jax.tree_util.tree_flatten_with_path(optimizer)[0]
    paths = [jax.tree_util.keystr(path, simple=True, separator=".").split(".") for path, _ in leaves]

    def name(path: list[str]) -> str:
        for length in range(1, len(path)):
            if sum(other[-length:] == path[-length:] for other in paths) == 1:
                return ".".join(path[-length:])
        return ".".join(path)

    # Copies: a state that shared the optimizer's own arrays could not be donated.
    return {name(path): jnp.array(leaf, float_dtype()) for path, (_, leaf) in zip(paths, leaves, strict=True)}


def learning_rate(state: OptState) -> jax.Array:
    """The learning rate that acted in the last update, read from any optimizer's state.

    Found in the clocks of gdjax and in optax's `inject_hyperparams`, times the scale of every
    `reduce_on_plateau`. NaN where no state holds one, or several do.
    """

    def held(node: Any) -> dict | None:
        numbers = node.hyperparameters if isinstance(node, ClockState) else getattr(node, "hyperparams", None)
        return numbers if isinstance(numbers, dict) else None

    def is_known(node: Any) -> bool:
        return held(node) is not None or isinstance(node, PlateauState | RateState)

    rates, scale = [], jnp.ones((), float_dtype())
    for node in jax.tree.leaves(state, is_leaf=is_known):
        if isinstance(node, RateState):  # a plateau that acts on the rate itself, so that the clock within has it
            rates.append(learning_rate(node.scaled))
        rates += [value for name, value in (held(node) or {}).items() if name.split(".")[-1] == "learning_rate"]
        scale = scale * getattr(node, "plateau_scale", 1)
    return rates[0] * scale if len(rates) == 1 else jnp.full((), jnp.nan, float_dtype())
