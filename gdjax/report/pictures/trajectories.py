"""Paths of two parameters on the contour of the function that they descend."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from gdjax import checks
from gdjax.dtypes import float_dtype
from gdjax.report.pictures.paper import by_label, color, dash, marker, on_axes, place_of
from gdjax.transforms.base import GradientTransformation, lift

GRID = 201
"""Points of the contour along each side."""

MARGIN = 0.1
"""Of the frame, beyond what it has to hold, on each side."""

DOTTED = 60
"""Paths of at most so many updates show each one as a dot."""


def trajectory(function: Callable[[jax.Array], Any], optimizer: Any, start: Any, steps: int) -> np.ndarray:
    """The parameters along a descent with the exact gradient, as one compiled loop.

    θₖ₊₁ = θₖ + update(∇f(θₖ))

    Args:
      function: f, of an array of parameters, to a scalar.
      optimizer: of gdjax or optax. Another learning rate of one of gdjax's compiles nothing.
      start: θ₀, an array; it keeps its float dtype, integers become floats.
      steps: updates, at least 0.

    Returns:
      θ₀ and the parameters after each update [steps + 1, *shape of start].

    Raises:
      ValueError, TypeError: if `steps` is no count, `optimizer` no transform, `start` no array of numbers, or
        `function` does not return a scalar.

    >>> import gdjax
    >>> from gdjax.report import trajectory
    >>> trajectory(lambda p: (p**2).sum(), gdjax.gd(0.25), [4.0, 2.0], 2).tolist()
    [[4.0, 2.0], [2.0, 1.0], [1.0, 0.5]]
    """
    steps = checks.integer("steps", steps, least=0)
    start = _parameters("start", start)
    shape = getattr(jax.eval_shape(function, start), "shape", None)
    if shape != ():
        raise ValueError(f"`function` must return a scalar, got an array of shape {shape}.")
    return np.asarray(_descended(function, lift("optimizer", optimizer), start, steps))


def _parameters(name: str, value: Any) -> jax.Array:
    value = np.asarray(value) if isinstance(value, Sequence) else value
    checks.array_like(name, value)
    value = jnp.asarray(value)
    return value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(float_dtype())


@functools.partial(jax.jit, static_argnames=("function", "steps"))
def _descended(function: Callable, optimizer: GradientTransformation, start: jax.Array, steps: int) -> jax.Array:
    def step(carry: tuple, _: None) -> tuple:
        params, state = carry
        value, grad = jax.value_and_grad(function)(params)
        updates, state = optimizer.update(grad, state, params, value=value, grad=grad, value_fn=function)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    _, places = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)
    return jnp.concatenate([start[None], places])


def plot_trajectories(
    function: Callable[[jax.Array], Any],
    paths: Mapping[str, Any] | Any,
    *,
    axes: Any = None,
    minimum: Any = None,
    bounds: Any = None,
    levels: int | Sequence[float] = 20,
) -> Any:
    """Draw paths of two parameters on the contour of a function.

    A square stands where a path starts, a star at a minimum. The frame does not follow a path that diverges: such a
    path ends in an arrow at the frame, which tells the update that left for good.

    Args:
      function: of an array of two parameters, to a scalar.
      paths: {label: the parameters after each update [updates + 1, 2]}, or one such array.
      axes: what to draw on, an Axes of matplotlib; None for a new figure.
      minimum: the two parameters where the function is least; or several such places [places, 2]; or None.
      bounds: of the frame, ((lowest, highest), (lowest, highest)). None for a frame that holds the minimum, where each
        path starts, and what of the paths lies at most twice as high as the highest start, above the lowest point.
      levels: how many contour lines. They are spaced evenly in the logarithm of the height above the minimum; without
        one, by the share of the frame that lies below. Or the heights themselves, ascending.

    Returns:
      The axes.

    Raises:
      ValueError, TypeError: if an argument is not of the shape told above, or a path is nowhere within `bounds`.
      ImportError: if matplotlib is not installed.

    >>> import gdjax, jax.numpy as jnp
    >>> from gdjax import report
    >>> valley = lambda p: (p * p * jnp.array([1.0, 20.0])).sum() / 2
    >>> rates = {"0.09": 0.09, "0.11": 0.11}
    >>> paths = {name: report.trajectory(valley, gdjax.gd(rate), [8.0, 1.0], 30) for name, rate in rates.items()}
    >>> axes = report.plot_trajectories(valley, paths, minimum=(0.0, 0.0), bounds=((-2, 10), (-2, 2)))
    >>> axes.texts[0].get_text()
    'left at update 4'
    """
    labelled = {
        label: _path(place_of("paths", label), path) for label, path in by_label("paths", paths, "path").items()
    }
    minima = np.zeros((0, 2)) if minimum is None else _places("minimum", minimum)
    if isinstance(levels, int | np.integer):
        levels = checks.integer("levels", levels, least=1)
    heights = _heights(function)
    frame = _frame(labelled, minima, heights) if bounds is None else _bounds(bounds)
    inside = {label: ((frame[:, 0] <= path) & (path <= frame[:, 1])).all(axis=1) for label, path in labelled.items()}
    for label, within in inside.items():
        if not within.any():
            raise ValueError(f"`bounds` must hold a part of `{place_of('paths', label)}`, got {frame.tolist()}.")
    axes = on_axes(axes)
    _draw_contour(axes, heights, frame, minima, levels)
    for place, (label, path) in enumerate(labelled.items()):
        _draw_path(axes, place, label, path, int(np.flatnonzero(inside[label])[-1]), frame)
    starts = np.unique([path[0] for path in labelled.values()], axis=0)
    marks = {"color": "black", "linestyle": "none", "zorder": 4}
    axes.plot(*starts.T, marker="s", markersize=5, label="start", **marks)
    if len(minima):
        axes.plot(*minima.T, marker="*", markersize=13, label="minimum", **marks)
    axes.set(xlim=frame[0], ylim=frame[1], xlabel="first parameter", ylabel="second parameter")
    axes.legend(fontsize=8)
    return axes


def _path(name: str, path: Any) -> np.ndarray:
    path = np.asarray(path, float)
    if path.ndim != 2 or path.shape[1] != 2 or not len(path):
        raise ValueError(f"`{name}` must be an array [updates + 1, 2], got one of shape {path.shape}.")
    if not np.isfinite(path[0]).all():
        raise ValueError(f"`{name}` must start at finite parameters, got {path[0].tolist()}.")
    return path


def _places(name: str, places: Any) -> np.ndarray:
    places = np.atleast_2d(np.asarray(places, float))
    if places.ndim != 2 or places.shape[1] != 2 or not np.isfinite(places).all():
        raise ValueError(f"`{name}` must be two finite numbers, or an array of such [places, 2], got {places!r}.")
    return places


def _bounds(bounds: Any) -> np.ndarray:
    frame = np.asarray(bounds, float)
    if frame.shape != (2, 2) or not np.isfinite(frame).all() or not (frame[:, 0] < frame[:, 1]).all():
        raise ValueError(f"`bounds` must be ((lowest, highest), (lowest, highest)), got {bounds!r}.")
    return frame


def _heights(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """The function at many places [places, 2] -> [places]."""
    mapped = jax.jit(jax.vmap(function))

    def heights(places: np.ndarray) -> np.ndarray:
        found = np.asarray(mapped(jnp.asarray(places, float_dtype())), float)
        if found.shape != places.shape[:1]:
            raise ValueError(f"`function` must return a scalar, got an array of shape {found.shape[1:]}.")
        return found

    return heights


def _frame(paths: dict[str, np.ndarray], minima: np.ndarray, heights: Callable) -> np.ndarray:
    """What holds minima, starts and the points not much higher than the highest start, with a margin [2, 2]."""
    marks = np.concatenate([[path[0] for path in paths.values()], minima])
    points = np.concatenate(list(paths.values()))
    high = heights(points)
    high = np.where(np.isfinite(points).all(axis=1), high, np.nan)
    start, least = max(heights(marks[: len(paths)])), np.nanmin([*high, *heights(minima), np.inf])
    held = np.concatenate([marks, points[high <= start + (start - least)]])
    low, high = held.min(axis=0), held.max(axis=0)
    size = high - low
    half = np.maximum(size * (1 + 2 * MARGIN), size.max() / 4 or 1.0) / 2  # something beside a path along one parameter
    return np.stack([(low + high) / 2 - half, (low + high) / 2 + half], axis=1)


def _draw_contour(axes: Any, heights: Callable, frame: np.ndarray, minima: np.ndarray, levels: Any) -> None:
    sides = [np.linspace(low, high, GRID) for low, high in frame]
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    z = heights(grid.reshape(-1, 2)).reshape(GRID, GRID)
    if isinstance(levels, int):
        levels = _levels(z[np.isfinite(z)], heights(minima), levels)
    if len(levels):
        style = {"colors": "0.75", "linewidths": 0.7, "linestyles": "solid", "zorder": 1}
        axes.contour(*sides, np.ma.masked_invalid(z), levels=levels, **style)


def _levels(seen: np.ndarray, minima: np.ndarray, count: int) -> np.ndarray:
    """Ascending heights; none where the function is level."""
    if not len(minima):
        levels = np.unique(np.quantile(seen, np.linspace(0, 1, count + 2)[1:-1])) if seen.size else seen
        return levels[levels > seen.min(initial=np.inf)]
    floor = min(minima.min(), seen.min(initial=np.inf))
    above = seen[seen > floor] - floor
    if not above.size:
        return above
    return np.unique(floor + np.geomspace(np.quantile(above, 0.002), above.max(), count + 1)[:-1])


def _draw_path(axes: Any, place: int, label: str, path: np.ndarray, last: int, frame: np.ndarray) -> None:
    """A path as far as the frame: `last` is the last update within."""
    shown, left = path[: last + 1], last + 1 < len(path)
    beyond = left and np.isfinite(path[last + 1]).all()
    if beyond:
        shown = np.concatenate([shown, _crossing(path[last], path[last + 1], frame)[None]])
    look = {"color": color(place), "zorder": 3}
    end = {} if left else {"marker": marker(place), "markersize": 6, "markevery": [last]}
    axes.plot(*shown.T, label=label or None, linestyle=dash(place), linewidth=1.4, **end, **look)
    if len(path) <= DOTTED + 1:
        axes.plot(*path[: last + 1].T, linestyle="none", marker=".", markersize=4, **look)
    if not left:
        return
    word = f"left at update {last + 1}" if beyond else f"not finite at update {last + 1}"
    share = (shown[-1] - frame[:, 0]) / (frame[:, 1] - frame[:, 0])
    axes.annotate(
        word, shown[-1], xytext=np.where(share > 0.5, -8, 8), textcoords="offset points", fontsize=8,
        color=color(place), ha="right" if share[0] > 0.5 else "left", va="top" if share[1] > 0.5 else "bottom",
        zorder=5, bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
    )  # fmt: skip
    if beyond:
        head = {"arrowstyle": "-|>", "color": color(place), "shrinkA": 0, "shrinkB": 0, "mutation_scale": 14}
        axes.annotate("", shown[-1], xytext=shown[-2], arrowprops=head, zorder=4)
    else:
        axes.plot(*shown[-1], color=color(place), marker="x", markersize=8, linestyle="none", zorder=4)


def _crossing(inside: np.ndarray, outside: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """Where the way from a point inside to one outside meets the frame."""
    way = outside - inside
    far = np.where(way > 0, frame[:, 1], frame[:, 0]) - inside
    parts = [distance / length for distance, length in zip(far, way, strict=True) if length]
    return inside + min(parts) * way
