"""What the notebook on TPUs trains, compiled for the chip that Colab lends and for a host of eight.

Needs the extra `tpu`.
"""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax.engine.chips import topology
from gdjax.engine.plan import _Case

NOTEBOOK = pathlib.Path(__file__).parents[2] / "notebooks" / "05_many_devices_and_tpu.ipynb"
FEW = 64
"""Bytes of a loss that is exchanged by itself."""


@pytest.fixture(scope="module")
def names():
    """What the cells tagged `settings` and `define` define."""
    defined = {"print": lambda *_: None}
    with jax.numpy_rank_promotion("allow"), pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", "8")  # a notebook may set it; it is as before afterwards
        for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]:
            if {"settings", "define"} & set(cell["metadata"].get("tags", [])):
                exec("".join(cell["source"]), defined)
    return defined


RUNS = pytest.mark.parametrize(
    ("start", "run", "dtype"), [("init", "run", "float32"), ("init_16", "run_16", "bfloat16")]
)


def test_it_plans_for_the_chip_that_colab_lends(names):
    assert names["TOPOLOGIES"][0] == "v5e:1x1"


@RUNS
def test_what_the_notebook_trains_compiles_for_its_chip(names, start, run, dtype):
    plan = gdjax.plan(names["loss"], names[start], names["data"], **names[run], topology="v5e:1x1")
    numbers = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(names[start], jax.random.key(0))))
    assert plan.fits
    assert plan.devices == 1
    assert plan.parameters == numbers * jnp.dtype(dtype).itemsize
    assert plan.steps_per_epoch == -(-len(names["data"][1]) // names["BATCH_SIZE"])
    # forward, and backward twice: two operations a number and row each, but for the gradient of the images
    rows, hidden = names["BATCH_SIZE"], names["HIDDEN"]
    assert plan.flops > 2 * rows * (3 * numbers - 64 * hidden)
    assert not plan.collectives


@RUNS
@pytest.mark.parametrize("spread", [False, True], ids=["state copied", "ZeRO-1"])
def test_and_for_eight(names, start, run, dtype, spread):
    plan = gdjax.plan(
        names["loss"], names[start], names["data"], **names[run], topology="v5e:2x4", shard_optimizer_state=spread
    )
    assert plan.fits
    kinds = {each.kind for each in plan.collectives}
    assert kinds >= ({"all-gather"} if spread else {"all-reduce"})
    assert spread or [each.bytes > FEW for each in plan.collectives].count(True) == 1


@RUNS
def test_its_products_are_of_its_dtype(names, start, run, dtype):
    case = _Case(names["loss"], names[run]["optimizer"], names[start], None, names["data"], names[run]["regime"],
                 topology("v5e:1x1"), False)  # fmt: skip
    lowered = jax.jit(case.run.epoch, donate_argnums=0).lower(*case.arguments).as_text()
    products = [line for line in lowered.splitlines() if "stablehlo.dot_general" in line]
    letters = {"float32": "f32", "bfloat16": "bf16"}[dtype]
    assert products
    assert all(line.rstrip().endswith(f"x{letters}>") or f"x{letters}> loc" in line for line in products)
    assert np.isfinite(case.step().cost_analysis()["flops"])
