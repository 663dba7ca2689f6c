"""What a model must beat: a constant answer, and a linear model."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from gdjax.data.regimes import full_batch
from gdjax.optimizers import adam
from gdjax.report.compare import compare

LINEAR_EPOCHS = 200


def baselines(task: Any) -> dict[str, dict[str, float]]:
    """Test loss and metrics of the constant and of the linear model of a task.

    The constant is the share of each class, or the mean, of the training targets. The linear model is the
    task's network without hidden layers, trained by full-batch Adam, its rate chosen on validation data.
    """
    x, y = task.test
    linear = dataclasses.replace(task, hidden=())
    y_train = task.train[1]
    if task.classes:
        shares = jnp.bincount(y_train, length=len(task.classes)) / len(y_train)
        answer = jnp.log(jnp.maximum(shares, 1e-7))
        constant = [{"w": jnp.zeros((x.shape[1], len(task.classes))), "b": answer}]
    else:
        constant = [{"w": jnp.zeros((x.shape[1], 1)), "b": jnp.mean(y_train)[None]}]
    best = compare(
        linear.loss, linear.init, linear.train, optimizers={"adam": adam}, regimes=[full_batch()],
        validation=linear.validation, test=linear.test, metrics=linear.metrics, epochs=LINEAR_EPOCHS, seeds=1,
    ).best  # fmt: skip
    scores = {name: float(metric(constant, (x, y))) for name, metric in linear.metrics.items()}
    return {
        "majority" if task.classes else "mean": {"loss": float(linear.loss(constant, (x, y))), **scores},
        "linear model": {
            "loss": best.interval(best.test_loss).mean,
            **{name: best.interval(values).mean for name, values in best.metrics.items()},
        },
    }
