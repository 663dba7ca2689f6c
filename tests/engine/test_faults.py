import re

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import gdjax
from gdjax.engine import fit as fit_module

X = np.ones((6, 2), np.float32)
Y = np.ones(6, np.float32)
BAD = np.array([1, np.nan, 2, 3, np.inf, 5], np.float32)


def squares(w, batch):
    return jnp.mean((batch["x"] @ w - batch["y"]) ** 2)


def train(data=None, **settings):
    settings = {"optimizer": gdjax.gd(0.1), "regime": gdjax.mini_batch(4), "epochs": 1} | settings
    data = {"x": X, "y": Y} if data is None else data
    return gdjax.fit(settings.pop("loss_fn", squares), settings.pop("params", jnp.zeros(2)), data, **settings)


FAULTS = {
    "empty dataset": ({"data": {"x": X[:0], "y": Y[:0]}}, ValueError, "`data` must have at least one row, got 0."),
    "no arrays": ({"data": {"x": None}}, ValueError, "`data` must hold at least one array, got {'x': None}."),
    "other lengths": (
        {"data": {"x": X, "y": Y[:5]}},
        ValueError,
        "`data['y']` must have as many rows as `data['x']`, 6, got 5.",
    ),
    "scalar leaf": (
        {"data": {"x": X, "y": np.float32(1)}},
        ValueError,
        "`data['y']` must have a leading axis of examples, got a scalar.",
    ),
    "number leaf": (
        {"data": {"x": X, "y": 1.0}},
        ValueError,
        "`data['y']` must have a leading axis of examples, got a scalar.",
    ),
    "objects": (
        {"data": {"x": X, "y": np.array([None] * 6)}},
        TypeError,
        "`data['y']` must be an array of numbers, got dtype object.",
    ),
    "strings": (
        {"data": {"x": X, "y": np.array(["a"] * 6)}},
        TypeError,
        "`data['y']` must be an array of numbers, got dtype <U1.",
    ),
    "dates": (
        {"data": {"x": X, "y": np.array(["2020-01-01"] * 6, "datetime64[D]")}},
        TypeError,
        "`data['y']` must be an array of numbers, got dtype datetime64[D].",
    ),
    "text": ({"data": {"x": X, "y": "labels"}}, TypeError, "`data['y']` must be an array, got 'labels'."),
    "NaN": ({"data": {"x": X, "y": BAD}}, ValueError, "`data['y']` must be finite, got 2 NaN or infinite of 6 numbers"),
    "NaN in bfloat16": (
        {"data": {"x": X, "y": BAD.astype(ml_dtypes.bfloat16)}},
        ValueError,
        "`data['y']` must be finite, got 2 NaN or infinite of 6 numbers",
    ),
    "NaN in validation": (
        {"validation": {"x": X, "y": BAD}},
        ValueError,
        "`validation['y']` must be finite, got 2 NaN or infinite of 6 numbers",
    ),
    "empty validation": (
        {"validation": {"x": X[:0], "y": Y[:0]}},
        ValueError,
        "`validation` must have at least one row, got 0.",
    ),
    "validation of other lengths": (
        {"validation": {"x": X, "y": Y[:5]}},
        ValueError,
        "`validation['y']` must have as many rows as `validation['x']`, 6, got 5.",
    ),
    "negative epochs": ({"epochs": -1}, ValueError, "`epochs` must be at least 0, got -1."),
    "half an epoch": ({"epochs": 1.5}, TypeError, "`epochs` must be an integer, got 1.5."),
    "too many epochs": ({"epochs": 2**30}, ValueError, "`epochs` must leave the run below 2**31 steps, got 1073741824"),
    "negative seed": ({"seed": -1}, ValueError, "`seed` must be at least 0, got -1."),
    "half a seed": ({"seed": 0.5}, TypeError, "`seed` must be an integer, got 0.5."),
    "several seeds": ({"seed": np.arange(3)}, (TypeError, ValueError), "`seed` must be"),
    "factory": (
        {"optimizer": gdjax.adam},
        TypeError,
        "`optimizer` must be a gradient transformation of gdjax or optax, got <function adam",
    ),
    "regime": ({"regime": 4}, TypeError, "`regime` must be made by full_batch, stochastic or mini_batch, got 4."),
    "loss": ({"loss_fn": None}, TypeError, "`loss_fn` must be a function of (params, batch), got None."),
    "metric": ({"metrics": {"m": 3}}, TypeError, "`m` must be a function of (params, batch), got 3."),
    "metrics": ({"metrics": lambda w, batch: 0.0}, TypeError, "`metrics` must be"),
    "record": ({"record": 3}, TypeError, "`record` must be a function, got 3."),
    "nothing trains": ({"params": {"n": 3}}, ValueError, "`params` must hold at least one float array to train, got"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_sentence_before_anything_is_compiled(fault):
    settings, error, message = FAULTS[fault]
    compiled = fit_module.advance._cache_size()
    with pytest.raises(error, match=f"^{re.escape(message)}") as caught:
        train(**settings)
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert ". " not in sentence
    assert "\n" not in sentence
    assert fit_module.advance._cache_size() == compiled


def test_the_finiteness_check_can_be_turned_off():
    result = train({"x": X, "y": BAD}, check_finite=False, non_finite="keep")
    assert np.isnan(result.history.loss).all()


def test_integers_and_booleans_are_data():
    def loss(w, batch):
        return jnp.mean((batch["n"].astype(jnp.float32) - w) ** 2 * batch["kept"].astype(jnp.float32))

    data = {"n": np.arange(6), "kept": np.arange(6) % 2 == 0}
    assert np.isfinite(train(data, loss_fn=loss, params=jnp.zeros(())).history.loss).all()
