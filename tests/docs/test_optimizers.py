"""Each optimizer's page takes it apart: what its code puts together is the optimizer, number for number."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import optimizers

PAGES = pathlib.Path(__file__).parents[2] / "docs" / "optimizers"
NAMES = sorted(name for name in vars(optimizers) if callable(getattr(optimizers, name)))
STEPS = 50


def code_of(name):
    (code,) = re.findall(r"^```python\n(.*?)```", (PAGES / f"{name}.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return code


@jax.jit
def path(optimizer):
    """Parameters after each update, gradients being those of a valley and noise."""
    draw = np.random.default_rng(0)
    noise = {"a": jnp.asarray(draw.normal(size=(STEPS, 3))), "b": jnp.asarray(draw.normal(size=(STEPS, 2, 2)))}
    params = {"a": jnp.array([1.0, -2.0, 0.5]), "b": jnp.ones((2, 2))}

    def step(carry, noise):
        params, state = carry
        gradients = jax.tree.map(lambda p, n: 10 * p + n, params, noise)
        updates, state = optimizer.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        return (params, state), params

    return jax.lax.scan(step, (params, optimizer.init(params)), noise)[1]


def test_every_optimizer_has_a_page():
    pages = {page.stem for page in PAGES.glob("*.md")} - {"index"}
    assert pages == set(NAMES)
    index = (PAGES / "index.md").read_text("utf-8")
    assert all(f"[{name}]({name}.md)" in index for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_the_optimizer(name, x64):
    names = {}
    exec(code_of(name), names)
    page = (PAGES / f"{name}.md").read_text("utf-8")
    (call,) = re.findall(rf"`(gdjax\.{name}\([^`]*\))`[^`]*\bis this composition", page)
    optimizer = eval(call, {"gdjax": gdjax})
    parts, whole = path(names["optimizer"]), path(optimizer)
    assert not np.allclose(whole["a"][0], whole["a"][-1])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), parts, whole)
