"""The page on moving over from PyTorch: both of its programs end at the same weights."""

import pathlib
import re

import jax
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.peers

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "howto" / "pytorch.md"
WEIGHTS = {"0.weight": ("hidden", "w"), "0.bias": ("hidden", "b"), "2.weight": ("out", "w"), "2.bias": ("out", "b")}


class Rows:
    """Batches in the order of a run with seed 0, epoch after epoch."""

    def __init__(self, x, y, regime):
        self.x, self.y, self.regime, self.epoch = x, y, regime, 0

    def __iter__(self):
        order = np.array(self.regime.order(len(self.y), seed=0, epoch=self.epoch))
        self.epoch += 1
        for first in range(0, len(order), self.regime.batch_size):
            ids = order[first : first + self.regime.batch_size]
            yield self.x[ids], self.y[ids]


def test_both_programs_of_the_page_end_at_the_same_weights():
    page = PAGE.read_text("utf-8")
    (theirs,) = re.findall(r"^```py\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    ours = re.search(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[1]
    here = {"print": lambda *_: None}
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        exec(ours, here)
        start = (
            here["gdjax"]
            .training(here["loss"], optimizer=here["presets"].adam(), regime=here["gdjax"].mini_batch(64))
            .init(here["init"], seed=0)
        )
    x, y = (torch.tensor(np.array(part)) for part in here["digits"].train)
    there = {"x": x, "y": y.long()}
    setup, loop = theirs.split("\nfor epoch", 1)
    exec(setup, there)
    with torch.no_grad():
        for name, weights in there["model"].named_parameters():
            layer, kind = WEIGHTS[name]
            weights.copy_(torch.tensor(np.array(start.params[layer][kind]).T))
    there["rows"] = Rows(x, y.long(), here["gdjax"].mini_batch(64))
    exec(f"for epoch{loop}", there)
    assert there["rows"].epoch == 15
    for name, weights in there["model"].named_parameters():
        layer, kind = WEIGHTS[name]
        expected, begun = np.array(here["result"].params[layer][kind]).T, np.array(start.params[layer][kind]).T
        np.testing.assert_allclose(weights.detach().numpy(), expected, atol=2e-3)
        assert np.abs(expected - begun).max() > 0.05
