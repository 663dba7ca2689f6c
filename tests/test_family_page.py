"""docs/family.md is what the optimizers say of themselves."""

import importlib.util
import pathlib

DOCS = pathlib.Path(__file__).parents[1] / "docs"


def family():
    spec = importlib.util.spec_from_file_location("family", DOCS / "family.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_up_to_date():
    assert (DOCS / "family.md").read_text() == family().page(), "run `python docs/family.py`"


def test_the_columns_follow_the_composition():
    import gdjax

    columns = family().columns
    assert columns(gdjax.gd(0.1)) == ("`g`", "–", "–")
    assert columns(gdjax.rmsprop(0.1, centered=True, momentum=0.9)) == (
        "`g`",
        "`ema_of_variance(decay)`",
        "after: `accumulate(momentum)`",
    )
