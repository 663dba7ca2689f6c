"""The words that the whole library speaks."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

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
