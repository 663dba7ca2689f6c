"""Datasets on their way to the devices: checked while they are what the user gave, then JAX arrays."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding

from gdjax import checks
from gdjax.data.meshes import automatic, laid, over, row_axis, row_devices, untyped
from gdjax.data.regimes import Regime
from gdjax.data.rows import ShardedRows, dealt
from gdjax.types import Batch


def placed(
    data: Batch,
    *,
    regime: Regime | None = None,
    mesh: Mesh | None = None,
    check_finite: bool = True,
    **others: Batch | None,
) -> tuple[Any, ...]:
    """The data and others of its kind as arrays of JAX, in the order given.

    On a mesh, every device has a copy of the data, which any batch can be gathered from. Where no gathering is needed
    each has its share: of full batches, and of the others, if their number of rows can be divided. Of a regime with
    shards, whose rows each device holds a part of, the data become a `ShardedRows`.

    Args:
      data: a pytree of arrays with a common leading axis.
      regime: the regime that the data are for.
      mesh: the devices that the data are for.
      check_finite: refuse NaN and infinite numbers.
      others: name to data of the same structure, or None, which is left out of all checks.

    Raises:
      ValueError, TypeError: naming the argument and the leaf, if rows do not fit together, the structure is another,
        numbers are too large for JAX's types or not finite, or the devices don't divide the regime's shards.
    """
    mesh = automatic(mesh)
    shards = 1 if regime is None else regime.shards
    check_shards(shards, mesh)
    parts = {name: jax.tree.map(untyped, part) for name, part in {"data": data, **others}.items()}
    for name, part in parts.items():
        if part is None:
            continue
        checks.rows(name, part)
        checks.same_structure(name, part, "data", data)
        checks.representable(name, part)
    if mesh is None:
        parts = {name: jax.tree.map(jnp.asarray, part) for name, part in parts.items()}
    if check_finite:
        for name, part in parts.items():
            checks.finite(name, part, hint="`check_finite=False` turns this check off")
    if mesh is not None:
        for name, part in parts.items():
            if name == "data" and shards > 1:
                continue
            gathers = name == "data" and regime is not None and regime.batch_size is not None
            sharding = _sharding(mesh, part, copies=gathers)
            parts[name] = jax.tree.map(lambda x, sharding=sharding: laid(x, sharding), part)
    if shards > 1:
        parts["data"] = dealt(parts["data"], shards, mesh)
    return tuple(parts.values())


def check_shards(shards: int, mesh: Mesh | None) -> None:
    """The devices must divide the shards, where there are any.

    Raises:
      ValueError: if they don't.
    """
    devices = row_devices(mesh)
    if shards > 1 and shards % devices:
        raise ValueError(f"`shards` must be a multiple of the {devices} devices that hold rows, got {shards}.")


def outlined(data: Batch, regime: Regime, mesh: Mesh) -> Any:
    """As `placed`, shapes for arrays: data that nobody has to have, `jax.ShapeDtypeStruct`s that say where they lie."""
    check_shards(regime.shards, mesh)
    checks.rows("data", data)
    data = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jax.dtypes.canonicalize_dtype(x.dtype)), data)

    def lying(tree: Any, sharding: NamedSharding) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)

    if regime.shards > 1:
        rows = jax.eval_shape(lambda x: dealt(x, regime.shards), data)
        return ShardedRows(lying(rows.body, over(mesh, row_axis(mesh))), lying(rows.tail, over(mesh)))
    return lying(data, _sharding(mesh, data, copies=regime.batch_size is not None))


def _sharding(mesh: Mesh, data: Batch, *, copies: bool) -> NamedSharding:
    """A copy for each device, or a share where the number of rows allows it."""
    copies = copies or data is None or checks.rows("data", data) % row_devices(mesh) != 0
    return over(mesh) if copies else over(mesh, row_axis(mesh))
