"""Argument checks, all in one voice: argument, rule, value, and the path in the tree.

A check looks at concrete values only: a traced number passes, since nobody can know it yet.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gdjax.types import Number


def number(name: str, value: Any, rule: str, holds: Callable[[float], bool]) -> Number:
    """A scalar hyperparameter: a Python float where it is concrete, itself where it is traced."""
    shape = getattr(value, "shape", ())
    if shape != ():
        raise ValueError(
            f"`{name}` must be a scalar, got an array of shape {tuple(shape)}; "
            "for one optimizer a value, build it under `jax.vmap`."
        )
    if isinstance(value, jax.core.Tracer):
        return value
    is_number = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
    if not is_number or isinstance(value, bool | np.bool_) or not np.isrealobj(np.asarray(value)):
        raise TypeError(f"`{name}` must be a number, got {value!r}.")
    value = float(value)
    if not holds(value):
        raise ValueError(f"`{name}` must {rule}, got {value!r}.")
    return value


def decay(name: str, value: Any) -> Number:
    """A decay rate of a moving average."""
    return number(name, value, "lie in [0, 1)", lambda x: 0 <= x < 1)


def share(name: str, value: Any) -> Number:
    """A part of a whole."""
    return number(name, value, "lie in [0, 1]", lambda x: 0 <= x <= 1)


def non_negative(name: str, value: Any) -> Number:
    """A finite number that is at least zero."""
    return number(name, value, "be finite and at least 0", lambda x: 0 <= x < math.inf)


def positive(name: str, value: Any) -> Number:
    """A finite number above zero."""
    return number(name, value, "be finite and above 0", lambda x: 0 < x < math.inf)


def integer(name: str, value: Any, *, least: int, most: int | None = None) -> int:
    """A Python integer of at least `least` and at most `most`."""
    try:
        result = operator.index(value)
    except TypeError:
        result = None
    if result is None or isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if result < least:
        raise ValueError(f"`{name}` must be at least {least}, got {result}.")
    if most is not None and result > most:
        raise ValueError(f"`{name}` must be at most {most}, got {result}.")
    return result


def choice(name: str, value: Any, choices: tuple) -> Any:
    """One of a few words."""
    if not any(value is known or (isinstance(known, str) and value == known) for known in choices):
        listed = ", ".join(repr(known) for known in choices)
        raise ValueError(f"`{name}` must be one of {listed}, got {value!r}.")
    return value


def float_type(value: Any, name: str = "accumulator_dtype") -> Any:
    """A real float dtype, or None."""
    if value is None:
        return None
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"`{name}` must be a float dtype, got {value!r}.")
    return jax.dtypes.canonicalize_dtype(dtype)


def path_name(name: str, path: tuple) -> str:
    """`name` and a tree path, as one would type it: params['w'][0]."""
    return name + jax.tree_util.keystr(path)


def same_tree(name: str, tree: Any, reference_name: str, reference: Any) -> None:
    """`tree` must have the structure and the shapes of `reference`; both are looked at by shape only."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    expected, expected_structure = jax.tree_util.tree_flatten_with_path(reference)
    if structure != expected_structure:
        here, there = ({path for path, _ in side} for side in (leaves, expected))
        for path, _ in expected:
            if path not in here:
                raise ValueError(
                    f"`{name}` must match `{reference_name}`, but has nothing at `{path_name(name, path)}`."
                )
        for path, _ in leaves:
            if path not in there:
                raise ValueError(
                    f"`{name}` must match `{reference_name}`, but has an extra leaf at `{path_name(name, path)}`."
                )
        raise ValueError(
            f"`{name}` must have the tree structure of `{reference_name}`, {expected_structure}, got {structure}."
        )
    for (path, leaf), (_, like) in zip(leaves, expected, strict=True):
        array_like(path_name(name, path), leaf)
        if np.shape(leaf) != np.shape(like):
            raise ValueError(
                f"`{path_name(name, path)}` must have the shape of `{path_name(reference_name, path)}`, "
                f"{np.shape(like)}, got {np.shape(leaf)}."
            )


def array_like(name: str, leaf: Any) -> None:
    """A leaf that arithmetic understands: an array or a Python number."""
    if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
        if getattr(leaf.dtype, "kind", "") in "OSUM":
            raise TypeError(f"`{name}` must be an array of numbers, got dtype {leaf.dtype}.")
    elif not isinstance(leaf, int | float | complex):
        raise TypeError(f"`{name}` must be an array, got {leaf!r}.")


def rows(name: str, data: Any) -> int:
    """The number of rows that every array of a dataset shares."""
    leaves = jax.tree_util.tree_flatten_with_path(data)[0]
    if not leaves:
        raise ValueError(f"`{name}` must hold at least one array, got {data!r}.")
    for path, leaf in leaves:
        array_like(path_name(name, path), leaf)
        if np.ndim(leaf) == 0:
            raise ValueError(f"`{path_name(name, path)}` must have a leading axis of examples, got a scalar.")
    (first_path, first), *others = leaves
    count = np.shape(first)[0]
    for path, leaf in others:
        if np.shape(leaf)[0] != count:
            raise ValueError(
                f"`{path_name(name, path)}` must have as many rows as `{path_name(name, first_path)}`, "
                f"{count}, got {np.shape(leaf)[0]}."
            )
    if count == 0:
        raise ValueError(f"`{name}` must have at least one row, got 0.")
    return count


def same_structure(name: str, tree: Any, reference_name: str, reference: Any) -> None:
    """`tree` must have the structure of `reference`; its arrays may have other lengths."""
    got, expected = jax.tree.structure(tree), jax.tree.structure(reference)
    if got != expected:
        raise ValueError(f"`{name}` must have the structure of `{reference_name}`, {expected}, got {got}.")


def representable(name: str, data: Any) -> None:
    """No number of a NumPy dataset may change when JAX takes it over, 64-bit integers and floats as 32-bit ones."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]:
        if not isinstance(leaf, np.ndarray) or leaf.size == 0 or leaf.dtype.kind not in "iuf":
            continue
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
        if dtype == leaf.dtype:
            continue
        limits = np.iinfo(dtype) if leaf.dtype.kind in "iu" else np.finfo(dtype)
        finite_numbers = leaf[np.isfinite(leaf)] if leaf.dtype.kind == "f" else leaf
        if finite_numbers.size and (finite_numbers.min() < limits.min or finite_numbers.max() > limits.max):
            raise ValueError(
                f"`{path_name(name, path)}` must fit into {dtype} (or JAX's x64 be turned on), "
                f"got numbers from {finite_numbers.min()} to {finite_numbers.max()}."
            )


def finite(name: str, data: Any, *, hint: str = "") -> None:
    """Every number of a dataset must be finite; the first leaf that is not is named, and the hint given."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(data)[0]:
        if isinstance(leaf, jax.core.Tracer):
            continue
        if not jax.dtypes.issubdtype(leaf.dtype, np.inexact):
            continue
        where = np if _in_memory(leaf) else jnp  # an array is looked at where it lies
        bad = leaf.size - int(where.sum(where.isfinite(leaf)))
        if bad:
            raise ValueError(
                f"`{path_name(name, path)}` must be finite, got {bad} NaN or infinite of {leaf.size} numbers"
                f"{f' ({hint})' if hint else ''}."
            )


def _in_memory(leaf: Any) -> bool:
    """Whether NumPy sees an array without a copy."""
    return not isinstance(leaf, jax.Array) or (
        leaf.is_fully_addressable and all(device.platform == "cpu" for device in leaf.devices())
    )
