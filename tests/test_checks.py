import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import checks

SCALARS = [0.5, np.float32(0.5), np.float64(0.5), np.array(0.5), jnp.float32(0.5), jnp.array(0.5, jnp.bfloat16)]


@pytest.mark.parametrize("check", [checks.decay, checks.non_negative, checks.positive])
@pytest.mark.parametrize("value", SCALARS, ids=repr)
def test_a_concrete_scalar_becomes_a_python_float(check, value):
    assert type(check("x", value)) is float
    assert check("x", value) == 0.5


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (checks.decay, [0, 0.0, 0.999], [1, 1.0, 1.5, -0.1, math.nan, math.inf]),
        (checks.non_negative, [0, 0.0, 1e30], [-1e-9, -1, math.nan, math.inf, -math.inf]),
        (checks.positive, [1e-30, 1], [0, 0.0, -1, math.nan, math.inf]),
    ],
)
def test_ranges(check, good, bad):
    for value in good:
        assert check("x", value) == value
    for value in bad:
        with pytest.raises(ValueError, match=rf"^`x` must .*, got {float(value)!r}\.$"):
            check("x", value)


@pytest.mark.parametrize("value", ["0.1", None, True, np.True_, 1j, np.complex64(1), [0.1], "nan", object], ids=repr)
def test_what_is_no_number_is_a_type_error(value):
    with pytest.raises(TypeError, match=r"^`x` must be a number, got .*\.$"):
        checks.non_negative("x", value)


@pytest.mark.parametrize("value", [np.ones(3), jnp.ones(3), np.ones((1, 1))])
def test_a_vector_is_no_scalar(value):
    with pytest.raises(
        ValueError, match=rf"`x` must be a scalar, got an array of shape \{str(value.shape)[:-1]}.*jax.vmap"
    ):
        checks.non_negative("x", value)


def test_traced_values_pass_their_shapes_do_not():
    assert float(jax.jit(lambda x: checks.decay("x", x))(5.0)) == 5.0
    with pytest.raises(ValueError, match=r"`x` must be a scalar, got an array of shape \(3,\)"):
        jax.jit(lambda x: checks.decay("x", x))(jnp.ones(3))


@pytest.mark.parametrize("value", [2, np.int64(2), jnp.int32(2), np.array(2)])
def test_integers(value):
    assert type(checks.integer("n", value, least=1)) is int
    assert checks.integer("n", value, least=2) == 2
    with pytest.raises(ValueError, match=r"^`n` must be at least 3, got 2\.$"):
        checks.integer("n", value, least=3)


@pytest.mark.parametrize("value", [2.0, "2", True, None, np.ones(2), np.float32(2)], ids=repr)
def test_what_is_no_integer_is_a_type_error(value):
    with pytest.raises(TypeError, match="`n` must be an integer, got "):
        checks.integer("n", value, least=0)


def test_choices():
    assert checks.choice("shuffle", "once", (True, False, "once")) == "once"
    assert checks.choice("shuffle", False, (True, False, "once")) is False
    for value in ("twice", 1, None):
        with pytest.raises(ValueError, match=r"^`shuffle` must be one of True, False, 'once', got "):
            checks.choice("shuffle", value, (True, False, "once"))


TREE = {"w": np.ones((3, 1)), "b": [np.ones(2), 1.0]}


@pytest.mark.parametrize("tree", [TREE, jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), int), TREE)])
def test_equal_trees_pass(tree):
    checks.same_tree("updates", tree, "params", TREE)


@pytest.mark.parametrize(
    ("tree", "error", "message"),
    [
        (
            {"w": np.ones((3, 1))},
            ValueError,
            r"`updates` must match `params`, but has nothing at `updates\['b'\]\[0\]`",
        ),
        (TREE | {"b": [None, 1.0]}, ValueError, r"has nothing at `updates\['b'\]\[0\]`"),
        (TREE | {"c": 1.0}, ValueError, r"but has an extra leaf at `updates\['c'\]`"),
        (TREE | {"b": (np.ones(2), 1.0)}, ValueError, "`updates` must have the tree structure of `params`"),
        (TREE | {"w": np.ones((3, 4))}, ValueError, r"the shape of `params\['w'\]`, \(3, 1\), got \(3, 4\)"),
        (TREE | {"b": ["x", 1.0]}, TypeError, r"`updates\['b'\]\[0\]` must be an array, got 'x'"),
        (TREE | {"w": np.array(["x"])}, TypeError, r"`updates\['w'\]` must be an array of numbers, got dtype <U1"),
    ],
    ids=["missing", "none", "extra", "container", "shape", "string", "string-array"],
)
def test_unequal_trees(tree, error, message):
    with pytest.raises(error, match=message):
        checks.same_tree("updates", tree, "params", TREE)


def test_rows():
    assert checks.rows("data", {"x": np.ones((5, 2)), "y": jnp.ones(5)}) == 5


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({}, ValueError, "`data` must hold at least one array"),
        ({"x": 1.0}, ValueError, r"`data\['x'\]` must have a leading axis of examples, got a scalar"),
        (
            {"x": np.ones(3), "y": np.ones(4)},
            ValueError,
            r"`data\['y'\]` must have as many rows as `data\['x'\]`, 3, got 4",
        ),
        ({"x": np.ones((0, 2))}, ValueError, "`data` must have at least one row, got 0"),
        ({"x": np.array([None])}, TypeError, r"`data\['x'\]` must be an array of numbers, got dtype object"),
        ({"x": "ab"}, TypeError, r"`data\['x'\]` must be an array, got 'ab'"),
    ],
    ids=["empty", "scalar", "lengths", "no-rows", "object", "string"],
)
def test_rows_of_no_dataset(data, error, message):
    with pytest.raises(error, match=message):
        checks.rows("data", data)


def test_finite():
    checks.finite("data", {"x": np.ones(3), "ids": np.arange(3), "y": jnp.ones(2, jnp.bfloat16)})
    jax.jit(lambda x: checks.finite("data", x))(jnp.array(jnp.nan))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64, jnp.bfloat16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_named(dtype, bad):
    with pytest.raises(ValueError, match=r"`data\['x'\]` must be finite, got 1 NaN or infinite of 3 numbers"):
        checks.finite("data", {"x": np.array([1, bad, 2]).astype(dtype)})
