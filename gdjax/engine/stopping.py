"""Early stopping: a run that no longer improves stands still, and its best parameters are kept.

Judged in the compiled run, once an epoch, so that it costs a step nothing and works in a sweep as well.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.dtypes import float_dtype


class StoppingState(NamedTuple):
    """What the judge remembers; each an array of shape ()."""

    value: jax.Array
    """The last finished epoch's number, which is judged; NaN before."""
    best: jax.Array
    """The best so far."""
    best_epoch: jax.Array
    """The epoch that it is of, counted from 1; 0 before there is one. int32."""
    waited: jax.Array
    """Epochs since, int32."""
    judged: jax.Array
    """Epochs that have been judged, int32."""
    stopped: jax.Array
    """The epochs that the run had made when it stopped; 0 while it goes on. int32."""
    kept: Any
    """What the model was at its best; None where that is not restored."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """When a run stops; a pytree of its numbers. See `early_stopping`."""

    patience: Any
    min_change: Any
    monitor: str = dataclasses.field(metadata={"static": True})
    mode: str = dataclasses.field(metadata={"static": True})
    restore_best: bool = dataclasses.field(metadata={"static": True})

    def init(self, model: Any, epoch: Any = 0) -> StoppingState:
        """Before anything is judged.

        Args:
          model: what is kept of a run at its best.
          epoch: epochs made so far; they are not judged.
        """
        zero = jnp.zeros((), jnp.int32)
        worst = jnp.full((), jnp.inf if self.mode == "min" else -jnp.inf, float_dtype())
        value = jnp.full((), jnp.nan, float_dtype())
        judged = jnp.asarray(epoch, jnp.int32)
        kept = jax.tree.map(jnp.copy, model) if self.restore_best else None  # the run gives its own memory away
        return StoppingState(value, worst, zero, zero, judged, zero, kept)

    def judge(self, state: StoppingState, model: Any, epoch: Any, due: Any) -> StoppingState:
        """Judge an epoch that has ended, once.

        Args:
          state: what is remembered.
          model: what is kept of the run at its best, as it is now.
          epoch: epochs made.
          due: whether the run stands at the end of one.
        """
        due &= (epoch > state.judged) & (state.waited < self.patience)
        change = jnp.asarray(self.min_change, state.best.dtype)
        better = state.value < state.best - change if self.mode == "min" else state.value > state.best + change
        better &= due
        waited = jnp.where(better, 0, state.waited + due.astype(jnp.int32))
        judged = jnp.where(due, epoch, state.judged)
        return StoppingState(
            value=state.value,
            best=jnp.where(better, state.value, state.best),
            best_epoch=jnp.where(better, epoch, state.best_epoch),
            waited=waited,
            judged=judged,
            stopped=jnp.where(waited >= self.patience, judged, 0),
            kept=jax.tree.map(lambda new, old: jnp.where(better, new, old), model, state.kept)
            if self.restore_best
            else None,
        )


def early_stopping(
    patience: int = 10, min_change: Any = 0.0, *, monitor: str = "loss", mode: str = "min", restore_best: bool = True
) -> EarlyStopping:
    """Stop a run once `patience` epochs in a row brought nothing better: `fit(..., early_stopping=early_stopping(5))`.

    Args:
      patience: epochs without an improvement after which the run stops, at least 1.
      min_change: what a change must exceed to be an improvement, at least 0, in units of what is judged. NaN never is
        one.
      monitor: what is judged at the end of each epoch: "loss", the validation loss where there is one and else the
        epoch's training loss; or the name of one of the run's metrics.
      mode: "min" where less is better, "max" where more is, as for an accuracy.
      restore_best: whether the run's result has the parameters, model state and average of the best epoch, whether the
        run was stopped or not; else those after its last. They take memory once more.

    Raises:
      ValueError, TypeError: if an argument is out of range.

    >>> import jax.numpy as jnp, gdjax
    >>> loss = lambda w, batch: jnp.mean((w - batch) ** 2)
    >>> result = gdjax.fit(loss, jnp.array(0.0), jnp.array([1.0]), optimizer=gdjax.gd(0.5), regime=gdjax.full_batch(),
    ...                    epochs=100, early_stopping=gdjax.early_stopping(3, min_change=0.01))
    >>> len(result.history.loss), result.stopped_early
    (5, True)
    """
    return EarlyStopping(
        patience=checks.integer("patience", patience, least=1, most=2**31 - 1),
        min_change=checks.non_negative("min_change", min_change),
        monitor=_name("monitor", monitor),
        mode=checks.choice("mode", mode, ("min", "max")),
        restore_best=checks.choice("restore_best", restore_best, (True, False)),
    )


def check_monitor(stopping: EarlyStopping | None, metrics: Any) -> None:
    """What is judged must be the loss or one of these metrics.

    Raises:
      ValueError: if it is not.
    """
    known = ("loss", *(metrics or ()))
    if stopping is not None and stopping.monitor not in known:
        raise ValueError(
            f"`monitor` must be one of {', '.join(map(repr, known))}, the loss and the run's metrics, "
            f"got {stopping.monitor!r}."
        )


def _name(argument: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"`{argument}` must be the name of a metric, got {value!r}.")
    return value
