"""Where a run's state lies on a mesh: parameters as their owner says, and all that follows from them.

An optimizer's state follows its parameters, or is spread over the devices that divide the rows, each of which then
updates its share alone (ZeRO-1: Rajbhandari et al., 2020, "ZeRO: memory optimizations toward training trillion
parameter models", section 5.1).
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import with_sharding_constraint
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gdjax.data.meshes import over, row_axis, row_devices
from gdjax.types import Params

LEAST_SHARE = 2**13
"""Bytes. Where a device's share of a leaf would be smaller, each has the whole state: a transfer of its own would take
longer than the update saves."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sharding:
    """How a state lies; part of its structure."""

    mesh: Mesh
    specs: tuple[PartitionSpec, ...]
    """Of the trainable leaves."""
    spread: bool
    """Whether the optimizer's state is spread over the devices that divide the rows."""

    def parameters(self, tree: Any) -> Any:
        """A tree like the trainable parameters, of shardings."""
        return jax.tree.unflatten(jax.tree.structure(tree), [NamedSharding(self.mesh, spec) for spec in self.specs])

    def shares(self, tree: Any) -> Any:
        """A tree like the trainable parameters, of shardings: what each device updates of them."""
        return jax.tree.map(self._share, tree, self.parameters(tree))

    def following(self, state: Any, trainable: Params) -> Any:
        """A tree like an optimizer's state, of shardings.

        What lies at a parameter's path within it and has its shape lies as the parameter's share; the rest is copied.
        """
        known = {
            path: (jnp.shape(leaf), share)
            for (path, leaf), share in zip(
                jax.tree_util.tree_flatten_with_path(trainable)[0], jax.tree.leaves(self.shares(trainable)), strict=True
            )
        }

        def place(path: tuple, leaf: Any) -> NamedSharding:
            for first in range(len(path) + 1):  # the longest path first
                shape, share = known.get(path[first:], (None, None))
                if share is not None and shape == jnp.shape(leaf):
                    return share
            return over(self.mesh)

        return jax.tree_util.tree_map_with_path(place, state)

    def of(self, state: Any) -> Any:
        """A tree like a `TrainingState`, of shardings."""
        following = {
            name: self.following(getattr(state, name), state.trainable)
            for name in ("optimizer_state", "average_state", "stopping")
        }
        return self.copies(state)._replace(trainable=self.parameters(state.trainable), **following)

    def copies(self, tree: Any) -> Any:
        """A tree like the given one, of shardings: every device has all of it."""
        return jax.tree.map(lambda _: over(self.mesh), tree)

    def _share(self, leaf: Any, own: NamedSharding) -> NamedSharding:
        """The first axis that is whole and that the devices divide is divided; small leaves, and others, stay."""
        axis, devices = row_axis(self.mesh), row_devices(self.mesh)
        shape = jnp.shape(leaf)
        spec = [*own.spec, *[None] * (len(shape) - len(own.spec))]
        used = {name for part in spec if part is not None for name in (part if isinstance(part, tuple) else (part,))}
        whole = [place for place, size in enumerate(shape) if spec[place] is None and size and size % devices == 0]
        small = math.prod(shape) * jnp.dtype(leaf.dtype).itemsize < LEAST_SHARE * devices
        if not self.spread or small or axis in used or not whole:
            return own
        spec[whole[0]] = axis
        return NamedSharding(self.mesh, PartitionSpec(*spec))


def lying(sharding: Sharding | None, tree: Any, places: Callable, *given: Any) -> Any:
    """The arrays of a traced tree, told where to lie; without a mesh, as they are.

    Args:
      sharding: how a state lies.
      tree: the arrays.
      places: a method of `Sharding`, of the tree and of `given`.
      given: what else it takes.
    """
    return tree if sharding is None else with_sharding_constraint(tree, places(sharding, tree, *given))


def sharding_of(trainable: Params, mesh: Mesh, *, spread: bool) -> Sharding:
    """As the parameters lie: those that are shared out over the mesh stay so, and of the others each device has a copy.

    Raises:
      ValueError: if one lies on another mesh.
    """
    return Sharding(mesh, tuple(_spec(leaf, mesh) for leaf in jax.tree.leaves(trainable)), spread)


def _spec(leaf: Any, mesh: Mesh) -> PartitionSpec:
    own = getattr(leaf, "sharding", None)
    if isinstance(leaf, jax.core.Tracer) or not isinstance(own, NamedSharding) or own.is_fully_replicated:
        return PartitionSpec()
    if own.mesh.axis_names != mesh.axis_names or own.mesh.devices.tolist() != mesh.devices.tolist():
        raise ValueError(f"`params` must lie on `mesh`, {mesh}, got a leaf on {own.mesh}.")
    return own.spec
