"""`{example} nnx` shows the script of `examples/` whose name has that word."""

import pathlib

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

FOLDER = pathlib.Path(__file__).parents[2] / "examples"


class Example(SphinxDirective):
    """The script, under its name; nothing where there is none."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """A heading line and the code, a script each."""
        shown: list[nodes.Node] = []
        for script in sorted(FOLDER.glob(f"*{self.arguments[0]}*.py")):
            self.env.note_dependency(str(script))
            code = script.read_text("utf-8")
            words = nodes.paragraph(
                "",
                "",
                nodes.Text("The whole as a script, "),
                nodes.literal("", f"examples/{script.name}"),
                nodes.Text(":"),
            )
            shown += [words, nodes.literal_block(code, code, language="python")]
        return shown


def setup(app: Sphinx) -> dict:
    """The directive."""
    app.add_directive("example", Example)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
