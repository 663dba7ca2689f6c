"""The explorer: batch, mini-batch and stochastic descent as a page that computes them in the browser.

`descent.js` is the mathematics, in float64 and with the orders of gdjax's own epochs; `explorer.js` shows it. The page
needs nothing but itself: no network, no library.
"""

import html
import json
from importlib import resources
from string import Template
from typing import Any

import numpy as np

from gdjax import checks
from gdjax.report.plots import regression


def facts() -> dict[str, Any]:
    """The regression of `plots.plot_paths`, in the axes of its valley, the flat one first: {"x", "y"}, float64."""
    x, y = (array.astype(np.float64) for array in regression())
    _, vectors = np.linalg.eigh(x.T @ x / len(x))
    x = x @ vectors
    x = x * np.sign(x.T @ y)  # an eigenvector's sign is anybody's; here both inputs rise with the target
    return {"x": x.tolist(), "y": y.tolist()}


def section(language: str = "en", *, level: int = 2) -> str:
    """The explorer as a part of another page: HTML whose styles and scripts touch nothing outside of it.

    Args:
      language: "en" or "ko"; the reader can change it.
      level: of its heading, in [1, 5]; those within are one lower.

    Raises:
      ValueError: if an argument is out of range.
    """
    words = json.loads(_read("words.json"))
    checks.choice("language", language, tuple(words))
    level = checks.integer("level", level, least=1, most=5)
    body = Template(_read("explorer.html")).substitute(
        language=language, level=level, inner=level + 1, facts=_embedded({"data": facts(), "words": words})
    )
    styles = f"<style>\n{_read('explorer.css')}</style>"
    scripts = [f"<script>\n{_read(name)}</script>" for name in ("descent.js", "explorer.js")]
    return "\n".join([styles, body, *scripts])


def page(language: str = "en") -> str:
    """The explorer as a whole HTML page that works offline.

    Args:
      language: "en" or "ko"; the reader can change it.

    Raises:
      ValueError: if it is another.
    """
    body = section(language, level=1)
    title = html.escape(json.loads(_read("words.json"))[language]["title"])
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n"
        f"<style>body {{ margin: 0; background: light-dark(#fff, #161616) }}</style>\n"
        f"</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _embedded(value: Any) -> str:
    """JSON that no script element ends within."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")


def _read(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text(encoding="utf-8")
