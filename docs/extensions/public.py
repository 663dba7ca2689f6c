"""The reference: `.. public:: package` documents the public names that come from a package.

They are grouped by the file that they come from, under the idea that its docstring states, in the order in which the
package lists them. The build fails where a public name is on no page, or has no docstring.
"""

import dataclasses
import importlib
import inspect
from typing import Any

from docstrings import linked
from docutils import nodes
from docutils.statemachine import StringList
from names import public_names
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles


def _heading(file: str) -> tuple[str, str]:
    """A file's name as a title, and the first paragraph of its docstring."""
    doc = inspect.getdoc(importlib.import_module(file)) or ""
    return file.rsplit(".", 1)[-1].replace("_", " ").capitalize(), linked(doc.split("\n\n")[0].replace("\n", " "), file)


def _entry(name: str, thing: Any) -> list[str]:
    if inspect.isfunction(thing):
        return [f".. autofunction:: {name}", ""]
    if issubclass(thing, Exception):
        return [f".. autoexception:: {name}", ""]
    return [f".. autoclass:: {name}", "   :members:", *["   :undoc-members:"] * _has_fields(thing), ""]


def _has_fields(thing: object) -> bool:
    return dataclasses.is_dataclass(thing) or hasattr(thing, "_fields")


class Public(SphinxDirective):
    """`.. public:: gdjax.engine gdjax.data`: the public names that come from these packages or files."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """A section a file, with an entry for each name."""
        packages = tuple(f"{package}." for package in self.arguments[0].split())
        wanted = {name: thing for name, thing in public_names().items() if f"{thing.__module__}.".startswith(packages)}
        wanted = dict(sorted(wanted.items(), key=lambda item: inspect.isclass(item[1])))
        if not wanted:
            raise self.error(f"{self.arguments[0]} has no public name.")
        files = dict.fromkeys(thing.__module__ for thing in wanted.values())
        files = sorted(files, key=lambda file: file.endswith(".base"))  # what others rest on, few ask for
        lines = []
        for file in files:
            if len(files) > 1:
                title, idea = _heading(file)
                lines += [title, "-" * 60, "", idea, ""]
            for name, thing in wanted.items():  # functions, then the classes of what they return
                lines += _entry(name, thing) if thing.__module__ == file else []
        node = nodes.Element()
        content = StringList(lines, source=f"<public names of {self.arguments[0]}>")
        nested_parse_with_titles(self.state, content, node, self.content_offset)
        return node.children


def check(app: Sphinx, error: Exception | None) -> None:
    """Every public name must be in the inventory that sphinx has just written, and say what it is.

    Raises:
      ExtensionError: if one is not, or does not.
    """
    if error is not None or app.builder.name != "html":
        return
    objects = app.env.domains.python_domain.objects
    names = public_names()
    missing = [name for name in names if name not in objects]
    silent = [name for name, thing in names.items() if not _documented(thing)]
    if missing or silent:
        raise ExtensionError(f"public names on no page: {missing}; public names without a docstring: {silent}.")


def _documented(thing: object) -> bool:
    """Whether it has a docstring of its own; a dataclass without one gets its signature for one."""
    doc = thing.__doc__ or ""
    return bool(doc.strip()) and not doc.startswith(f"{thing.__name__}(")


def setup(app: Sphinx) -> dict:
    """The directive, and the check at the end of a build."""
    app.add_directive("public", Public)
    app.connect("build-finished", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
