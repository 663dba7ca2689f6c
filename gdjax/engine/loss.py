"""Calling a loss or a metric with what it asks for, and no more.

`loss_fn(params, batch) -> scalar` may name keyword-only arguments: `key`, `training`, `model_state`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.types import Batch, Params

OFFERED = ("key", "training", "model_state")


@dataclasses.dataclass(frozen=True)
class Callee:
    """A user's function of (params, batch) and the names of the extras that it takes."""

    function: Callable
    name: str
    wants: tuple[str, ...]

    def __call__(self, params: Params, batch: Batch, **offered: Any) -> Any:
        """What the function returns, given of the offered extras those that it takes."""
        try:
            return self.function(params, batch, **{name: offered[name] for name in self.wants})
        except Exception as error:
            error.add_note(f"`{self.name}` was given a batch of shapes {jax.tree.map(np.shape, batch)}.")
            raise

    @property
    def has_model_state(self) -> bool:
        """Whether the function takes a model state; a loss then also returns one."""
        return "model_state" in self.wants

    def loss(self, params: Params, batch: Batch, **offered: Any) -> tuple[jax.Array, Any]:
        """(loss, model state) of a batch; the state is the one that came where the loss has none.

        Raises:
          ValueError, TypeError: if the function does not return a real float scalar.
        """
        result = self(params, batch, **offered)
        state = offered["model_state"]
        if self.has_model_state:
            if not isinstance(result, tuple) or len(result) != 2:
                raise TypeError(f"`{self.name}` takes `model_state`, so it must return (loss, model_state).")
            result, state = result
        self._check_scalar(result, batch)
        return jnp.asarray(result), state

    def metric(self, params: Params, batch: Batch, **offered: Any) -> jax.Array:
        """The number that a metric gives.

        Raises:
          ValueError, TypeError: if the function does not return a scalar.
        """
        result = self(params, batch, **offered)
        if not isinstance(result, jax.Array | np.ndarray | np.generic | int | float):
            raise TypeError(f"`{self.name}` must return a scalar, got {result!r}.")
        if np.shape(result) != ():
            raise ValueError(f"`{self.name}` must return a scalar, got an array of shape {np.shape(result)}.")
        return jnp.asarray(result)

    def _check_scalar(self, result: Any, batch: Batch) -> None:
        seen = f"for a batch of shapes {jax.tree.map(np.shape, batch)}"
        if not isinstance(result, jax.Array | np.ndarray | np.generic | float):
            raise TypeError(f"`{self.name}` must return a float scalar, got {result!r} {seen}.")
        if np.shape(result) != ():
            raise ValueError(
                f"`{self.name}` must return a scalar, the mean over the batch's rows, "
                f"got an array of shape {np.shape(result)} {seen}."
            )
        if not jnp.issubdtype(jnp.result_type(result), jnp.floating):
            raise TypeError(f"`{self.name}` must return a real float, got dtype {jnp.result_type(result)} {seen}.")


def mean_loss(
    loss: Callee, params: Params, parts: Sequence[tuple[Batch, int]], *, key: Any, model_state: Any
) -> tuple[jax.Array, Any]:
    """(loss, model state) of a batch in an update: the mean over the rows of all its parts, (batch, rows) each."""
    whole, total = sum(rows for _, rows in parts), None
    for place, (batch, rows) in enumerate(parts):
        part_key = key if key is None or place == 0 else jax.random.fold_in(key, place)
        value, model_state = loss.loss(params, batch, key=part_key, training=True, model_state=model_state)
        value = value if rows == whole else value * (rows / whole)
        total = value if total is None else total + value
    assert total is not None
    return total, model_state


def callee(name: str, function: Any) -> Callee:
    """A user's function, its signature read.

    Raises:
      TypeError: if it is not callable, or asks for a keyword-only argument that nobody offers.
    """
    if not callable(function):
        raise TypeError(f"`{name}` must be a function of (params, batch), got {function!r}.")
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin without a signature takes no extras
        return Callee(function, name, ())
    parameters = list(parameters)
    for parameter in parameters[2:]:
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD and parameter.name in OFFERED:
            raise TypeError(
                f"`{name}` must take `{parameter.name}` as a keyword-only argument, behind a `*`, "
                "got it as a positional one."
            )
    keyword_only = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    for parameter in keyword_only:
        if parameter.name not in OFFERED and parameter.default is parameter.empty:
            raise TypeError(
                f"`{name}` may ask for the keyword-only arguments {', '.join(OFFERED)}, got `{parameter.name}`."
            )
    return Callee(function, name, tuple(p.name for p in keyword_only if p.name in OFFERED))
