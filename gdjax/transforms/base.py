"""A transform is an (init, update) pair that is a pytree of its hyperparameters.

A *rule* is a frozen dataclass with the two methods `init(params)` and `update(updates, state, params)`;
its fields are hyperparameters and nested transforms. `GradientTransformation` is optax's named tuple of
the two bound methods, registered as a pytree whose children are the rule's fields. So any optax code
takes it as it is, and `jit`, `vmap` and `grad` go through its numbers.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any
from typing import cast as cast_type

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import checks
from gdjax.dtypes import accumulator_dtype, cast, is_trainable, leaf_dtype, real_dtype
from gdjax.schedules import Schedule
from gdjax.types import OptState, Params, Updates


def static(default: Any = dataclasses.MISSING) -> Any:
    """A field of a rule that is part of its structure: a function or a flag, not a number."""
    return dataclasses.field(default=default, metadata={"static": True})


@dataclasses.dataclass(frozen=True, eq=False)
class Rule:
    """What a transform does. Subclasses add fields (hyperparameters, nested transforms) and the two methods."""

    def label(self, field: str) -> str:
        """What a field is called in paths and in the clock's record."""
        return field

    def init(self, params: Params) -> OptState:
        """The state before the first update; looks at shapes and dtypes only."""
        return ()

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        """(new updates, new state)."""
        raise NotImplementedError(f"{type(self).__name__} must define `update`.")

    def response(self, of: Callable[["GradientTransformation"], "GradientTransformation"]) -> "Rule":
        """What it becomes before a gradient of one: the same rule over the response `of` each transform in it."""

        def part(value: Any) -> Any:
            if isinstance(value, GradientTransformation):
                return of(value)
            return tuple(map(part, value)) if type(value) is tuple else value

        fields = {field.name: part(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **fields)


class GradientTransformation(optax.GradientTransformationExtraArgs):
    """optax's `(init, update)` pair, and a pytree: hyperparameters are leaves, functions are structure.

    Make one with `transformation(rule)`. It is an argument like any other: `jit` takes it and another
    learning rate compiles nothing; `jax.vmap(gdjax.adam)(rates)` is a batch of optimizers; a gradient
    with respect to a leaf is a gradient.
    """

    # States are whatever a rule makes of them, more than optax's types say.
    init: Callable[..., Any]  # pyrefly: ignore[bad-override]
    update: Callable[..., Any]  # pyrefly: ignore[bad-override]

    @property
    def rule(self) -> Any:
        """The dataclass whose methods `init` and `update` are."""
        return cast_type(Any, self.init).__self__

    def _replace(self, **changes: Any) -> Any:  # pyrefly: ignore[bad-override]: the type changes, on purpose
        """With another function it no longer follows its rule: it is then a pair like any of optax's."""
        pair: dict[str, Any] = {"init": self.init, "update": self.update} | changes
        return optax.GradientTransformationExtraArgs(**pair)

    def __repr__(self) -> str:
        return repr(self.rule)


def transformation(rule: Rule) -> GradientTransformation:
    """The transform that follows a rule."""
    return GradientTransformation(rule.init, rule.update)


@functools.cache
def _split_fields(rule_type: type) -> tuple[list[str], list[str]]:
    fields = dataclasses.fields(rule_type)
    numbers = [field.name for field in fields if not field.metadata.get("static")]
    return numbers, [field.name for field in fields if field.metadata.get("static")]


def _flatten_with_keys(transform: GradientTransformation) -> tuple:
    rule = transform.rule
    numbers, structure = _split_fields(type(rule))
    children = [(jax.tree_util.GetAttrKey(rule.label(name)), getattr(rule, name)) for name in numbers]
    return children, (type(rule), tuple(getattr(rule, name) for name in structure))


def _flatten(transform: GradientTransformation) -> tuple:
    children, structure = _flatten_with_keys(transform)
    return [child for _, child in children], structure


def _unflatten(structure: tuple, children: Any) -> GradientTransformation:
    rule_type, settings = structure
    numbers, names = _split_fields(rule_type)
    fields = dict(zip(numbers, children, strict=True)) | dict(zip(names, settings, strict=True))
    return transformation(rule_type(**fields))


jax.tree_util.register_pytree_with_keys(GradientTransformation, _flatten_with_keys, _unflatten, _flatten)


@dataclasses.dataclass(frozen=True, eq=False)
class _Foreign(Rule):
    """A transform made elsewhere: its hyperparameters are locked in closures, so all of it is structure."""

    transform: optax.GradientTransformation = static()

    def init(self, params: Params) -> OptState:
        return self.transform.init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        return optax.with_extra_args_support(self.transform).update(updates, state, params, **extra)


def lift(name: str, transform: Any) -> GradientTransformation:
    """A transform of gdjax as it is; one of optax wrapped, so that it can stand inside gdjax's pytrees.

    Raises:
      TypeError: if `transform` is no `(init, update)` pair.
    """
    if isinstance(transform, GradientTransformation):
        return transform
    if isinstance(transform, optax.GradientTransformation):
        return transformation(_Foreign(transform))
    called = ", is it a factory that still has to be called" if callable(transform) else ""
    raise TypeError(f"`{name}` must be a gradient transformation of gdjax or optax, got {transform!r}{called}.")


@dataclasses.dataclass(frozen=True, eq=False)
class _Chain(Rule):
    transforms: tuple

    def init(self, params: Params) -> OptState:
        return tuple(transform.init(params) for transform in self.transforms)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        if not isinstance(state, tuple) or len(state) != len(self.transforms):
            raise ValueError(
                f"`state` must come from `init` of the same optimizer, a chain of {len(self.transforms)} transforms, "
                f"got a {type(state).__name__}{f' of {len(state)}' if isinstance(state, tuple) else ''}."
            )
        new_state = []
        for transform, its_state in zip(self.transforms, state, strict=True):
            updates, its_state = transform.update(updates, its_state, params, **extra)
            new_state.append(its_state)
        return updates, tuple(new_state)


def chain(*transforms: Any) -> GradientTransformation:
    """One transform after the other; unlike `optax.chain` it keeps their hyperparameters as leaves.

    Args:
      *transforms: transforms of gdjax or optax; the first sees the gradient.

    Returns:
      A transform whose state is the tuple of their states.

    Raises:
      TypeError: if an argument is no `(init, update)` pair.

    >>> import jax, gdjax, optax
    >>> jax.tree.leaves(gdjax.chain(optax.clip(1.0), gdjax.gd(0.1)))
    [0.1]
    """
    return transformation(_Chain(tuple(lift(f"transforms[{i}]", t) for i, t in enumerate(transforms))))


def widen(updates: Updates) -> Updates:
    """Updates in the dtype in which arithmetic is done; leaves that don't train stay as they are."""

    def one(path: tuple, u: Any) -> Any:
        checks.array_like(checks.path_name("updates", path), u)
        return jnp.asarray(u, accumulator_dtype(u)) if is_trainable(u) else u

    return jax.tree_util.tree_map_with_path(one, updates)


def narrow(updates: Updates, like: Updates) -> Updates:
    """Updates in the dtypes of `like`."""
    return jax.tree.map(lambda u, g: cast(u, leaf_dtype(g)) if is_trainable(g) else u, updates, like)


def elementwise(function: Callable, updates: Updates, *others: Any) -> Updates:
    """`function` of each leaf that trains, in the dtype of arithmetic; the result in the leaf's own."""
    wide = jax.tree.map(lambda u, *rest: function(u, *rest) if is_trainable(u) else u, widen(updates), *others)
    return narrow(wide, updates)


def multiply(factor: jax.Array, x: jax.Array) -> jax.Array:
    """A real factor times an array that may be complex, part by part."""
    return jax.lax.complex(factor * jnp.real(x), factor * jnp.imag(x)) if jnp.iscomplexobj(x) else factor * x


def divide(x: jax.Array, divisor: jax.Array) -> jax.Array:
    """An array that may be complex over a real divisor, part by part."""
    return jax.lax.complex(jnp.real(x) / divisor, jnp.imag(x) / divisor) if jnp.iscomplexobj(x) else x / divisor


def scalar(name: str, value: Any, dtype: Any) -> jax.Array:
    """A hyperparameter as a real scalar for arithmetic with arrays of `dtype`.

    Raises:
      ValueError: if it is a schedule that no clock has read, or a vector.
    """
    if isinstance(value, Schedule):
        raise ValueError(
            f"`{name}` is a schedule, and only a clock can read it: wrap the whole in `clocked(...)`, got {value!r}."
        )
    if np.shape(value) != ():
        raise ValueError(f"`{name}` must be a scalar, got an array of shape {np.shape(value)}.")
    return jnp.asarray(value, real_dtype(dtype))


def is_zero(value: Any) -> bool:
    """Whether a hyperparameter is known to be zero: a number, neither traced nor a schedule."""
    return isinstance(value, int | float) and value == 0


def may_be_zero(value: Any) -> bool:
    """Whether a hyperparameter is not known to be something else: also what is traced, or stands in for a leaf."""
    return is_zero(value) or not isinstance(value, int | float | Schedule)
