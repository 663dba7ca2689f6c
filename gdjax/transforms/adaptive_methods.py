"""Adaptive methods: any direction over the root of any magnitude.

Source: Reddi, Kale & Kumar (2018), "On the convergence of Adam and beyond", algorithm 1.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gdjax.dtypes import is_trainable
from gdjax.schedules import non_negative
from gdjax.transforms.base import (
    GradientTransformation,
    Rule,
    chain,
    divide,
    elementwise,
    lift,
    narrow,
    scalar,
    transformation,
    widen,
)
from gdjax.types import OptState, Params, Updates, state


def safe_root(v: jax.Array) -> jax.Array:
    """√v whose derivative at 0 is 0, where that of the plain root is infinite."""
    zero = v == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, v)))


def _plus(x: jax.Array, name: str, eps: Any) -> jax.Array:
    return x if eps is None else x + scalar(name, eps, x.dtype)


def _eps(name: str, eps: Any) -> Any:
    return None if eps is None else non_negative(name, eps)


@dataclasses.dataclass(frozen=True, eq=False)
class _Root(Rule):
    magnitude: GradientTransformation
    eps: Any
    eps_root: Any

    def response(self, of: Any) -> "_Root":
        """The root alone, since an ε has no weight."""
        return _Root(of(self.magnitude), None, None)

    def init(self, params: Params) -> OptState:
        return self.magnitude.init(params)

    def update(self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> tuple:
        squares, state = self.magnitude.update(widen(updates), state, params, **extra)

        def size(square: jax.Array) -> jax.Array:
            return _plus(safe_root(_plus(jnp.real(square), "eps_root", self.eps_root)), "eps", self.eps)

        return narrow(elementwise(size, squares), updates), state


def root(magnitude: GradientTransformation, *, eps: Any = None, eps_root: Any = None) -> GradientTransformation:
    """√(ψ(g) + ε_root) + ε, the size that a magnitude speaks of.

    Args:
      magnitude: ψ, a transform that answers with something at least 0.
      eps: ε ≥ 0, a number, a traced scalar or (under `clocked`) a schedule; None is 0, and no hyperparameter.
      eps_root: likewise, inside the root.

    Raises:
      ValueError, TypeError: if a number is negative, or `magnitude` is no transform.
    """
    return transformation(_Root(lift("magnitude", magnitude), _eps("eps", eps), _eps("eps_root", eps_root)))


@state
class AdaptiveState(NamedTuple):
    """The states of the two transforms."""

    direction: OptState
    size: OptState


@dataclasses.dataclass(frozen=True, eq=False)
class _Quotient(Rule):
    direction: GradientTransformation
    size: GradientTransformation
    eps: Any

    def init(self, params: Params) -> AdaptiveState:
        return AdaptiveState(self.direction.init(params), self.size.init(params))

    def update(self, updates: Updates, state: AdaptiveState, params: Params | None = None, **extra: Any) -> tuple:
        wide = widen(updates)
        direction, direction_state = self.direction.update(wide, state.direction, params, **extra)
        prediction = getattr(self.direction.rule, "prediction", None)
        if prediction is not None:
            extra = extra | {"prediction": lambda: prediction(direction_state)}
        size, size_state = self.size.update(wide, state.size, params, **extra)

        def ratio(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
            denominator = _plus(jnp.real(denominator), "eps", self.eps)
            zero = denominator == 0  # Without an ε, a coordinate that never saw a gradient stays where it is.
            return jnp.where(zero, 0, divide(numerator, jnp.where(zero, 1, denominator)))

        ratios = jax.tree.map(lambda d, s: ratio(d, s) if is_trainable(d) else d, direction, size)
        return narrow(ratios, updates), AdaptiveState(direction_state, size_state)


def quotient(
    *, direction: GradientTransformation | None = None, size: GradientTransformation, eps: Any = None
) -> GradientTransformation:
    """φ(g) / (σ(g) + ε), coordinate by coordinate; 0 where the denominator is 0.

    The size is also told what the direction expects of a gradient (its memory), which `surprise()` reads.

    Args:
      direction: φ, where to go: a transform; by default the gradient itself.
      size: σ, how large gradients are: a transform that answers with something at least 0.
      eps: ε ≥ 0, a number, a traced scalar or (under `clocked`) a schedule; None is 0, and no hyperparameter.

    Returns:
      A transform; its arithmetic is float32 or wider also for 16-bit gradients.

    Raises:
      ValueError, TypeError: if `eps` is negative, or an argument is no transform.
    """
    direction = chain() if direction is None else lift("direction", direction)
    return transformation(_Quotient(direction, lift("size", size), _eps("eps", eps)))


def adaptive(
    *,
    direction: GradientTransformation | None = None,
    magnitude: GradientTransformation,
    eps: Any = 1e-8,
    eps_root: Any = None,
) -> GradientTransformation:
    """φ(g) / (√(ψ(g) + ε_root) + ε), coordinate by coordinate: `quotient` of a direction and a `root`.

    Args:
      direction: φ, where to go: a transform; by default the gradient itself.
      magnitude: ψ, how large squared gradients are: a transform that answers with something at least 0.
      eps: ε ≥ 0, a number, a traced scalar or (under `clocked`) a schedule; None is 0, and no hyperparameter. With
        both ε at 0 a coordinate of magnitude 0 gets the update 0.
      eps_root: likewise, inside the root.

    Returns:
      A transform; its arithmetic is float32 or wider also for 16-bit gradients.

    Raises:
      ValueError, TypeError: if an ε is negative, or an argument is no transform.

    >>> import jax.numpy as jnp
    >>> from gdjax.transforms.filters import sum_of_squares
    >>> transform = adaptive(magnitude=sum_of_squares(), eps=0.0)
    >>> updates, state = transform.update(jnp.array([4.0, 0.0]), transform.init(jnp.zeros(2)))
    >>> updates.tolist()
    [1.0, 0.0]
    """
    return quotient(direction=direction, size=root(lift("magnitude", magnitude), eps=eps, eps_root=eps_root))
