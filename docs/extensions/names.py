"""What is public: the names that the packages list, and the classes of what these return."""

import functools
import importlib
import inspect
import typing
from collections.abc import Iterator

MODULES = (
    "gdjax",
    "gdjax.transforms",
    "gdjax.schedules",
    "gdjax.data",
    "gdjax.sweeps",
    "gdjax.report",
    "gdjax.report.explorer",
    "gdjax.tasks",
    "gdjax.presets.torch",
    "gdjax.presets.keras",
)
"""Whose names are public; the first that has an object gives it its name."""

INNER = ("Callee", "CompensatedSum", "Held", "RoundKeys", "Sharding")
"""Classes that what users are handed is made of, and that no user looks into."""


def _names_of(module_name: str) -> Iterator[tuple[str, object]]:
    module = importlib.import_module(module_name)
    for name in [*vars(module), *(name for name in dir(module) if name not in vars(module))]:
        thing = getattr(module, name)
        if name.startswith("_") or inspect.ismodule(thing) or not (inspect.isfunction(thing) or inspect.isclass(thing)):
            continue
        listed = hasattr(module, "__path__")  # a package lists what is public; a file has it, among what it imports
        if thing.__module__.startswith("gdjax") and (listed or thing.__module__ == module_name):
            yield f"{module_name}.{name}", thing


def _classes_in(annotation: object) -> Iterator[type]:
    if isinstance(annotation, type) and annotation.__module__.startswith("gdjax"):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _classes_in(part)


def _handed_by(thing: object) -> Iterator[type]:
    """The classes of gdjax that a function returns, or that a class has."""
    functions = [thing]
    if inspect.isclass(thing):
        functions = [getattr(part, "fget", part) for name, part in vars(thing).items() if not name.startswith("_")]
        for annotation in typing.get_type_hints(thing).values():
            yield from _classes_in(annotation)
    for function in filter(inspect.isfunction, functions):
        yield from _classes_in(typing.get_type_hints(function).get("return"))


@functools.cache
def public_names() -> dict[str, object]:
    """Everything public by its full name: what the modules list, and the classes of what that returns."""
    found: dict[str, object] = {}
    for module in MODULES:
        found |= {name: thing for name, thing in _names_of(module) if thing not in found.values()}
    waiting = list(found.values())
    while waiting:
        for cls in _handed_by(waiting.pop()):
            if cls not in found.values() and cls.__name__ not in INNER:
                found[f"{cls.__module__}.{cls.__name__}"] = cls
                waiting.append(cls)
    return found
