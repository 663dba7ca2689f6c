import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax

DATA = np.arange(8, dtype=np.float32)


def train(loss_fn, *, epochs=3, params=None, regime=None, **settings):
    params = jnp.zeros(1) if params is None else params
    regime = gdjax.mini_batch(3, shuffle=False) if regime is None else regime
    return gdjax.fit(loss_fn, params, DATA, optimizer=gdjax.gd(0.1), regime=regime, epochs=epochs, **settings)


def drawn(w, batch, *, key):
    """A loss that is its key."""
    return jax.random.uniform(key) + 0 * jnp.sum(w)


def counted(w, batch, *, model_state):
    return jnp.mean((w - batch) ** 2), model_state + jnp.float32(len(batch))


def test_keys_are_fresh_each_step_and_follow_the_seed():
    first, again, other = (train(drawn, seed=seed).history.step_loss for seed in (0, 0, 1))
    assert first.shape == (9,)
    assert len(set(first.tolist()) | set(other.tolist())) == 18
    assert first.tolist() == again.tolist()


def test_training_is_true_in_updates_and_false_in_evaluations():
    def loss(w, batch, *, training):
        assert type(training) is bool
        return jnp.sum(w) * 0 + (1.0 if training else 2.0)

    def metric(w, batch, *, training):
        return 3.0 if training else 4.0

    history = train(loss, validation=DATA[:2], metrics={"mode": metric}).history
    assert history.loss.tolist() == [1.0] * 3
    assert history.validation_loss.tolist() == [2.0] * 3
    assert history.metrics["mode"].tolist() == [4.0] * 3


def test_model_state_is_threaded_through_the_steps():
    result = train(counted, model_state=jnp.float32(100), validation=DATA[:2])
    assert float(result.state.model_state) == 100 + 3 * 8  # evaluations leave it alone
    assert result.history.validation_loss.shape == (3,)


def test_init_function_makes_the_model_state():
    def init(key):
        return jax.random.normal(key, 1), jnp.float32(5)

    result = train(counted, params=init)
    assert float(result.state.model_state) == 5 + 3 * 8


def test_metrics_see_the_model_state():
    def seen(w, batch, *, model_state):
        return model_state

    result = train(counted, model_state=jnp.float32(0), metrics={"seen": seen})
    assert result.history.metrics["seen"].tolist() == [8.0, 16.0, 24.0]


def test_extras_with_defaults_and_partials():
    def loss(w, batch, scale=2.0, *, shift=1.0):
        return 0 * jnp.sum(w) + scale + shift

    assert train(loss, epochs=1).history.loss.tolist() == [3.0]
    assert train(functools.partial(loss, scale=5.0), epochs=1).history.loss.tolist() == [6.0]
    assert train(jax.jit(loss), epochs=1).history.loss.tolist() == [3.0]


def test_an_unknown_extra_is_refused():
    def loss(w, batch, *, temperature):
        return jnp.mean((w - batch) ** 2)

    with pytest.raises(TypeError, match=r"`loss_fn` may ask for .* key, training, model_state, got `temperature`\."):
        train(loss)
    with pytest.raises(TypeError, match=r"`hardness` may ask for .* got `temperature`\."):
        train(drawn, metrics={"hardness": loss})


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (
            lambda w, x: (w - x) ** 2,
            ValueError,
            r"`loss_fn` must return a scalar.*shape \(3,\).*batch of shapes \(3,\)",
        ),
        (lambda w, x: jnp.sum(w, keepdims=True), ValueError, r"must return a scalar.*got an array of shape \(1,\)"),
        (lambda w, x: jnp.sum(x > w), TypeError, "must return a real float, got dtype int32"),
        (lambda w, x: jnp.sum(w).astype(jnp.complex64), TypeError, "must return a real float, got dtype complex64"),
        (lambda w, x: None, TypeError, r"`loss_fn` must return a float scalar, got None.*\(3,\)"),
        (lambda w, x: (jnp.sum(w), {}), TypeError, r"`loss_fn` must return a float scalar"),
        (lambda w, x, *, model_state: jnp.sum(w), TypeError, r"must return \(loss, model_state\)"),
        # A loss that breaks on the batch: whatever it raises, the batch's shapes are told.
        (lambda w, x: jnp.sum(w) * x["rows"][0], (TypeError, ValueError, IndexError), r"shapes? .*\(3,\)"),
    ],
)
def test_a_wrong_loss_is_refused(loss, error, message):
    with pytest.raises(error, match=message):
        train(loss, model_state={})


def test_a_loss_with_a_model_state_is_given_one():
    with pytest.raises(TypeError, match="`model_state` must be given, since the loss takes it, got None"):
        train(lambda w, x, *, model_state: (jnp.mean((w - x) ** 2), model_state))


@pytest.mark.parametrize("name", ["key", "training", "model_state"])
def test_extras_are_keyword_only(name):
    names = {}
    exec(f"def loss(w, x, {name}=None): return ((w - x) ** 2).mean()", names)
    with pytest.raises(TypeError, match=rf"`loss_fn` must take `{name}` as a keyword-only argument, behind a `\*`"):
        train(names["loss"])


@pytest.mark.parametrize("result", [jnp.zeros(2), None], ids=["vector", "none"])
def test_a_wrong_metric_is_refused_before_training(result):
    traces = []

    def loss(w, batch):
        traces.append(isinstance(w, jax.core.Tracer))
        return jnp.mean((w - batch) ** 2)

    saw = []
    record = lambda p, g, u, s: saw.append(1) or {}  # noqa: E731
    with pytest.raises((TypeError, ValueError), match="`size` must return a scalar"):
        train(loss, metrics={"size": lambda w, batch: result}, record=record)
    assert not saw  # no step was even traced


def test_validation_of_another_structure_is_refused_before_training():
    saw = []
    record = lambda p, g, u, s: saw.append(1) or {}  # noqa: E731
    with pytest.raises((TypeError, ValueError), match="validation"):
        train(lambda w, x: jnp.mean((w - x) ** 2), validation={"x": DATA, "y": DATA}, record=record)
    assert not saw
