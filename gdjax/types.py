"""The words that the whole library speaks."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.export
import numpy as np

T = TypeVar("T", bound=type)

Number = float | int | jax.Array | np.ndarray | np.generic
"""A scalar: a Python or NumPy number, a concrete or a traced JAX array of shape ()."""

Params = Any
"""A pytree of parameters."""

Updates = Any
"""A pytree like the parameters: gradients on their way in, steps on their way out."""

OptState = Any
"""An optimizer's state: a pytree of arrays."""

Batch = Any
"""A pytree of arrays with a common leading axis, one row an example."""

LossFn = Callable[..., Any]
"""`loss_fn(params, batch) -> scalar`, the mean over the batch's rows.

Keyword-only arguments that it names are passed: `key`, `training`, `model_state`.
"""


def state(cls: T) -> T:
    """Makes a named tuple a state that `jax.export` can save as part of a program."""
    jax.export.register_namedtuple_serialization(cls, serialized_name=f"{cls.__module__}.{cls.__qualname__}")
    return cls
