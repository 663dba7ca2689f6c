"""Wheel and sdist are built, hold what they must, and work in an empty environment, outside the repository.

Needs the extra `packaging`, and whatever pip installs from.
"""

import os
import pathlib
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import gdjax

ROOT = pathlib.Path(__file__).parents[2]
SMOKE = """
import importlib.metadata
import pathlib
import sys

import jax.numpy as jnp

import gdjax

package = pathlib.Path(gdjax.__file__).parent
assert package.is_relative_to(sys.prefix), package
assert (package / "py.typed").is_file()
assert importlib.metadata.version("gdjax") == gdjax.__version__
assert callable(gdjax.compare if "demo" in sys.argv else gdjax.sweep)  # what is imported later came along

x = jnp.linspace(-1, 1, 50)
result = gdjax.fit(
    lambda line, batch: jnp.mean((line["slope"] * batch[0] + line["intercept"] - batch[1]) ** 2),
    {"slope": jnp.zeros(()), "intercept": jnp.zeros(())},
    (x, 3 * x - 2),
    optimizer=gdjax.adam(0.1),
    regime=gdjax.mini_batch(8),
    epochs=100,
)
print(f"{result.params['slope']:.3f} {result.params['intercept']:.3f}")
"""
"""What must work wherever gdjax is installed: it is the installed one, and it fits a line."""


def run(*command, folder, code=0):
    """What a command prints, started in a folder that knows nothing of the repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, sdist); the wheel is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, folder=folder)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def environments(built, tmp_path_factory):
    """A function that installs a file of ours with extras into an environment of its own: the folder of its scripts."""

    def made(file, extras=""):
        folder = tmp_path_factory.mktemp("environment")
        venv.create(folder, with_pip=True)
        scripts = folder / ("Scripts" if os.name == "nt" else "bin")
        run(scripts / "python", "-m", "pip", "install", "-q", f"{file}{extras}", folder=folder)
        return scripts

    return made


def of_the_package():
    """Files of the package, code and what it shows."""
    files = (path for path in (ROOT / "gdjax").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(ROOT).as_posix() for path in files}


def test_the_wheel_holds_the_whole_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert "gdjax/py.typed" in names
    assert names == of_the_package()
    assert f"Version: {gdjax.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_sdist_holds_what_builds_tests_and_explains_it(built):
    with tarfile.open(built[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert of_the_package() <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "tests/conftest.py"} <= names
    assert not [name for name in names if "__pycache__" in name or name.startswith((".git/", ".venv"))]


def test_the_citation_is_of_this_version():
    lines = (ROOT / "CITATION.cff").read_text("utf-8").splitlines()
    assert f"version: {gdjax.__version__}" in lines


def test_the_wheel_alone_works_in_an_empty_environment(built, environments, tmp_path):
    scripts = environments(built[0])
    assert run(scripts / "python", "-c", SMOKE, folder=tmp_path) == "3.000 -2.000\n"
    for command in ([scripts / "gdjax"], [scripts / "python", "-m", "gdjax"]):
        said = run(*command, "--help", folder=tmp_path, code=2)
        assert said == "gdjax: the command line needs tyro, got none: pip install 'gdjax[demo]'.\n"


def test_the_sdist_with_the_command_line_works_in_an_empty_environment(built, environments, tmp_path):
    scripts = environments(built[1], "[demo]")
    assert run(scripts / "python", "-c", SMOKE, "demo", folder=tmp_path) == "3.000 -2.000\n"
    for command in ([scripts / "gdjax"], [scripts / "python", "-m", "gdjax"]):
        assert run(*command, "--version", folder=tmp_path) == f"gdjax {gdjax.__version__}\n"
        assert "compare" in run(*command, "--help", folder=tmp_path)
    run(scripts / "gdjax", "compare", "--data", "moons", "--epochs", 2, "--seeds", 2, "--optimizers", "gd",
        "--out", tmp_path / "out", folder=tmp_path)  # fmt: skip
    assert (tmp_path / "out" / "comparison.csv").is_file()
