"""Comparisons made up by hand, for what needs no training: words, files and pictures."""

import numpy as np
import pytest

from gdjax.data.regimes import mini_batch
from gdjax.report.rows import Budget, Comparison, Curves, Row

RATES = (0.01, 0.1, 1.0)


@pytest.fixture
def made_row():
    """A row of three rates and as many seeds as `losses` has numbers; the chosen rate is the middle one."""

    def make(optimizer="gd", losses=(0.3, 0.4, 0.5), *, diverged=(), regime=None, rates=RATES, **changes):
        losses = np.asarray(losses, float)
        shape = (len(rates), len(losses))
        final = np.broadcast_to(losses, shape)
        validation = np.stack([np.ones(shape), (1 + final) / 2, final], axis=-1)
        lost = np.zeros(shape, bool)
        lost[1, list(diverged)] = True
        curves = Curves(
            rates=np.asarray(rates), updates=np.asarray([0, 4, 8]), validation_loss=validation,
            learning_rate=np.full_like(validation, rates[1]), gradient_norm=validation, params={},
            diverged=lost, seconds=1.8,
        )  # fmt: skip
        values = {
            "optimizer": optimizer, "regime": regime or mini_batch(5), "schedule": None,
            "learning_rate": rates[1], "customary_rate": rates[0], "curves": curves, "chosen": 1,
            "test_loss": final, "metrics": {"accuracy": 1 - final},
            "examples": np.asarray([0, 20, 40]), "tied": True, "at_edge": False, "compile_seconds": 2.5,
        }  # fmt: skip
        return Row(**values | changes)

    return make


@pytest.fixture
def made():
    """A comparison of rows."""

    def make(*rows, baselines=None, target=0.45, budget=None):
        budget = budget or Budget("epochs", 2)
        return Comparison(rows, baselines or {}, budget, target, rows[0].seeds, 3.0)

    return make
