"""What a run is, in words: so that nobody goes on from the checkpoint of another."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import platform
import re
import types
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gdjax.data.streams import Stream
from gdjax.transforms.base import GradientTransformation, Rule

Fingerprint = dict[str, str]
"""{what: in words}; the name of what comes first, and where in it, behind a dot or in brackets."""

MAY_CHANGE = ("epochs", "learning_rate", "hyperparameters", "early_stopping", "loss_fn", "versions")
"""What may be another when a run goes on, if its user says so."""

COMPLEMENT = "one_minus_"
"""What the name of 1 − β begins with."""

FEW = 8
"""Numbers of an array that are told one by one; of a larger one its digest is."""

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
"""It is another in every process."""

PACKAGES = ("gdjax", "jax", "jaxlib", "numpy", "optax")
"""Those whose versions may change a run's numbers."""


def described(name: str, value: Any, seen: tuple[int, ...] = ()) -> Fingerprint:
    """A value and what it is made of, in words that are the same in another process.

    Of functions the names, and what they close over; of those without a name of their own the code.
    """
    if id(value) in seen:
        return {name: "itself"}
    each = functools.partial(_each, name, seen=(*seen, id(value)))
    if isinstance(value, GradientTransformation):
        return described(name, value.rule, seen)
    if isinstance(value, functools.partial):
        return {name: "partial"} | each({"function": value.func, "arguments": value.args, **value.keywords})
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        label = value.label if isinstance(value, Rule) else str
        parts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        told = dict(_as_told(label(key), part) for key, part in parts.items())
        return {name: type(value).__name__.strip("_")} | each(told)
    if isinstance(value, Mapping):
        return {name: type(value).__name__} | each(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: type(value).__name__} | each(dict(zip(value._fields, value, strict=True)))
    if isinstance(value, list | tuple):
        return {name: f"{type(value).__name__} of {len(value)}"} | each(dict(enumerate(value)))
    if isinstance(value, np.ndarray) and value.dtype == object:
        return described(name, value.tolist(), seen)
    if isinstance(value, types.FunctionType):
        return {name: _qualified(value)} | each(_closed_over(value))
    if isinstance(value, types.MethodType):
        return {name: _qualified(value)} | each(getattr(value.__self__, "__dict__", {}))
    return {name: _word(value)}


def named(name: str, function: Any) -> Fingerprint:
    """A function of the user's, which may close over anything: by its name, and the numbers that it closes over."""
    if not isinstance(function, types.FunctionType):
        return {name: _word(function)} if not isinstance(function, functools.partial) else described(name, function)
    numbers = {key: part for key, part in _closed_over(function).items() if isinstance(part, bool | int | float | str)}
    return {name: _qualified(function)} | {f"{name}.{key}": repr(part) for key, part in numbers.items()}


def _as_told(name: str, value: Any) -> tuple[str, Any]:
    """A decay as its user told it: 1 − β is what an optimizer holds."""
    told = name.removeprefix(COMPLEMENT)
    return (told, float(f"{1 - value:.12g}")) if told != name and isinstance(value, float) else (name, value)


def _each(name: str, parts: Mapping, *, seen: tuple[int, ...]) -> Fingerprint:
    found: Fingerprint = {}
    for key, part in parts.items():
        found |= described(f"{name}.{key}", part, seen)
    return found


def _word(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        host = np.asarray(value)
        if host.size <= FEW:
            return repr(host.tolist())
        return f"{host.dtype}{list(host.shape)} {hashlib.sha256(host.tobytes()).hexdigest()[:12]}"
    if isinstance(value, np.generic):
        return _word(value.item())
    if isinstance(value, float):
        return repr(value).removesuffix(".0")  # optax makes floats of whole numbers as it goes
    if isinstance(value, set | frozenset):
        return f"{type(value).__name__} of {sorted(map(_word, value))}"
    if callable(value):
        return _qualified(value)
    return ADDRESS.sub("", repr(value))


def _qualified(function: Any) -> str:
    """A function's name, and where that says nothing a digest of its code."""
    name = getattr(function, "__qualname__", None)
    if name is None:
        return ADDRESS.sub("", repr(function))
    module = getattr(function, "__module__", None)
    if module and module != "__main__":  # which another process may have imported by its name
        name = f"{module}.{name}"
    if not name.endswith("<lambda>") or not isinstance(function, types.FunctionType):
        return name
    return f"{name} {hashlib.sha256(_of_code(function.__code__).encode()).hexdigest()[:12]}"


def _of_code(code: types.CodeType) -> str:
    """What a function does, without where it is written."""
    constants = [_of_code(each) if isinstance(each, types.CodeType) else _word(each) for each in code.co_consts]
    return repr((code.co_code.hex(), code.co_names, constants))


def _closed_over(function: types.FunctionType) -> dict[str, Any]:
    """{name: value} of what a function closes over, but for modules and classes."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            value = cell.cell_contents
        except ValueError:  # not filled yet
            continue
        if not isinstance(value, type | types.ModuleType):
            found[name] = value
    return found


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
        return {f"{name}.rows": "None"}
    count, example = (len(data), data.example) if isinstance(data, Stream) else (None, data)
    leaves = jax.tree_util.tree_flatten_with_path(example)[0]
    count = np.shape(leaves[0][1])[0] if count is None else count
    found = {f"{name}.rows": str(count)}
    for path, leaf in leaves:
        dtype = jax.dtypes.canonicalize_dtype(leaf.dtype)
        found[name + jax.tree_util.keystr(path)] = f"{dtype}{list(leaf.shape[1:])} a row"
    return found


def versions() -> Fingerprint:
    """Those of the packages that make the numbers, and their precision."""
    return {f"versions.{name}": importlib.metadata.version(name) for name in PACKAGES} | {
        "versions.python": platform.python_version(),
        "versions.x64": str(jax.config.jax_enable_x64),  # pyrefly: ignore[missing-attribute]
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
    if head == "early_stopping":
        return head in may_change and all(map(_is_number, change))
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
        **named("loss_fn", run.loss.function),
        **shapes("params", state.params),
        **shapes("model_state", state.model_state),
        **described("optimizer", run.optimizer),
        **shapes("optimizer's state", state.optimizer_state),
        **described("average", run.average),
        **described("early_stopping", run.early_stopping),
        **named("record", run.record),
        "metrics": ", ".join(metrics or ()) or "none",
        "non_finite": run.non_finite,
        "epochs": str(epochs),
        **versions(),
    }
