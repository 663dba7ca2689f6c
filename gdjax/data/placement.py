"""Datasets on their way to the device: checked while they are what the user gave, then JAX arrays."""

from typing import Any

import jax
import jax.numpy as jnp

from gdjax import checks
from gdjax.types import Batch


def placed(data: Batch, *, check_finite: bool = True, **others: Batch | None) -> tuple[Any, ...]:
    """The data and others of its kind as arrays of JAX, in the order given.

    Args:
      data: a pytree of arrays with a common leading axis.
      check_finite: refuse NaN and infinite numbers.
      others: name to data of the same structure, or None, which is left out of all checks.

    Raises:
      ValueError, TypeError: naming the argument and the leaf, if rows do not fit together, the structure is another,
        or numbers are too large for JAX's types or not finite.
    """
    parts = {"data": data, **others}
    for name, part in parts.items():
        if part is None:
            continue
        checks.rows(name, part)
        checks.same_structure(name, part, "data", data)
        checks.representable(name, part)
    arrays = {name: jax.tree.map(jnp.asarray, part) for name, part in parts.items()}
    if check_finite:
        for name, part in arrays.items():
            checks.finite(name, part, hint="`check_finite=False` turns this check off")
    return tuple(arrays.values())
