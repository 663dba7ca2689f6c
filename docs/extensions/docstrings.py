"""Docstrings as sphinx reads them: single backticks are code, and a link where they name what is public.

The formulas of docstrings are plain text, which is not to be taken for markup.
"""

import functools
import inspect
import re
from collections.abc import Collection
from typing import Any

from names import public_names
from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, GoogleDocstring

MARKUP = re.compile(r"([|*\\]|(?<=\w)_(?=\W|$))")
"""What stands in formulas and would mean something to sphinx."""

GOOGLE = Config(napoleon_use_rtype=False)


@functools.cache
def _targets() -> dict[str, str]:
    """Public names as people write them: whole, without `gdjax.`, and classes by their own name alone."""
    names = {}
    for name, thing in public_names().items():
        names[name] = names[name.removeprefix("gdjax.")] = name
        if inspect.isclass(thing):
            names.setdefault(thing.__name__, name)
    return names


def linked(text: str, module: str, arguments: Collection[str] = ()) -> str:
    """A text whose backticks are literals, or links to what they name in the module, or in all of gdjax."""

    def code(match: re.Match) -> str:
        name = match[1].removesuffix("()")
        target = _targets().get(f"{module}.{name}") or _targets().get(name)
        return f":py:obj:`{match[1]} <{target}>`" if target and name not in arguments else f"``{match[1]}``"

    parts = re.split(r"(`[^`]+`)", text)
    return "".join(
        re.sub("`([^`]+)`", code, part) if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts
    )


def rewrite(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Rewrites a docstring in place: text, then sections; its examples stay as they are."""
    module = name.rsplit(".", 1)[0]
    arguments = inspect.signature(thing).parameters if inspect.isfunction(thing) else ()
    blocks = re.split(r"(\n\s*>>> .*?(?=\n\s*\n|\Z))", "\n" + "\n".join(lines), flags=re.DOTALL)
    text = "".join(block if block.lstrip().startswith(">>>") else linked(block, module, arguments) for block in blocks)
    lines[:] = text[1:].split("\n")
    if what not in ("attribute", "property"):  # there "shape: what it is" is a sentence, not a type
        lines[:] = GoogleDocstring(lines, GOOGLE, what=what).lines()


def shortened(
    app: Sphinx, what: str, name: str, thing: Any, options: object, signature: str | None, returns: str | None
) -> tuple[str, str | None] | None:
    """Classes that users are handed and do not make have no signature here, and long tuples no numbers."""
    if what == "class" and thing.__name__ not in ("Budget", "Position"):
        return "", None
    return None if signature is None else (re.sub(r"=\([^()]{60,}\)", "=(…)", signature), returns)


def setup(app: Sphinx) -> dict:
    """Docstrings and signatures on their way into the reference."""
    app.connect("autodoc-process-docstring", rewrite)
    app.connect("autodoc-process-signature", shortened)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
