"""Every optimizer against its formula in NumPy float64, under every kind of learning rate."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import gdjax
from gdjax import schedules

STEPS, SIZE, STEPS_PER_EPOCH = 300, 12, 7

OPTIMIZERS = {
    "gd": (gdjax.gd, references.gd, {}),
    "momentum": (gdjax.momentum, references.momentum, {"beta": 0.9}),
    "heavy_ball": (gdjax.heavy_ball, references.heavy_ball, {"decay": 0.95}),
    "nesterov": (gdjax.heavy_ball, references.heavy_ball, {"decay": 0.9, "nesterov": True}),
    "adagrad": (gdjax.adagrad, references.adagrad, {"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "rmsprop": (gdjax.rmsprop, references.rmsprop, {"decay": 0.9, "eps": 1e-8}),
    "adam": (gdjax.adam, references.adam, {"b1": 0.9, "b2": 0.999, "eps": 1e-8}),
}

_INVERSE = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 3}
_EXPONENTIAL = {"init_value": 0.3, "transition_steps": 11, "decay_rate": 0.8}


def _pairs():
    """Name -> (learning rate, the same as a function of the step in NumPy, whether `update` is told the epoch)."""
    yield "constant", 0.01, lambda step: 0.01, False
    for name, numbers in {
        "inverse_time_decay": _INVERSE,
        "exponential_decay": _EXPONENTIAL,
        "step_decay": _EXPONENTIAL,
    }.items():
        make, formula = (getattr(module, name) for module in (schedules, references))
        yield name, make(**numbers), lambda step, f=formula, n=numbers: f(step, **n), False
        in_epochs = references.per_epoch(formula, STEPS_PER_EPOCH, **numbers)
        counted = schedules.per_epoch(make(**numbers), steps_per_epoch=STEPS_PER_EPOCH)
        yield f"per_epoch-{name}", counted, in_epochs, False
        yield f"told_epoch-{name}", schedules.per_epoch(make(**numbers)), in_epochs, True


RATES = {name: rest for name, *rest in _pairs()}


def relative_errors(updates, expected):
    """‖u − û‖ / ‖û‖ of every step."""
    return np.linalg.norm(np.asarray(updates, np.float64) - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float64_equals_the_formula(name, rate):
    make, reference, numbers = OPTIMIZERS[name]
    learning_rate, of_step, told = RATES[rate]
    optimizer = make(learning_rate, **numbers)
    gradients = np.random.default_rng(0).normal(size=(STEPS, SIZE)) * np.logspace(-4, 3, SIZE)
    steps = np.arange(STEPS)

    @jax.jit
    def run(gradients, epochs, fractions):
        def step(state, row):
            gradient, epoch, fraction = row
            position = {"epoch": epoch, "epoch_fraction": fraction} if told else {}
            updates, state = optimizer.update(gradient, state, **position)
            return state, (updates, state.hyperparameters["learning_rate"])

        return jax.lax.scan(step, optimizer.init(gradients[0]), (gradients, epochs, fractions))[1]

    updates, rates = run(
        gradients, np.int32(steps // STEPS_PER_EPOCH), (steps % STEPS_PER_EPOCH) / np.float64(STEPS_PER_EPOCH)
    )
    expected_rates = np.array([of_step(step) for step in steps])
    expected = np.stack(list(reference(gradients, expected_rates, **numbers)))
    assert updates.dtype == jnp.float64
    assert relative_errors(updates, expected).max() <= 1e-12
    np.testing.assert_allclose(rates, expected_rates, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("scheduled", [("b1",), ("b2",), ("b1", "b2")], ids="-".join)
def test_bias_correction_is_exact_when_decays_are_scheduled(scheduled):
    made = {
        "b1": schedules.inverse_time_decay(0.95, 0.01),
        "b2": schedules.exponential_decay(0.9999, 50, 0.9),
    }
    decays = {name: made[name] if name in scheduled else default for name, default in (("b1", 0.9), ("b2", 0.999))}
    gradients = np.random.default_rng(1).normal(size=(STEPS, SIZE))
    optimizer = gdjax.adam(0.01, **decays)

    def step(state, gradient):
        updates, state = optimizer.update(gradient, state)
        return state, updates

    updates = jax.lax.scan(step, optimizer.init(gradients[0]), gradients)[1]
    steps = np.arange(STEPS)
    numbers = {
        "b1": references.inverse_time_decay(steps, init_value=0.95, decay_rate=0.01),
        "b2": references.exponential_decay(steps, init_value=0.9999, transition_steps=50, decay_rate=0.9),
    }
    numbers = {name: numbers[name] if name in scheduled else np.full(STEPS, decays[name]) for name in decays}
    expected = references.adam_of_changing_decays(gradients, itertools.repeat(0.01), **numbers, eps=1e-8)
    assert relative_errors(updates, np.stack(list(expected))).max() <= 1e-12


def test_the_two_formulas_of_adam_agree():
    gradients = np.random.default_rng(2).normal(size=(STEPS, SIZE))
    rates = np.full(STEPS, 0.01)
    powers = np.stack(list(references.adam(gradients, rates, b1=0.9, b2=0.999, eps=1e-8)))
    decays = {"b1": np.full(STEPS, 0.9), "b2": np.full(STEPS, 0.999)}
    ones = np.stack(list(references.adam_of_changing_decays(gradients, rates, **decays, eps=1e-8)))
    np.testing.assert_allclose(ones, powers, rtol=1e-11)


LONG, CHUNK, WIDTH = 100_000, 5_000, 256


def _chunks():
    """Float32 gradients of sizes 1e-6 to 1e3; the second half of them shrinks 1e4-fold over the run."""
    draw = np.random.default_rng(3)
    sizes = np.tile(np.logspace(-6, 3, WIDTH // 2), 2)
    for start in range(0, LONG, CHUNK):
        progress = np.arange(start, start + CHUNK)[:, None] / LONG
        shrinking = np.where(np.arange(WIDTH) < WIDTH // 2, 1.0, 10.0 ** (-4 * progress))
        yield (draw.standard_normal((CHUNK, WIDTH)) * sizes * shrinking).astype(np.float32)


def _scan(optimizer, state, gradients):
    def step(state, gradient):
        updates, state = optimizer.update(gradient, state)
        return state, updates

    return jax.lax.scan(step, state, gradients)


def _worst_errors(b2, chunks):
    """The worst relative error of float32 Adam over a run, hyperparameters closed over and traced."""
    optimizer = gdjax.adam(1e-3, b2=b2)
    closed, traced = jax.jit(lambda state, gradients: _scan(optimizer, state, gradients)), jax.jit(_scan)
    closed_state = traced_state = optimizer.init(jnp.zeros(WIDTH))
    for_oracle, for_jax = itertools.tee(chunks)
    rows = (row for chunk in for_oracle for row in chunk.astype(np.float64))
    oracle = references.adam(rows, itertools.repeat(1e-3), b1=0.9, b2=b2, eps=1e-8)
    worst = {"closed over": 0.0, "traced": 0.0}
    for chunk in for_jax:
        expected = np.stack(list(itertools.islice(oracle, len(chunk))))
        closed_state, closed_updates = closed(closed_state, chunk)
        traced_state, traced_updates = traced(optimizer, traced_state, chunk)
        for name, updates in (("closed over", closed_updates), ("traced", traced_updates)):
            worst[name] = max(worst[name], relative_errors(updates, expected).max())
    return worst


@pytest.mark.parametrize(("b2", "bound"), [(0.999, 1e-6), (0.9999, 2e-6)])
def test_float32_adam_stays_with_the_float64_formula(b2, bound):
    worst = _worst_errors(b2, _chunks())
    print(f"worst float32 error, b2={b2}: {worst}")
    assert max(worst.values()) <= bound, worst


def test_float32_adam_of_a_constant_gradient():
    sizes = np.logspace(-6, 3, WIDTH).astype(np.float32)
    worst = _worst_errors(0.9999, (np.tile(sizes, (CHUNK, 1)) for _ in range(0, LONG, CHUNK)))
    print(f"worst float32 error, constant gradient: {worst}")
    assert max(worst.values()) <= 1e-6, worst
