"""In which dtype arithmetic is done, and which leaves it is done on."""

from typing import Any

import jax
import jax.numpy as jnp


def float_dtype() -> Any:
    """The widest float that is on: float32, or float64 under x64."""
    return jnp.result_type(float)


def is_trainable(leaf: Any) -> bool:
    """Whether arithmetic on gradients applies: a float or complex leaf. Integers and float0 pass untouched."""
    return jnp.issubdtype(leaf_dtype(leaf), jnp.inexact)


def leaf_dtype(leaf: Any) -> Any:
    """The dtype of a leaf, an array, a ShapeDtypeStruct or a Python number, as JAX would hold it."""
    dtype = leaf.dtype if hasattr(leaf, "dtype") else jnp.result_type(leaf)
    return jax.dtypes.canonicalize_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else dtype


def arithmetic_dtype(dtype: Any) -> Any:
    """The dtype in which arithmetic on numbers of `dtype` is done: float32 or wider."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) and jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def accumulator_dtype(leaf: Any) -> Any:
    """The dtype in which a leaf's arithmetic is done and, unless asked otherwise, its state is kept."""
    return arithmetic_dtype(leaf_dtype(leaf))


def stored_dtype(dtype: Any, wanted: Any) -> Any:
    """The dtype in which a memory of `dtype` is kept where `wanted` is asked for; complex stays complex."""
    if wanted is None:
        return dtype
    return complex_dtype(wanted) if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.dtype(wanted)


def real_dtype(dtype: Any) -> Any:
    """The dtype of a magnitude: float32 for complex64, itself for a real dtype."""
    return jnp.finfo(dtype).dtype


def complex_dtype(dtype: Any) -> Any:
    """The complex dtype whose parts have the precision of `dtype`."""
    return jnp.dtype(jnp.complex128 if jnp.finfo(dtype).bits == 64 else jnp.complex64)


def rounded(x: jax.Array, dtype: Any) -> jax.Array:
    """`x` rounded to `dtype`, in its own dtype again.

    XLA is free to leave out a conversion there and back; the barrier makes it round.
    """
    return jax.lax.optimization_barrier(x.astype(dtype)).astype(x.dtype)


def cast(x: Any, dtype: Any) -> Any:
    """`x` as an array of that dtype; the real part, where a complex number becomes a real one."""
    x = jnp.asarray(x)
    if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = jnp.real(x)
    return x.astype(dtype)
