"""Writes docs/family.md: every optimizer taken apart into direction, magnitude and what is added.

The table is read from the optimizers themselves, so it cannot say anything that they don't do:
`python docs/family.py`.
"""

import dataclasses
import functools
import inspect
import pathlib
import re

import gdjax
from gdjax import optimizers, presets
from gdjax.transforms import GradientTransformation

PAGE = pathlib.Path(__file__).with_name("family.md")

NAMES = {
    "SelfCorrected": "bias_corrected",
    "_Divided": "bias_corrected",
}
"""Rules whose transform has another name than they."""

TEXT = """# The family

Every optimizer is a direction over the root of a magnitude (Reddi, Kale & Kumar 2018, algorithm 1), times minus the
learning rate. This table is written by `docs/family.py` from the optimizers themselves; each word in it is a function
in `gdjax.transforms`, to be put together in other ways.

{family}

`g` is the gradient. A magnitude is under a root, but for those marked with *, which are sizes already. What is added
stands *before* the direction, where it enters the memories, or *after* the division, in the order given. `a of b` is
`chain(b, a)`; `two_speed` takes its two filters as `answers=` and `remembers=`.

```python
from gdjax.transforms import adaptive, add_decayed_weights, bias_corrected, chain, clocked, ema, ema_of_squares
from gdjax.transforms import nesterov_corrected, running_max, scale_by_learning_rate, surprise

# NAdam's direction, AMSGrad's long memory of AdaBelief's magnitude, decoupled weight decay
mine = clocked(chain(
    adaptive(
        direction=nesterov_corrected(ema(0.9)),
        magnitude=running_max(chain(surprise(), bias_corrected(ema_of_squares(0.999, increment=1e-16)))),
    ),
    add_decayed_weights(1e-2),
    scale_by_learning_rate(1e-3),
))
```

## Under the names of other frameworks

`gdjax.presets.torch` and `gdjax.presets.keras` put the same parts together as PyTorch 2.13 and Keras 3.15 do, with
their keywords and defaults; tests run the frameworks beside them, step by step.

{torch}

{keras}
"""


def words(transform: GradientTransformation) -> str:
    """A transform as the call that makes it, its numbers left out: `bias_corrected(ema(b1))`."""
    rule = transform.rule
    kind = type(rule).__name__
    if kind == "_Chain":
        return functools.reduce(_after, map(words, rule.transforms), "g")
    name = NAMES.get(kind) or re.sub(r"(?<!^)(?=[A-Z])", "_", kind.strip("_")).lower()
    parts = [getattr(rule, field.name) for field in dataclasses.fields(rule)]
    inner = [words(part) for part in parts if isinstance(part, GradientTransformation)]
    if kind == "_NesterovCorrected":  # it corrects the filter that it is given by itself
        inner = [inner[0].removeprefix("bias_corrected(").removesuffix(")")]
    decay = [rule.name] if hasattr(rule, "one_minus_decay") else []
    return f"{name}({', '.join([*decay, *inner])})"


def _after(before: str, then: str) -> str:
    """What a chain of two says: running_max is told what it is the maximum of."""
    if before == "g":
        return then
    return f"running_max({before})" if then == "running_max()" else f"{then} of {before}"


def columns(optimizer: GradientTransformation) -> tuple[str, str, str]:
    """Direction, magnitude and additions of an optimizer."""
    direction, magnitude, before, after = "", "–", [], []
    for part in _parts(optimizer):
        rule = part.rule
        kind = type(rule).__name__
        if kind == "_ScaleByLearningRate":
            continue
        if kind == "_Quotient":
            direction, magnitude = words(rule.direction), _magnitude(rule.size)
        elif not direction and kind not in ("_AddDecayedWeights", "_Negate", "_Dampen"):
            direction = words(part)
        else:
            (after if direction else before).append(words(part))
    added = [f"before: `{', '.join(before)}`"] * bool(before) + [f"after: `{', '.join(after)}`"] * bool(after)
    return f"`{direction or 'g'}`", magnitude if magnitude == "–" else f"`{magnitude}`", "; ".join(added) or "–"


def _magnitude(size: GradientTransformation) -> str:
    rule = size.rule
    return words(rule.magnitude) if type(rule).__name__ == "_Root" else words(size) + " *"


def _parts(optimizer: GradientTransformation) -> list[GradientTransformation]:
    rule = optimizer.rule
    kind = type(rule).__name__
    if kind == "_Clocked":
        return _parts(rule.optimizer)
    if kind == "_Chain":
        return [part for each in rule.transforms for part in _parts(each)]
    if kind == "_Descend":  # Keras's order: weights shrink first, the rate enters the memory behind it
        decay = [] if rule.weight_decay is None else [gdjax.transforms.add_decayed_weights(0.0)]
        memory = _parts(rule.memory)
        return [*_parts(rule.steps), *memory, *decay]
    return [optimizer]


def table(head: str, makers: dict) -> str:
    """A Markdown table of optimizers, each with its defaults."""
    lines = [f"| {head} | direction | magnitude | what is added |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {' | '.join(columns(make()))} |" for name, make in makers.items()]
    return "\n".join(lines)


def made_in(module: object) -> dict:
    """The optimizers of a module by name, called with a learning rate."""
    made = {name: make for name, make in vars(module).items() if inspect.isfunction(make) and not name.startswith("_")}
    mine = {name: make for name, make in made.items() if make.__module__.startswith(module.__name__)}
    others = ("inverse_time_decay", "reduce_lr_on_plateau")
    return {name: functools.partial(make, 0.1) for name, make in mine.items() if name not in others}


def page() -> str:
    """The whole page."""
    family = made_in(optimizers)
    order = [name for name in ORDER if name in family] + sorted(set(family) - set(ORDER))
    return TEXT.format(
        family=table("optimizer", {name: family[name] for name in order}),
        torch=table("`presets.torch`", made_in(presets.torch)),
        keras=table("`presets.keras`", made_in(presets.keras)),
    )


ORDER = (
    *("gd", "momentum", "heavy_ball"),
    *("adagrad", "rmsprop", "adadelta"),
    *("adam", "adamw", "amsgrad", "adamax", "nadam", "radam", "adabelief", "yogi", "lamb"),
    "lion",
)
"""The order in which the story is told."""

if __name__ == "__main__":
    PAGE.write_text(page())
