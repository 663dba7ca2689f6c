"""Many small runs as lanes: `jax.vmap` with the mapped axis last inside.

`jax.vmap` puts the axis first, where the inner loops of a small model's step run over its 2 × 5 numbers and fill no
vector. With the axis last they run over the runs, side by side in memory, and one instruction steps eight or sixteen
of them. The function is traced, and each of its equations mapped by itself.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp

SMALL_PRODUCT = 1024
"""Multiplications of a matrix product that is done in lanes; larger ones go to the library, a matrix a run."""

INLINED = {
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "jit",
    "pjit",
}
"""Primitives that do nothing but what stands in their jaxpr; derivatives have been taken before."""


def in_lanes(function: Callable, in_axes: tuple, out_axes: Any) -> Callable:
    """What `jax.vmap(function, in_axes, out_axes)` is, done in lanes.

    Args:
      function: traceable; of positional arguments.
      in_axes: a prefix of the arguments; 0 is mapped along the leading axis, None is not mapped.
      out_axes: likewise, of the results. One that may be None must not depend on what is mapped.
    """

    def mapped(*args: Any) -> Any:
        leaves, tree = jax.tree.flatten(args)
        flags = _flags(in_axes, args)
        (size,) = {len(x) for x, flag in zip(leaves, flags, strict=True) if flag}
        shapes = [
            jax.ShapeDtypeStruct(jnp.shape(x)[flag:], jnp.result_type(x)) for x, flag in zip(leaves, flags, strict=True)
        ]
        closed, out = jax.make_jaxpr(lambda *x: function(*tree.unflatten(x)), return_shape=True)(*shapes)
        lanes = _Lanes(size)
        turned = [jnp.moveaxis(x, 0, -1) if flag else x for x, flag in zip(leaves, flags, strict=True)]
        outs = lanes.run(closed, [*zip(turned, flags, strict=True)])
        wanted = _flags(out_axes, out)
        spread = [
            jnp.moveaxis(lanes.filled(x, flag), -1, 0) if want else x
            for (x, flag), want in zip(outs, wanted, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(out), spread)

    return mapped


def _flags(axes: Any, tree: Any) -> list[bool]:
    """Which leaves are mapped, from a prefix of axes."""
    mapped = jax.tree.map(lambda axis: axis is not None, axes, is_leaf=lambda x: x is None)
    return jax.tree.leaves(jax.tree.broadcast(mapped, tree))


class _Lanes:
    """Equations on pairs (array, whether its last axis is the lanes)."""

    def __init__(self, size: int) -> None:
        self.size = size

    def filled(self, x: Any, flag: bool) -> jax.Array:
        """With lanes, all alike where there were none."""
        return x if flag else jnp.broadcast_to(jnp.asarray(x)[..., None], (*jnp.shape(x), self.size))

    def run(self, closed: Any, args: list) -> list:
        """The results of a closed jaxpr."""
        known = dict(zip(closed.jaxpr.constvars, ((x, False) for x in closed.consts), strict=True))
        known |= zip(closed.jaxpr.invars, args, strict=True)

        def read(variable: Any) -> tuple:
            return (variable.val, False) if isinstance(variable, jex.Literal) else known[variable]

        for equation in closed.jaxpr.eqns:
            outs = self.equation(equation, [read(variable) for variable in equation.invars])
            known |= zip(equation.outvars, outs, strict=True)
        return [read(variable) for variable in closed.jaxpr.outvars]

    def equation(self, equation: Any, args: list) -> list:
        """The results of one equation."""
        name, params = equation.primitive.name, equation.params
        flags = [flag for _, flag in args]
        if name in INLINED:
            return self.run(_inner(params), args)
        if any(flags):
            rule = getattr(self, f"_{name}", None)
            outs = rule(params, args) if rule is not None else None
            if outs is not None:
                return outs
        bind = functools.partial(equation.primitive.bind, **params)
        if any(flags):
            bind = jax.vmap(bind, [-1 if flag else None for flag in flags], -1)
        outs = bind(*(x for x, _ in args))
        return [(x, any(flags)) for x in (outs if equation.primitive.multiple_results else [outs])]

    def _while(self, params: dict, args: list) -> list | None:
        split = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        of_condition, of_body, start = args[: split[0]], args[split[0] : split[1]], args[split[1] :]
        flags = _settled(params["body_jaxpr"], [flag for _, flag in of_body], [flag for _, flag in start])
        if any(_spread(params["cond_jaxpr"], [flag for _, flag in of_condition] + flags)):
            return None  # each lane has its own end

        def condition(carry: tuple) -> Any:
            return self.run(params["cond_jaxpr"], [*of_condition, *zip(carry, flags, strict=True)])[0][0]

        def body(carry: tuple) -> tuple:
            outs = self.run(params["body_jaxpr"], [*of_body, *zip(carry, flags, strict=True)])
            return tuple(self._as(x, flag, want) for (x, flag), want in zip(outs, flags, strict=True))

        begun = tuple(self._as(x, flag, want) for (x, flag), want in zip(start, flags, strict=True))
        return [*zip(jax.lax.while_loop(condition, body, begun), flags, strict=True)]

    def _scan(self, params: dict, args: list) -> list:
        first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
        fixed, start, rows = args[:first], args[first:last], args[last:]
        flags = _settled(params["jaxpr"], [x[1] for x in fixed], [x[1] for x in start], [x[1] for x in rows])
        row_flags = [flag for _, flag in rows]
        out_flags = _spread(params["jaxpr"], [flag for _, flag in fixed] + flags + row_flags)[len(flags) :]

        def body(carry: tuple, row: tuple) -> tuple:
            given = [*fixed, *zip(carry, flags, strict=True), *zip(row, row_flags, strict=True)]
            outs = self.run(params["jaxpr"], given)
            wanted = [*flags, *out_flags]
            made = [self._as(x, flag, want) for (x, flag), want in zip(outs, wanted, strict=True)]
            return tuple(made[: len(flags)]), tuple(made[len(flags) :])

        begun = tuple(self._as(x, flag, want) for (x, flag), want in zip(start, flags, strict=True))
        options = {name: params[name] for name in ("length", "reverse", "unroll")}
        carry, made = jax.lax.scan(body, begun, tuple(x for x, _ in rows), **options)
        return [*zip(carry, flags, strict=True), *zip(made, out_flags, strict=True)]

    def _cond(self, params: dict, args: list) -> list | None:
        (index, mapped), *operands = args
        if mapped:
            return None  # each lane has its own branch
        flags = [flag for _, flag in operands]
        wanted = [any(each) for each in zip(*(_spread(b, flags) for b in params["branches"]), strict=True)]

        def branch(closed: Any) -> Callable:
            def run(*values: Any) -> tuple:
                outs = self.run(closed, [*zip(values, flags, strict=True)])
                return tuple(self._as(x, flag, want) for (x, flag), want in zip(outs, wanted, strict=True))

            return run

        outs = jax.lax.switch(index, [branch(closed) for closed in params["branches"]], *(x for x, _ in operands))
        return [*zip(outs, wanted, strict=True)]

    def _scatter(self, params: dict, args: list) -> list | None:
        operand, (indices, mapped), updates = args
        if mapped:
            return None
        whole, new = self.filled(*operand), self.filled(*updates)
        numbers = params["dimension_numbers"]
        window = (*numbers.update_window_dims, new.ndim - 1)
        put = {name: params[name] for name in ("indices_are_sorted", "unique_indices", "mode")}
        return [(jax.lax.scatter(whole, indices, new, numbers._replace(update_window_dims=window), **put), True)]

    def _dynamic_slice(self, params: dict, args: list) -> list | None:
        (operand, mapped), *starts = args
        if not mapped or any(flag for _, flag in starts):
            return None
        sizes = (*params["slice_sizes"], self.size)
        return [(jax.lax.dynamic_slice(operand, [*(x for x, _ in starts), 0], sizes), True)]

    def _dynamic_update_slice(self, params: dict, args: list) -> list | None:
        operand, update, *starts = args
        if any(flag for _, flag in starts):
            return None
        at = [*(x for x, _ in starts), 0]
        return [(jax.lax.dynamic_update_slice(self.filled(*operand), self.filled(*update), at), True)]

    def _dot_general(self, params: dict, args: list) -> list | None:
        (contracted, shared) = params["dimension_numbers"]
        sides = [_Side(x, flag, *axes) for (x, flag), *axes in zip(args, contracted, shared, strict=True)]
        left, right = sides
        wide = all(jnp.dtype(side.array.dtype) in (jnp.float32, jnp.float64) for side in sides)
        if (
            not wide
            or left.size(left.free) * left.size([*left.contracted, *left.shared]) * right.size(right.free)
            > SMALL_PRODUCT
        ):
            return None
        ones = (len(left.free), len(right.free))
        product = left.laid(after=ones[1]) * right.laid(before=ones[0])
        first = len(left.shared) + sum(ones)
        total = product.sum(tuple(range(first, first + len(left.contracted))))
        return [(total.astype(params["preferred_element_type"] or total.dtype), True)]

    def _as(self, x: Any, flag: bool, want: bool) -> Any:
        return self.filled(x, flag) if want else x


class _Side:
    """One factor of a product."""

    def __init__(self, array: Any, mapped: bool, contracted: tuple, shared: tuple) -> None:
        self.array, self.mapped, self.contracted, self.shared = array, mapped, contracted, shared
        axes = range(jnp.ndim(array) - mapped)
        self.free = [axis for axis in axes if axis not in contracted and axis not in shared]

    def size(self, axes: Any) -> int:
        """Numbers along some axes."""
        return math.prod(self.array.shape[axis] for axis in axes)

    def laid(self, before: int = 0, after: int = 0) -> jax.Array:
        """With the axes shared, free with ones for the other side's, contracted, lanes."""
        order = [*self.shared, *self.free, *self.contracted]
        lanes = [self.array.ndim - 1] if self.mapped else []
        x = jnp.transpose(self.array, [*order, *lanes])
        shape = [self.array.shape[axis] for axis in order]
        first, last = len(self.shared), len(self.shared) + len(self.free)
        wide = [*shape[:first], *[1] * before, *shape[first:last], *[1] * after, *shape[last:]]
        return x.reshape(*wide, x.shape[-1] if self.mapped else 1)


def _inner(params: dict) -> Any:
    """The jaxpr of a primitive that is inlined, closed."""
    inner = next(params[name] for name in ("jaxpr", "call_jaxpr", "fun_jaxpr") if name in params)
    return inner if hasattr(inner, "consts") else jex.ClosedJaxpr(inner, ())


def _settled(body: Any, fixed: list[bool], carry: list[bool], rows: list[bool] | None = None) -> list[bool]:
    """Which parts of a loop's carry are mapped, once what the body makes of them is."""
    while True:
        made = _spread(body, [*fixed, *carry, *(rows or [])])[: len(carry)]
        wider = [a or b for a, b in zip(carry, made, strict=True)]
        if wider == carry:
            return carry
        carry = wider


def _spread(closed: Any, flags: list[bool]) -> list[bool]:
    """Which results of a jaxpr are mapped, where these arguments are."""
    known = dict(zip(closed.jaxpr.invars, flags, strict=True))

    def read(variable: Any) -> bool:
        return not isinstance(variable, jex.Literal) and known.get(variable, False)

    for equation in closed.jaxpr.eqns:
        known |= zip(equation.outvars, _spread_by(equation, [read(v) for v in equation.invars]), strict=True)
    return [read(variable) for variable in closed.jaxpr.outvars]


def _spread_by(equation: Any, flags: list[bool]) -> list[bool]:
    name, params = equation.primitive.name, equation.params
    every = [any(flags)] * len(equation.outvars)
    if not any(flags):
        return every
    if name in INLINED:
        return _spread(_inner(params), flags)
    if name == "cond":
        branches = [_spread(branch, flags[1:]) for branch in params["branches"]]
        return every if flags[0] else [any(each) for each in zip(*branches, strict=True)]
    if name == "while":
        first, last = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
        carry = _settled(params["body_jaxpr"], flags[first:last], flags[last:])
        return every if any(_spread(params["cond_jaxpr"], flags[:first] + carry)) else carry
    if name == "scan":
        first, last = params["num_consts"], params["num_consts"] + params["num_carry"]
        carry = _settled(params["jaxpr"], flags[:first], flags[first:last], flags[last:])
        return carry + _spread(params["jaxpr"], flags[:first] + carry + flags[last:])[len(carry) :]
    return every
