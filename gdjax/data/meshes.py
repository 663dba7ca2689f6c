"""Arrays over the devices of a mesh, whichever process they belong to."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec, Sharding

ROWS = "data"
"""The axis of a mesh that rows lie along, where it has several."""


def automatic(mesh: Any) -> Mesh | None:
    """The mesh, its axes typed as those along which XLA divides the work; None where there is none.

    Raises:
      TypeError, ValueError: if it is no mesh, or it is not clear which axis rows lie along.
    """
    if mesh is None:
        return None
    if not isinstance(mesh, Mesh):
        raise TypeError(f"`mesh` must be a jax.sharding.Mesh, got {mesh!r}.")
    devices = mesh.devices.ravel().tolist()
    if not devices or len(set(devices)) < len(devices):
        raise ValueError(f"`mesh` must have devices, each once, got {devices}.")
    if len(mesh.axis_names) > 1 and ROWS not in mesh.axis_names:
        raise ValueError(f"`mesh` must have an axis '{ROWS}' where it has several, got {mesh.axis_names}.")
    return Mesh(mesh.devices, mesh.axis_names)


def untyped(leaf: Any) -> Any:
    """An array of JAX that lies on a mesh as this library types its axes, and without a copy; all else as it is."""
    if isinstance(leaf, jax.core.Tracer) or not isinstance(leaf, jax.Array):
        return leaf
    if not isinstance(leaf.sharding, NamedSharding) or not isinstance(leaf.sharding.mesh, Mesh):
        return leaf
    mesh = Mesh(leaf.sharding.mesh.devices, leaf.sharding.mesh.axis_names)
    return leaf if mesh == leaf.sharding.mesh else jax.device_put(leaf, NamedSharding(mesh, leaf.sharding.spec))


def row_axis(mesh: Mesh) -> str:
    """The axis that rows lie along."""
    return ROWS if ROWS in mesh.axis_names else mesh.axis_names[0]


def row_devices(mesh: Mesh | None) -> int:
    """How many devices divide the rows."""
    return 1 if mesh is None else mesh.shape[row_axis(mesh)]


def over(mesh: Mesh, *axes: str | None) -> NamedSharding:
    """Arrays whose axes lie along these of the mesh; without any, a copy for each device."""
    return NamedSharding(mesh, PartitionSpec(*axes))


def laid(leaf: Any, sharding: Sharding) -> jax.Array:
    """An array as it shall lie. Each process reads what its own devices hold of what lies in its memory.

    Args:
      leaf: a NumPy array or a number, the same in every process, or an array of JAX.
      sharding: where it shall lie.
    """
    if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        data = laid(jax.random.key_data(leaf), sharding)  # a key's words are the last axis, which is not divided
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
    if isinstance(leaf, jax.Array) and leaf.sharding.is_equivalent_to(sharding, leaf.ndim):
        return leaf
    if isinstance(leaf, jax.Array) and (jax.process_count() == 1 or not leaf.is_fully_addressable):
        return jax.device_put(leaf, sharding)
    array = np.asarray(leaf)
    dtype = jax.dtypes.canonicalize_dtype(array.dtype)
    return jax.make_array_from_callback(array.shape, sharding, lambda place: np.asarray(array[place], dtype))


def spread(mesh: Mesh | None, function: Callable, in_specs: Any, out_specs: Any) -> Callable:
    """A function that each device of the mesh runs on its own part; itself without a mesh."""
    if mesh is None:
        return function
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=False)
