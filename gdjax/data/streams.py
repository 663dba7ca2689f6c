"""A dataset larger than memory, read as the run goes.

`fit` reads the rows of the next steps while the devices compute these: the same examples in the same batches as of
arrays in memory, since an epoch's order is computed and needs no pass over the data.
"""

import functools
import math
from typing import Any

import jax
import numpy as np

from gdjax import checks
from gdjax.types import Batch


class Stream:
    """Rows that are read when they are wanted; see `stream`."""

    def __init__(self, source: Any) -> None:
        self.source, self.one_by_one = source, _is_source(source)
        if self.one_by_one:
            self.rows = checks.integer("len(source)", len(source), least=1)
            self.structure, self.like = self._item(0)
        else:
            self.rows = checks.rows("source", source)
            known = np.ndarray, jax.Array
            self.source = jax.tree.map(lambda x: np.asarray(x) if isinstance(x, known) else x, source)

    @functools.cached_property
    def example(self) -> Batch:
        """The first row alone, arrays [1, ...]."""
        return self.read(np.zeros(1, int))

    def __len__(self) -> int:
        return self.rows

    def __repr__(self) -> str:
        return f"Stream({self.rows:,} rows)"

    def read(self, ids: np.ndarray) -> Batch:
        """The rows of these ids, arrays [ids, ...] in memory, in the types that JAX will have them in.

        Raises:
          ValueError, TypeError: if examples are not alike, or no numbers, or too large for JAX's types.
        """
        rows = self._gathered(ids) if self.one_by_one else jax.tree.map(functools.partial(_taken, ids), self.source)
        checks.representable("source", rows)
        return jax.tree.map(lambda leaf: np.asarray(leaf, jax.dtypes.canonicalize_dtype(leaf.dtype)), rows)

    def _gathered(self, ids: np.ndarray) -> Batch:
        """One example after the other, into arrays made for them."""
        columns = [_made((len(ids), *leaf.shape), leaf.dtype) for leaf in self.like]
        for place, number in enumerate(ids.tolist()):
            structure, leaves = self._item(number)
            if structure != self.structure:
                raise ValueError(
                    f"`source[{number}]` must have the structure of `source[0]`, {self.structure}, got {structure}."
                )
            for column, leaf, like in zip(columns, leaves, self.like, strict=True):
                if (leaf.shape, leaf.dtype) != (like.shape, like.dtype):
                    raise ValueError(
                        f"`source[{number}]` must have the shapes and types of `source[0]`, {like.shape} of "
                        f"{like.dtype}, got {leaf.shape} of {leaf.dtype}."
                    )
                column[place] = leaf
        return jax.tree.unflatten(self.structure, columns)

    def _item(self, number: int) -> tuple[Any, list[np.ndarray]]:
        """An example's structure and its leaves, arrays without an axis of examples."""
        leaves, structure = jax.tree_util.tree_flatten_with_path(self.source[number])
        for path, leaf in leaves:
            checks.array_like(checks.path_name(f"source[{number}]", path), leaf)
        return structure, [np.asarray(leaf) for _, leaf in leaves]


def stream(source: Any) -> Stream:
    """A dataset for `fit` that stays where it is, on a disk for instance, and of which only the next rows are read.

    Reading goes on in a thread while the devices compute. The order of examples, and so the run, is that of the same
    rows as arrays. With several processes each reads the rows of its own devices alone.

    Args:
      source: a pytree of arrays that need not be in memory, with a common leading axis: `np.memmap`, of which rows are
        read many at a time, or arrays of HDF5 and the like, of which they are read one by one; or anything with
        `len(source)` and `source[i]`, which gives example i as a pytree of arrays or numbers, all of the same shapes
        and types: a data source of grain, a dataset of PyTorch, a class that decodes files.

    Raises:
      ValueError, TypeError: if it has no rows, its arrays don't fit together, or examples are no numbers.

    >>> import gdjax, numpy as np
    >>> stream({"x": np.zeros((1000, 3)), "y": np.zeros(1000)})
    Stream(1,000 rows)
    """
    return Stream(source)


def _is_source(source: Any) -> bool:
    """Whether examples are asked for one by one."""
    arrays = isinstance(source, dict | list | tuple) or hasattr(source, "shape")
    return not arrays and hasattr(source, "__len__") and hasattr(source, "__getitem__")


def _taken(ids: np.ndarray, leaf: Any) -> np.ndarray:
    """These rows of an array."""
    rows = _made((len(ids), *leaf.shape[1:]), leaf.dtype)
    if not isinstance(leaf, np.ndarray):
        for place, number in enumerate(ids.tolist()):
            rows[place] = leaf[number]
    elif leaf.flags.c_contiguous and leaf.flags.aligned and leaf.dtype.isnative:
        np.take(leaf, ids, axis=0, out=rows, mode="clip")
    else:  # of which `take` would make a copy first, of all rows
        rows[...] = leaf[ids]
    return rows


def _made(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be filled, where a CPU device can use it as it lies: at a multiple of 64 bytes."""
    size = math.prod(shape) * dtype.itemsize
    memory = np.empty(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype.newbyteorder("=")).reshape(shape)
