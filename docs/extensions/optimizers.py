"""Two directives for the pages of the optimizers: `{defaults} adam`, a table, and `{valley} adam`, a picture.

Both are made from the optimizers themselves when the pages are built.
"""

import functools
import inspect
import io
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import optax
from docutils import nodes
from docutils.statemachine import StringList
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gdjax import optimizers, presets

SYMBOLS = {
    "learning_rate": "α", "b1": "β₁", "b2": "β₂", "beta": "β", "decay": "β", "rho": "ρ", "eps": "ε",
    "eps_root": "ε_root", "weight_decay": "λ",
}  # fmt: skip
PLACES = ("accumulator_dtype", "mu_dtype", "mask", "weight_decay_mask")
"""Arguments that are no numbers: dtypes, and which leaves decay."""

COUNTERPARTS: dict[str, dict[str, tuple[str, str]]] = {
    "gd": {"optax": ("sgd", "sgd"), "torch": ("sgd", "SGD"), "keras": ("sgd", "SGD")},
    "momentum": {},
    "heavy_ball": {"optax": ("sgd", "sgd"), "torch": ("sgd", "SGD"), "keras": ("sgd", "SGD")},
    "adagrad": {"torch": ("adagrad", "Adagrad"), "keras": ("adagrad", "Adagrad")},
    "rmsprop": {"torch": ("rmsprop", "RMSprop"), "keras": ("rmsprop", "RMSprop")},
    "adadelta": {"torch": ("adadelta", "Adadelta"), "keras": ("adadelta", "Adadelta")},
    "adam": {"torch": ("adam", "Adam"), "keras": ("adam", "Adam")},
    "adamw": {"torch": ("adamw", "AdamW"), "keras": ("adamw", "AdamW")},
    "amsgrad": {"torch": ("adam", "Adam(amsgrad=True)"), "keras": ("adam", "Adam(amsgrad=True)")},
    "adamax": {"torch": ("adamax", "Adamax"), "keras": ("adamax", "Adamax")},
    "nadam": {"torch": ("nadam", "NAdam"), "keras": ("nadam", "Nadam")},
    "radam": {"torch": ("radam", "RAdam")},
    "adabelief": {},
    "yogi": {},
    "lamb": {"keras": ("lamb", "Lamb")},
    "lion": {"keras": ("lion", "Lion")},
}
"""Optimizer -> library -> (the function that has its defaults, what the library calls it). optax's has the same name
where it is not told here."""

OTHER_NAMES = {
    "optax": {"heavy_ball": {"decay": "momentum"}},
    "torch": {
        "": {"learning_rate": "lr", "b1": "betas[0]", "b2": "betas[1]"},
        "heavy_ball": {"decay": "momentum"},
        "rmsprop": {"decay": "alpha"},
    },
    "keras": {
        "": {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon"},
        "heavy_ball": {"decay": "momentum"},
        "rmsprop": {"decay": "rho"},
    },
}
"""Library -> optimizer, or "" for any -> gdjax's keyword -> the library's."""

MODULES = {"optax": optax, "torch": presets.torch, "keras": presets.keras}
TITLES = {"optax": "optax.", "torch": "torch.optim.", "keras": "keras.optimizers."}


def _default(function: Callable, keyword: str) -> str:
    """A keyword and its default; "required" where it has none, "–" where there is no such keyword."""
    name, _, place = keyword.partition("[")
    parameter = inspect.signature(function).parameters.get(name)
    if parameter is None:
        return "–"
    if parameter.default is inspect.Parameter.empty:
        return f"`{keyword}`, required"
    default = parameter.default[int(place.rstrip("]"))] if place else parameter.default
    return f"`{keyword}={default!r}`"


def defaults(name: str) -> list[str]:
    """The Markdown table of an optimizer's hyperparameters, here and elsewhere."""
    counterparts = dict(COUNTERPARTS[name])
    if hasattr(optax, name):
        counterparts.setdefault("optax", (name, name))
    libraries = [library for library in MODULES if library in counterparts]
    titles = [f"`{TITLES[library]}{counterparts[library][1]}`" for library in libraries]
    lines = [f"| | `gdjax.{name}` | {' | '.join(titles)} |".replace("|  |", "|"), "|---" * (len(libraries) + 2) + "|"]
    here = getattr(optimizers, name)
    for keyword in inspect.signature(here).parameters:
        if keyword in PLACES:
            continue
        cells = []
        for library in libraries:
            names = OTHER_NAMES[library].get("", {}) | OTHER_NAMES[library].get(name, {})
            cells.append(_default(getattr(MODULES[library], counterparts[library][0]), names.get(keyword, keyword)))
        lines.append(f"| {' | '.join([SYMBOLS.get(keyword, ''), _default(here, keyword), *cells])} |")
    return lines


class Defaults(SphinxDirective):
    """`{defaults} adam`: the hyperparameters, with their names and defaults in other libraries."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The table."""
        node = nodes.Element()
        self.state.nested_parse(StringList(defaults(self.arguments[0]), source="defaults"), self.content_offset, node)
        return node.children


CURVATURES = jnp.array([1.0, 20.0])
START = jnp.array([-1.9, -0.7])
ACROSS, UP = (-2.3, 0.9), (-1.2, 0.7)
UPDATES = 60
RATES = np.logspace(-3, 1, 41)


def valley(point: jax.Array) -> jax.Array:
    """A quadratic of condition number 20, turned by 30°, with its minimum at 0."""
    angle = jnp.pi / 6
    turn = jnp.array([[jnp.cos(angle), jnp.sin(angle)], [-jnp.sin(angle), jnp.cos(angle)]])
    return jnp.sum(CURVATURES * (turn @ point) ** 2, axis=-1) / 2


@functools.cache
def _descents(name: str) -> tuple[float, np.ndarray]:
    """(the rate of `RATES` whose path has the lowest sum of values, that path [UPDATES + 1, 2])."""
    factory = getattr(optimizers, name)

    def descend(optimizer: Any) -> jax.Array:
        def step(carry: tuple, _: None) -> tuple:
            point, state = carry
            updates, state = optimizer.update(jax.grad(valley)(point), state, point)
            return (optax.apply_updates(point, updates), state), point

        (last, _), points = jax.lax.scan(step, (START, optimizer.init(START)), length=UPDATES)
        return jnp.concatenate([points, last[None]])

    paths = jax.jit(jax.vmap(descend))(jax.vmap(factory)(jnp.asarray(RATES, jnp.float32)))
    values = np.nan_to_num(np.asarray(jax.vmap(jax.vmap(valley))(paths)), nan=np.inf, posinf=np.inf)
    best = int(np.argmin(values.sum(axis=1)))
    return float(RATES[best]), np.asarray(paths[best])


def picture(name: str) -> tuple[str, str]:
    """(the picture as SVG, what it shows in words)."""
    rate, _ = _descents(name)
    with matplotlib.rc_context({"svg.hashsalt": name, "svg.fonttype": "path", "font.size": 9}):
        figure = Figure(figsize=(7, 2.6), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(3, 2))
        x, y = np.meshgrid(np.linspace(*ACROSS, 120), np.linspace(*UP, 80))
        values = _values(x, y)
        left.contour(x, y, np.sqrt(values), levels=14, colors="0.8", linewidths=0.7)
        for shown, color, width in (("gd", "0.45", 1), (name, "#0072B2", 1.6)):
            points = _descents(shown)[1]
            left.plot(*points.T, ".-", color=color, linewidth=width, markersize=3)
            heights = np.maximum(_values(*points.T), 1e-12)
            right.semilogy(heights, color=color, linewidth=width, label=shown)
        left.plot(0, 0, "*", color="black", markersize=9)
        left.set(xlim=ACROSS, ylim=UP, xticks=[], yticks=[], aspect="equal")
        right.set(xlabel="updates", ylabel="loss", ylim=(1e-8, 10))
        if name != "gd":
            right.legend(frameon=False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    words = (
        f"{UPDATES} updates of {name} in a quadratic valley of condition number 20, at learning rate {rate:.2g}, "
        f"the best of {len(RATES)} between {RATES[0]:g} and {RATES[-1]:g} for the sum of the losses on the way"
    )
    if name != "gd":
        words += f"; in grey gd at its own best, {_descents('gd')[0]:.2g}"
    svg = file.getvalue()
    return svg[svg.index("<svg") :], f"{words}."


def _values(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.asarray(jax.vmap(valley)(jnp.stack([x.ravel(), y.ravel()], axis=-1))).reshape(x.shape)


class Valley(SphinxDirective):
    """`{valley} adam`: the optimizer's path in a narrow valley, beside that of gradient descent."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The picture and its caption."""
        svg, words = picture(self.arguments[0])
        text = f'<figure class="valley" role="img" aria-label="{words}">{svg}<figcaption>{words}</figcaption></figure>'
        return [nodes.raw("", text, format="html")]


def setup(app: Sphinx) -> dict:
    """The two directives."""
    app.add_directive("defaults", Defaults)
    app.add_directive("valley", Valley)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
