"""Paths over a landscape of two parameters."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import checks
from gdjax.dtypes import float_dtype
from gdjax.report.colors import COLORS, DASHES
from gdjax.report.pictures import axes_of, named
from gdjax.transforms.base import GradientTransformation, lift

GRID = 200
"""Points of the contours' grid along each axis."""

MARGIN = 0.15
"""Of the frame beyond what it shows, on each side."""


def trajectory(function: Callable, optimizer: Any, start: Any, steps: int) -> np.ndarray:
    """The parameters after each update with the exact gradient of a function, as one compiled loop.

    Args:
      function: `function(parameters) -> scalar`, written in jax.numpy.
      optimizer: a transform of gdjax or optax; `value` is told to it, as plateaus ask.
      start: the parameters that it starts from, an array of floats.
      steps: updates, at least 0.

    Returns:
      [steps + 1, ...], `start` first. What diverges ends in numbers that are not finite.

    Raises:
      TypeError, ValueError: if an argument is wrong.

    >>> import gdjax
    >>> from gdjax import report
    >>> report.trajectory(lambda p: (p**2).sum() / 2, gdjax.gd(0.5), [4.0, 0.0], 2).tolist()
    [[4.0, 0.0], [2.0, 0.0], [1.0, 0.0]]
    """
    steps = checks.integer("steps", steps, least=0)
    begin = jnp.asarray(start)
    if not jnp.issubdtype(begin.dtype, jnp.floating):
        raise TypeError(f"`start` must be an array of floats, got dtype {begin.dtype}.")
    shape = getattr(jax.eval_shape(function, begin), "shape", None)
    if shape != ():
        raise ValueError(f"`function` must return a scalar, got an array of shape {shape}.")
    return np.asarray(_trajectory(function, lift("optimizer", optimizer), begin, steps))


@functools.partial(jax.jit, static_argnums=(0, 3))
def _trajectory(function: Callable, optimizer: GradientTransformation, start: jax.Array, steps: int) -> jax.Array:
    def one(carry: tuple, _: None) -> tuple:
        params, state = carry
        value, gradient = jax.value_and_grad(function)(params)
        updates, state = optimizer.update(gradient, state, params, value=value)
        return (optax.apply_updates(params, updates), state), params

    (last, _), path = jax.lax.scan(one, (start, optimizer.init(start)), length=steps)
    return jnp.concatenate([path, last[None]])


def plot_trajectories(
    function: Callable,
    paths: Any,
    *,
    axes: Any = None,
    minimum: Sequence[float] | None = None,
    bounds: tuple[tuple[float, float], tuple[float, float]] | None = None,
    levels: int = 20,
) -> Any:
    """Paths on the contours of a function of two parameters.

    A path that leaves the frame ends there in an arrow, with the number of the update that took it out: the frame never
    follows what diverges.

    Args:
      function: `function(array of 2) -> scalar`, written in jax.numpy.
      paths: an array [points, 2] such as `trajectory` returns, or {label: array}.
      axes: matplotlib's axes to draw on.
      minimum: where a star is put. Contours are then spaced evenly in the logarithm of the height above it, else by the
        share of the frame that lies below.
      bounds: ((left, right), (bottom, top)); by default what holds the starts, the minimum, and those points of the
        paths that lie at most twice as high as the highest start, above their lowest.
      levels: contours, at least 1.

    Returns:
      The axes.

    Raises:
      TypeError, ValueError: if an argument is wrong.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax import report
    >>> valley = lambda p: p[0] ** 2 / 2 + 10 * p[1] ** 2
    >>> path = report.trajectory(valley, gdjax.gd(0.105), [4.0, 1.0], 30)
    >>> axes = report.plot_trajectories(valley, {"gd": path}, minimum=(0.0, 0.0))
    >>> axes.texts[-1].get_text()
    'left at update 9'
    """
    levels = checks.integer("levels", levels, least=1)
    several = {label: _path(label, path) for label, path in named("paths", paths, "path").items()}
    heights_at = jax.jit(jax.vmap(function))
    star = None if minimum is None else np.asarray(minimum, float)
    if star is not None and star.shape != (2,):
        raise ValueError(f"`minimum` must be two numbers, got an array of shape {star.shape}.")

    def height(points: np.ndarray) -> np.ndarray:
        return np.asarray(heights_at(jnp.asarray(points.reshape(-1, 2), float_dtype())), float).reshape(
            points.shape[:-1]
        )

    if bounds is None:
        bounds = _bounds(several, star, height)
    (left, right), (bottom, top) = bounds
    if not (left < right and bottom < top):
        raise ValueError(f"`bounds` must be ((left, right), (bottom, top)), each in ascending order, got {bounds}.")
    grid = np.stack(np.meshgrid(np.linspace(left, right, GRID), np.linspace(bottom, top, GRID)), -1)
    heights = height(grid)

    axes = axes_of(axes)
    axes.contour(
        grid[..., 0], grid[..., 1], heights, levels=_levels(heights, None if star is None else height(star), levels),
        colors="0.8", linewidths=0.7,
    )  # fmt: skip
    for place, (label, path) in enumerate(several.items()):
        style = {"color": COLORS[place % len(COLORS)], "linestyle": DASHES[place % len(DASHES)]}
        inside, end = _until_it_leaves(path, bounds)
        axes.plot(*inside.T, label=label or None, linewidth=1.6, **style)
        if end is None:
            axes.plot(*inside[-1], color=style["color"], marker="o", markersize=5)
            continue
        update, tip = end
        arrow = {"arrowstyle": "-|>", "color": style["color"], "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", tip, inside[-1], arrowprops=arrow)
        inward = np.sign(np.mean(bounds, axis=1) - tip) * [40, 14]
        axes.annotate(
            f"left at update {update}", tip, inward, textcoords="offset points", color=style["color"],
            fontsize="small", ha="center", va="center",
        )  # fmt: skip
    for begin in {tuple(path[0]) for path in several.values()}:
        axes.plot(*begin, color="black", marker="s", markersize=5, linestyle="none")
    if star is not None:
        axes.plot(*star, color="black", marker="*", markersize=14, linestyle="none")
    axes.set(xlim=bounds[0], ylim=bounds[1], xlabel="first parameter", ylabel="second parameter")
    if any(label for label in several):
        axes.legend()
    return axes


def _path(label: str, given: Any) -> np.ndarray:
    path = np.asarray(given)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path) or not np.issubdtype(path.dtype, np.floating):
        where = f"paths[{label!r}]" if label else "paths"
        raise ValueError(f"`{where}` must be floats [points, 2], got {path.dtype} {list(path.shape)}.")
    if not np.isfinite(path[0]).all():
        raise ValueError(f"`{f'paths[{label!r}]' if label else 'paths'}` must start at finite numbers, got {path[0]}.")
    return path


def _bounds(paths: Mapping[str, np.ndarray], star: np.ndarray | None, height: Callable) -> tuple:
    """What holds the starts, the minimum, and the points that lie not much higher than the highest start."""
    points = np.concatenate(list(paths.values())).astype(float)
    points = points[np.isfinite(points).all(axis=1)]
    starts = np.stack([path[0] for path in paths.values()]).astype(float)
    marks = starts if star is None else np.concatenate([starts, star[None]])
    heights, highest = height(points), height(starts).max()
    least = min(np.nanmin(heights), height(marks).min())
    shown = [marks, points[heights <= highest + (highest - least)]]
    low, high = np.concatenate(shown).min(axis=0), np.concatenate(shown).max(axis=0)
    room = MARGIN * np.where(high > low, high - low, max((high - low).max(), 1.0))
    return tuple(zip((low - room).tolist(), (high + room).tolist(), strict=True))


def _levels(heights: np.ndarray, least: Any, count: int) -> np.ndarray:
    """Ascending heights of contours."""
    seen = heights[np.isfinite(heights)]
    if not seen.size:
        raise ValueError("`function` must be finite somewhere in the frame, got no finite number.")
    if least is None:
        return np.unique(np.quantile(seen, np.linspace(0, 1, count + 2)[1:-1]))
    above = max(float(seen.max() - least), np.finfo(float).tiny)
    return float(least) + np.geomspace(1e-3, 1, count + 1)[:-1] * above


def _until_it_leaves(path: np.ndarray, bounds: tuple) -> tuple[np.ndarray, tuple[int, np.ndarray] | None]:
    """(the points within the frame, (the update that leads out, where it crosses the frame) if one does)."""
    low, high = np.asarray(bounds, float).T
    outside = ~((path >= low) & (path <= high)).all(axis=1)  # not a number is outside too
    if not outside.any():
        return path, None
    update = int(outside.argmax())
    inside = path[: max(update, 1)]
    last, way = inside[-1].astype(float), path[update].astype(float) - inside[-1]
    if not np.isfinite(way).all() or update == 0:
        return inside, (update, last)
    ahead = np.where(way > 0, high, low) - last
    share = min((a / w for a, w in zip(ahead, way, strict=True) if w), default=0.0)
    return inside, (update, last + max(share, 0.0) * way)
