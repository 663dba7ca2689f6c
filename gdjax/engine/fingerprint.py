"""What a run is, in words: so that nobody goes on from the checkpoint of another."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax

from gdjax.data.streams import Stream
from gdjax.transforms.base import GradientTransformation

Fingerprint = dict[str, str]
"""{what: in words}; the name of what comes first, and where in it, behind a dot or in brackets."""

MAY_CHANGE = ("epochs", "learning_rate", "hyperparameters", "loss_fn", "versions")
"""What may be another when a run goes on, if its user says so."""

COMPLEMENT = "one_minus_"
"""What the name of 1 − β begins with."""

PACKAGES = ("gdjax", "jax", "jaxlib", "numpy", "optax")
"""Those whose versions may change a run's numbers."""


def described(name: str, value: Any) -> Fingerprint:
    """A value and what it is made of, in words that are the same in another process."""
    if isinstance(value, GradientTransformation):
        return described(name, value.rule)
    if isinstance(value, optax.GradientTransformation):
        return {name: f"{_qualified(value.init)}, {_qualified(value.update)}"}
    if isinstance(value, functools.partial):
        parts = {"function": value.func, "arguments": value.args, **value.keywords}
        return {name: "partial"} | _each(name, parts)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        label = getattr(value, "label", str)
        parts = dict(_as_told(label(key), part) for key, part in fields.items())
        return {name: type(value).__name__.strip("_")} | _each(name, parts)
    if isinstance(value, Mapping):
        return {name: type(value).__name__} | _each(name, value)
    if isinstance(value, list | tuple):
        return {name: f"{type(value).__name__} of {len(value)}"} | _each(name, dict(enumerate(value)))
    return {name: _word(value)}


def _as_told(name: str, value: Any) -> tuple[str, Any]:
    """A decay as its user told it: 1 − β is what an optimizer holds."""
    told = name.removeprefix(COMPLEMENT)
    return (told, float(f"{1 - value:.12g}")) if told != name and isinstance(value, float) else (name, value)


def _each(name: str, parts: Mapping) -> Fingerprint:
    found: Fingerprint = {}
    for key, part in parts.items():
        found |= described(f"{name}.{key}", part)
    return found


def _word(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array) and value.ndim:
        host = np.asarray(value)
        return f"{host.dtype}{list(host.shape)} {hashlib.sha256(host.tobytes()).hexdigest()[:12]}"
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return repr(np.asarray(value).item())
    if callable(value):
        return _qualified(value)
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an address is another in every process


def _qualified(function: Any) -> str:
    """A function's name, with what it closes over if those are numbers or words."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(function))
    module = getattr(function, "__module__", None)
    if module and module != "__main__":  # which another process may have imported by its name
        name = f"{module}.{name}"
    if not isinstance(function, types.FunctionType) or not function.__closure__:
        return name
    cells = zip(function.__code__.co_freevars, function.__closure__, strict=True)
    kept = {key: value for key, cell in cells if (value := _contents(cell)) is not None}
    numbers = [f"{key}={value!r}" for key, value in kept.items() if isinstance(value, int | float | str)]
    return f"{name}({', '.join(numbers)})" if numbers else name


def _contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return None


def shapes(name: str, tree: Any) -> Fingerprint:
    """{path: dtype and shape} of a tree's arrays, and what kind of thing its other leaves are."""
    found: Fingerprint = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        place = name + jax.tree_util.keystr(path)
        found[place] = f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else _word(leaf)
    return found


def rows(name: str, data: Any) -> Fingerprint:
    """{path: dtype and shape of a row}, and how many rows there are."""
    if data is None:
        return {name: "None"}
    count, example = (len(data), data.example) if isinstance(data, Stream) else (None, data)
    leaves = jax.tree_util.tree_flatten_with_path(example)[0]
    count = np.shape(leaves[0][1])[0] if count is None else count
    found = {f"{name} rows": f"{count:,} rows"}
    for path, leaf in leaves:
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
        found[name + jax.tree_util.keystr(path)] = f"{dtype}{list(leaf.shape[1:])} a row"
    return found


def versions() -> Fingerprint:
    """Those of the packages that make the numbers, and their precision."""
    return {f"versions.{name}": importlib.metadata.version(name) for name in PACKAGES} | {
        "versions.x64": str(jax.config.jax_enable_x64)  # pyrefly: ignore[missing-attribute]
    }


def differences(before: Fingerprint, now: Fingerprint) -> dict[str, tuple[str, str]]:
    """{what: (before, now)}; of what is made of parts only the outermost that differs."""
    found: dict[str, tuple[str, str]] = {}
    for name in [*before, *(name for name in now if name not in before)]:
        old, new = before.get(name, "nothing"), now.get(name, "nothing")
        if old != new and not any(re.match(re.escape(outer) + r"[.\[]", name) for outer in found):
            found[name] = old, new
    return found


def permitted(name: str, change: tuple[str, str], may_change: tuple[str, ...]) -> bool:
    """Whether what differs, from what to what, may differ."""
    head, *parts = re.split(r"\.|(?=\[)", name)
    if head in may_change or (head == "optimizer" and "learning_rate" in may_change and "learning_rate" in parts):
        return True
    return head == "optimizer" and "hyperparameters" in may_change and all(map(_is_number, change))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def sentence(changes: dict[str, tuple[str, str]]) -> str:
    """Changes in words."""
    return ", ".join(f"{name} from {old} to {new}" for name, (old, new) in changes.items())


def of_run(
    run: Any, *, seed: str, state: Any, data: Any, validation: Any, epochs: int, metrics: Mapping[str, Callable] | None
) -> Fingerprint:
    """All that makes a run what it is; of the data and the parameters the shapes only.

    Args:
      run: a `Training`.
      seed: in words.
      state: its state before the first step.
      data: what it is trained on.
      validation: what it is judged on.
      epochs: how many it shall have.
      metrics: what else is judged.
    """
    return {
        "regime": str(run.regime),
        **rows("data", data),
        **rows("validation", validation),
        "seed": seed,
        "loss_fn": _word(run.loss.function),
        **shapes("params", state.params),
        **shapes("model_state", state.model_state),
        **described("optimizer", run.optimizer),
        **shapes("optimizer's state", state.optimizer_state),
        **described("average", run.average),
        **described("early_stopping", run.early_stopping),
        "record": _word(run.record),
        "metrics": ", ".join(metrics or ()) or "none",
        "non_finite": run.non_finite,
        "epochs": str(epochs),
        **versions(),
    }
