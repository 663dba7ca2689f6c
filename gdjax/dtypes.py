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


def accumulator_dtype(leaf: Any) -> Any:
    """The dtype in which a leaf's arithmetic is done and its state is kept: float32 or wider."""
    dtype = leaf_dtype(leaf)
    return dtype if is_trainable(leaf) and jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def real_dtype(dtype: Any) -> Any:
    """The dtype of a magnitude: float32 for complex64, itself for a real dtype."""
    return jnp.finfo(dtype).dtype


def complex_dtype(dtype: Any) -> Any:
    """The complex dtype whose parts have the precision of `dtype`."""
    return jnp.dtype(jnp.complex128 if jnp.finfo(dtype).bits == 64 else jnp.complex64)


def cast(x: Any, dtype: Any) -> Any:
    """`x` as an array of that dtype; the real part, where a complex number becomes a real one."""
    x = jnp.asarray(x)
    if jnp.iscomplexobj(x) and not jnp.issubdtype(dtype, jnp.complexfloating):
        x = jnp.real(x)
    return x.astype(dtype)
