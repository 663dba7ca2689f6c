"""The code cells of a page in MyST markdown."""

import pathlib
import re

CELL = re.compile(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OPTIONS = re.compile(r"\A(?::[\w-]+:[^\n]*\n)+")


def cells(path: pathlib.Path) -> list[str]:
    """The code of each cell, without its options (`:tags: [hide-input]`)."""
    return [OPTIONS.sub("", code) for code in CELL.findall(path.read_text("utf-8"))]
