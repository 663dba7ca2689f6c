"""The README's Python runs as printed."""

import pathlib
import re

import numpy as np

README = pathlib.Path(__file__).parent.parent / "README.md"


def test_the_code_runs_as_printed():
    example, algebra = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    names = {"print": lambda *_: None}
    exec(example, names)
    losses = names["result"].history.loss
    assert losses[-1] < 0.5 * losses[0]
    exec("\n".join(line.removeprefix("  ") for line in algebra.splitlines()), names)
    np.testing.assert_array_equal(names["adam"].init(np.zeros(2)).count, 0)
