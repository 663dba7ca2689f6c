import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules
from gdjax.transforms import reduce_on_plateau

DATA = np.arange(22, dtype=np.float32) / 22
HELD_OUT = np.linspace(2, 3, 7, dtype=np.float32)
REGIME = gdjax.mini_batch(5, shuffle=False)
"""Five steps an epoch."""


def squares(w, batch, *, training):
    return jnp.mean((w - batch) ** 2) * (1.0 if training else 10.0)


def steady(w, batch, *, training):
    """Training falls and validation stands still."""
    return jnp.sum(w) if training else 0 * jnp.sum(w) + 1.0


def hidden(w, batch, *, training):
    """Training seems to stand still and validation falls."""
    now = jnp.sum(w)
    return now - jax.lax.stop_gradient(now) + 1.0 if training else now


def train(loss_fn=squares, optimizer=None, *, epochs=3, params=None, **settings):
    optimizer = gdjax.gd(0.01) if optimizer is None else optimizer
    params = jnp.zeros(1) if params is None else params
    return gdjax.fit(loss_fn, params, DATA, optimizer=optimizer, regime=REGIME, epochs=epochs, **settings)


def test_shapes_and_contents():
    result = train(
        validation=HELD_OUT,
        metrics={"mean": lambda w, batch: jnp.mean(batch), "weight": lambda w, batch: jnp.sum(w)},
        record=lambda w, g, u, s: {"gradient": g, "ratio": jnp.sum(u / g), "weight": w},
    )
    history = result.history
    assert history.loss.shape == history.validation_loss.shape == (3,)
    assert history.step_loss.shape == history.learning_rate.shape == history.recorded["ratio"].shape == (15,)
    assert history.recorded["gradient"].shape == history.recorded["weight"].shape == (15, 1)
    assert all(
        isinstance(column, np.ndarray)
        for column in (history.loss, history.step_loss, history.learning_rate, history.validation_loss)
    )
    rows = np.array([5, 5, 5, 5, 2])
    np.testing.assert_allclose(history.loss, history.step_loss.reshape(3, 5) @ rows / 22, rtol=1e-5)
    np.testing.assert_allclose(history.learning_rate, 0.01)
    np.testing.assert_allclose(history.recorded["ratio"], -0.01, rtol=1e-5)
    assert history.recorded["weight"][0] == 0  # what is recorded is before the update
    np.testing.assert_allclose(history.metrics["mean"], HELD_OUT.mean(), rtol=1e-6)  # metrics look at validation
    assert history.metrics["weight"][-1] == result.params[0]
    expected = [squares(np.float32(w), HELD_OUT, training=False) for w in history.metrics["weight"]]
    np.testing.assert_allclose(history.validation_loss, expected, rtol=1e-6)


def test_metrics_without_validation_look_at_the_training_data():
    history = train(metrics={"mean": lambda w, batch: jnp.mean(batch)}).history
    np.testing.assert_allclose(history.metrics["mean"], np.full(3, DATA.mean()), rtol=1e-6)
    assert history.validation_loss is None


def test_no_epochs():
    result = train(epochs=0, validation=HELD_OUT, metrics={"m": lambda w, x: jnp.sum(w)}, params=jnp.array([7.0]))
    history = result.history
    assert result.params.tolist() == [7.0]
    assert not result.interrupted
    columns = (history.loss, history.step_loss, history.learning_rate, history.validation_loss, history.metrics["m"])
    assert [column.shape for column in columns] == [(0,)] * 5


RATES = {
    "number": (0.5, [0.5] * 15),
    "by step": (schedules.step_decay(0.8, 4), [0.8 * 0.5 ** (t // 4) for t in range(15)]),
    "by epoch": (schedules.per_epoch(schedules.step_decay(0.8, 1)), [0.8 * 0.5 ** (t // 5) for t in range(15)]),
    "within epochs": (
        schedules.per_epoch(schedules.exponential_decay(0.8, 1, 0.5)),
        [0.8 * 0.5 ** (t / 5) for t in range(15)],
    ),
    "function": (lambda t: 0.1 * (t.astype(jnp.float32) + 1), [0.1 * (t + 1) for t in range(15)]),
}


@pytest.mark.parametrize("kind", RATES)
def test_the_learning_rate_that_acted_is_recorded(kind):
    rate, expected = RATES[kind]
    record = lambda w, g, u, s: {"acted": -jnp.sum(u / g)}  # noqa: E731
    history = train(lambda w, x: jnp.sum(w) + jnp.mean(x), gdjax.gd(rate), record=record).history
    np.testing.assert_allclose(history.learning_rate, expected, rtol=1e-5)
    np.testing.assert_allclose(history.recorded["acted"], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("loss_fn", "validation", "expected"),
    [
        (steady, None, [1, 1, 1, 1, 1]),
        (steady, HELD_OUT, [1, 1, 1, 0.5, 0.5]),  # epoch 0 was the best, epochs 1 and 2 were bad
        (hidden, None, [1, 1, 1, 0.5, 0.5]),
        (hidden, HELD_OUT, [1, 1, 1, 1, 1]),
    ],
)
def test_plateau_cuts_at_the_exact_epoch(loss_fn, validation, expected):
    optimizer = gdjax.chain(gdjax.gd(0.1), reduce_on_plateau(0.5, patience=2))
    history = train(loss_fn, optimizer, epochs=5, validation=validation).history
    assert history.learning_rate.shape == (25,)
    np.testing.assert_allclose(history.learning_rate, 0.1 * np.repeat(expected, 5), rtol=1e-6)
