import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import tasks
from gdjax.report import baselines as module
from gdjax.report.baselines import baselines


def test_of_a_regression(monkeypatch):
    task = tasks.load("diabetes", hidden=(4,))
    scores = baselines(task)
    (x, y), (x_test, y_test) = ((np.asarray(v, float) for v in part) for part in (task.train, task.test))
    assert scores["mean"]["loss"] == pytest.approx(np.mean((y_test - y.mean()) ** 2), rel=1e-4)
    assert scores["mean"]["RMSE"] == pytest.approx(task.target_scale * np.sqrt(scores["mean"]["loss"]), rel=1e-4)
    assert scores["mean"]["R²"] <= 1e-6
    weights = np.linalg.lstsq(np.c_[x, np.ones(len(x))], y, rcond=None)[0]
    expected = np.mean((np.c_[x_test, np.ones(len(x_test))] @ weights - y_test) ** 2)
    assert scores["linear model"]["loss"] == pytest.approx(expected, rel=0.05)


def test_constant_of_a_classification_is_the_share_of_each_class(monkeypatch):
    task = tasks.load("breast_cancer")
    # The linear model is another test's; here it need not be good.
    monkeypatch.setattr(module, "LINEAR_EPOCHS", 2)
    scores = baselines(dataclasses.replace(task, train=tuple(jnp.asarray(v) for v in task.train)))
    share = np.bincount(task.train[1]) / len(task.train[1])
    y = np.asarray(task.test[1])
    assert scores["majority"]["loss"] == pytest.approx(-np.log(share[y]).mean(), rel=1e-4)
    assert scores["majority"]["accuracy"] == pytest.approx(np.mean(y == share.argmax()), rel=1e-4)
    assert scores["majority"]["balanced accuracy"] == pytest.approx(0.5)
