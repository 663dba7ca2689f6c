"""Weight decay: a pull of the parameters towards zero.

Before the filters it is the gradient of an L2 penalty, and enters the moments; after them, just before the
learning rate, it is decoupled from them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gdjax import checks
from gdjax.dtypes import is_trainable
from gdjax.schedules import non_negative
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    elementwise,
    is_zero,
    multiply,
    narrow,
    scalar,
    static,
    transformation,
    widen,
)
from gdjax.types import OptState, Params, Updates


class _Mask(NamedTuple):
    """A tree of bools as a value that can be compared and hashed, which the structure of a pytree must be."""

    structure: Any
    leaves: tuple

    @property
    def tree(self) -> Any:
        return jax.tree.unflatten(self.structure, self.leaves)


def _mask(name: str, mask: Any, params: Params = True) -> Any:
    """A tree of bools; it may have None only where the parameters have, as a run's have at leaves that it holds."""
    held = jax.tree.structure(mask) == jax.tree.structure(params)
    leaves, structure = jax.tree_util.tree_flatten_with_path(mask, is_leaf=lambda leaf: leaf is None and not held)
    for path, leaf in leaves:
        if not isinstance(leaf, bool | np.bool_):
            raise TypeError(f"`{checks.path_name(name, path)}` must be True or False, got {leaf!r}.")
    return _Mask(structure, tuple(bool(leaf) for _, leaf in leaves))


def _spread(name: str, mask: Any, params: Params) -> Any:
    """The mask's bools over the leaves of the parameters."""
    if mask is None:
        return jax.tree.map(lambda _: True, params)
    tree = mask.tree if isinstance(mask, _Mask) else _mask(name, mask(params), params).tree
    try:
        return jax.tree.map(lambda counts, part: jax.tree.map(lambda _: counts, part), tree, params)
    except ValueError as error:
        raise ValueError(
            f"`{name}` must be a tree prefix of the parameters, {jax.tree.structure(params)}, "
            f"got {jax.tree.structure(tree)}."
        ) from error


@dataclasses.dataclass(frozen=True, eq=False)
class _AddDecayedWeights(Rule):
    weight_decay: Any
    mask: _Mask | Callable | None = static()
    mask_name: str = static()

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        if is_zero(self.weight_decay):
            return elementwise(lambda u: u, updates), state
        wide = widen(updates)
        if params is None:
            raise ValueError("`params` must be given to `update`, since weights decay, got None.")
        checks.same_tree("updates", updates, "params", params)

        def pulled(u: jax.Array, p: Any, counts: bool) -> jax.Array:
            if not counts or not is_trainable(p):
                return u
            return u + multiply(scalar("weight_decay", self.weight_decay, u.dtype), jnp.asarray(p).astype(u.dtype))

        return narrow(elementwise(pulled, wide, params, _spread(self.mask_name, self.mask, params)), updates), state


def add_decayed_weights(weight_decay: Any, mask: Any = None, *, mask_name: str = "mask") -> GradientTransformation:
    """Weight decay, u ← u + λ·θ on the leaves that the mask lets in.

    Args:
      weight_decay: λ ≥ 0, a number, a traced scalar or (under `clocked`) a schedule.
      mask: a tree of bools, a prefix of the parameters, or a function from the parameters to one; None is all of
        them. True decays.
      mask_name: what an error calls `mask`, for the optimizer that gives it another name.

    Raises:
      ValueError, TypeError: if `weight_decay` is negative or no scalar, or the mask holds something else than bools;
        at `update`, if no parameters are given or the mask does not fit them.

    >>> import jax.numpy as jnp
    >>> pull = add_decayed_weights(0.1, mask={"w": True, "b": False})
    >>> params = {"w": jnp.array(2.0), "b": jnp.array(2.0)}
    >>> updates, _ = pull.update({"w": jnp.array(0.0), "b": jnp.array(0.0)}, pull.init(params), params)
    >>> round(float(updates["w"]), 6), float(updates["b"])
    (0.2, 0.0)

    Source: Loshchilov & Hutter (2019), "Decoupled weight decay regularization".
    """
    return transformation(
        _AddDecayedWeights(
            non_negative("weight_decay", weight_decay),
            mask if mask is None or callable(mask) else _mask(mask_name, mask),
            mask_name,
        )
    )
