"""`{explorer}` shows the explorer in the page; `{explorer} ko` in Korean.

Its pages are written beside the documentation when it is built.
"""

import pathlib

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gdjax.report import explorer

LANGUAGES = ("en", "ko")


class Explorer(SphinxDirective):
    """A frame with the explorer, and a link to it as a page of its own."""

    optional_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The frame and the link."""
        language = (self.arguments or ["en"])[0]
        up = "../" * self.env.docname.count("/")
        page = f"{up}_static/explorer-{language}.html"
        title, alone = {"en": ("Explorer", "On a page of its own"), "ko": ("탐색기", "별도 페이지로 보기")}[language]
        frame = f'<iframe class="explorer" src="{page}" title="{title}"></iframe><p><a href="{page}">{alone}</a></p>'
        return [nodes.raw("", frame, format="html")]


def write(app: Sphinx, error: Exception | None) -> None:
    """Writes the pages that the frames show."""
    if error is None and app.builder.name == "html":
        for language in LANGUAGES:
            file = pathlib.Path(app.outdir) / "_static" / f"explorer-{language}.html"
            file.write_text(explorer.page(language), "utf-8")


def setup(app: Sphinx) -> dict:
    """The directive, and its pages at the end of a build."""
    app.add_directive("explorer", Explorer)
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
