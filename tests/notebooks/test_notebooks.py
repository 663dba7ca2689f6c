"""The notebooks run from top to bottom, in a kernel of their own, and are kept without what they printed.

Needs the extra `notebooks`.
"""

import os
import pathlib
import re
import time

import nbclient
import nbformat
import pytest

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
NAMES = [
    "01_first_steps",
    "02_three_regimes",
    "03_optimizers",
    "04_sweeps_and_batch_size",
    "05_many_devices_and_tpu",
]
ALLOWED_SECONDS = 180
EACH = pytest.mark.parametrize("name", NAMES)


def text(name):
    return (FOLDER / f"{name}.ipynb").read_text("utf-8")


def read(name):
    return nbformat.reads(text(name), as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_every_notebook_is_tested():
    assert sorted(path.stem for path in FOLDER.iterdir()) == NAMES


@EACH
def test_it_is_sound_and_stripped(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert text(name) == nbformat.writes(notebook, indent=1) + "\n"
    assert [cell.id for cell in notebook.cells] == [f"cell-{i:02}" for i in range(1, len(notebook.cells) + 1)]
    assert notebook.metadata.kernelspec == {"display_name": "Python 3", "language": "python", "name": "python3"}
    assert notebook.metadata.language_info == {"name": "python"}
    for cell in code(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
        assert set(cell.metadata) <= {"tags"}


@EACH
def test_it_begins_as_all_do(name):
    title, install, settings, devices = read(name).cells[:4]
    address = f"https://colab.research.google.com/github/gdjax/gdjax/blob/main/notebooks/{name}.ipynb"
    assert re.match(r"# .+\n\n\[!\[Open in Colab\]\(.+\)\]\((.+)\)\n\n.", title.source)[1] == address
    assert (install.metadata.tags, install.source) == (["install"], '%pip install -q "gdjax[demo]"')
    assert settings.metadata.tags == ["settings"]
    assert re.search(r"print\((jax\.)?devices(\(\))?\)$", devices.source)


@EACH
def test_what_it_links_to_is_there(name):
    for link in re.findall(r"https://[^)]*/blob/main/([^)]*)", text(name)):
        assert (FOLDER.parent / link).is_file(), link


def executed(name, folder, **environment):
    """(what a notebook printed, how many pictures it showed), its install cell left out."""
    notebook = read(name)
    notebook.cells = [cell for cell in notebook.cells if "install" not in cell.metadata.get("tags", [])]
    client = nbclient.NotebookClient(
        notebook, timeout=ALLOWED_SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    begun = time.perf_counter()
    client.execute(env=os.environ | {"JAX_PLATFORMS": "cpu"} | environment)
    assert time.perf_counter() - begun < ALLOWED_SECONDS
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    printed = {kind: "".join(o.text for o in outputs if o.get("name") == kind) for kind in ("stdout", "stderr")}
    assert printed["stderr"] == ""
    return printed["stdout"], sum("image/png" in output.get("data", {}) for output in outputs)


PICTURES = dict(zip(NAMES, [3, 3, 5, 5, 2], strict=True))

AGREES = {
    "01_first_steps": ["after two epochs: "],
    "03_optimizers": ["gdjax.adam: ", "optax.adam: "],
    "05_many_devices_and_tpu": ["at most "],
}
"""Words before a difference that rounding alone may make."""


def difference(printed, words):
    (number,) = re.findall(rf"{re.escape(words)}(\d\.\de[+-]\d\d)", printed)
    return float(number)


@EACH
def test_it_runs_from_top_to_bottom(name, tmp_path):
    printed, pictures = executed(name, tmp_path)
    assert "CpuDevice(id=0)" in printed
    assert pictures == PICTURES[name]
    assert not list(tmp_path.iterdir())
    for words in AGREES.get(name, []):
        assert difference(printed, words) < 1e-4


def test_many_devices_may_be_one(tmp_path):
    printed, _ = executed("05_many_devices_and_tpu", tmp_path, JAX_NUM_CPU_DEVICES="1")
    assert "CpuDevice(id=0)]" in printed
    assert difference(printed, "at most ") == 0
