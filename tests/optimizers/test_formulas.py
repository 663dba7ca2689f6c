"""Every optimizer against its formula in NumPy float64, under every kind of learning rate."""

import inspect
import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import gdjax
from gdjax import schedules

STEPS, SIZE, STEPS_PER_EPOCH = 300, 12, 7


class Scheduled(NamedTuple):
    """A hyperparameter that follows a schedule, and the same as a function of the steps in NumPy."""

    schedule: Any
    formula: Any


_INVERSE = {"init_value": 0.3, "decay_rate": 0.7, "transition_steps": 3}
_EXPONENTIAL = {"init_value": 0.3, "transition_steps": 11, "decay_rate": 0.8}
_FALLING = Scheduled(
    schedules.inverse_time_decay(**_INVERSE), lambda step: references.inverse_time_decay(step, **_INVERSE)
)
_RISING = Scheduled(schedules.nadam_momentum(0.9), lambda step: references.nadam_momentum(step, b1=0.9))
_ADAM = {"b1": 0.9, "b2": 0.999, "eps": 1e-8}
_RMSPROP = {"decay": 0.9, "eps": 1e-8}

OPTIMIZERS = {
    "gd": ("gd", {}),
    "momentum": ("momentum", {"beta": 0.9}),
    "heavy_ball": ("heavy_ball", {"decay": 0.95}),
    "heavy_ball-nesterov": ("heavy_ball", {"decay": 0.9, "nesterov": True}),
    "adagrad": ("adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-7}),
    "adagrad-from zero": ("adagrad", {"initial_accumulator_value": 0.0, "eps": 1e-3}),
    "rmsprop": ("rmsprop", _RMSPROP),
    "rmsprop-eps outside": ("rmsprop", _RMSPROP | {"eps_in_sqrt": False, "initial_scale": 0.5}),
    "rmsprop-corrected": ("rmsprop", _RMSPROP | {"bias_correction": True}),
    "rmsprop-momentum": ("rmsprop", _RMSPROP | {"momentum": 0.8}),
    "rmsprop-nesterov": ("rmsprop", _RMSPROP | {"momentum": 0.8, "nesterov": True, "bias_correction": True}),
    "rmsprop-centered": ("rmsprop", _RMSPROP | {"centered": True}),
    "rmsprop-all": (
        "rmsprop",
        {"decay": 0.95, "eps": 1e-3, "centered": True, "initial_scale": 0.5, "momentum": 0.9, "eps_in_sqrt": False},
    ),
    "rmsprop-centered corrected": ("rmsprop", _RMSPROP | {"centered": True, "bias_correction": True}),
    "adadelta": ("adadelta", {"rho": 0.9, "eps": 1e-6}),
    "adadelta-weight decay": ("adadelta", {"rho": 0.95, "eps": 1e-3, "weight_decay": 0.1}),
    "adam": ("adam", _ADAM),
    "adam-eps_root": ("adam", _ADAM | {"eps_root": 1e-3}),
    "adam-nesterov": ("adam", _ADAM | {"nesterov": True}),
    "nadam": ("nadam", _ADAM),
    "nadam-scheduled b1": ("nadam", _ADAM | {"b1": _RISING, "eps_root": 1e-6}),
    "amsgrad": ("amsgrad", _ADAM),
    "amsgrad-of the paper": ("amsgrad", _ADAM | {"bias_correction_mu": False, "bias_correction_nu": False}),
    "amsgrad-one corrected": ("amsgrad", _ADAM | {"b2": 0.99, "bias_correction_mu": False, "eps_root": 1e-3}),
    "amsgrad-other corrected": ("amsgrad", _ADAM | {"b2": 0.99, "bias_correction_nu": False}),
    "adamax": ("adamax", _ADAM),
    "radam": ("radam", _ADAM),
    "radam-nesterov": ("radam", _ADAM | {"b2": 0.99, "threshold": 12.0, "eps_root": 1e-3, "nesterov": True}),
    "adabelief": ("adabelief", _ADAM | {"eps": 1e-16, "eps_root": 1e-16}),
    "adabelief-nesterov": ("adabelief", _ADAM | {"eps_root": 1e-4, "nesterov": True}),
    "yogi": ("yogi", _ADAM | {"eps": 1e-3}),
    "adamw": ("adamw", _ADAM | {"weight_decay": 0.1}),
    "adamw-scheduled decay": ("adamw", _ADAM | {"weight_decay": _FALLING, "nesterov": True, "eps_root": 1e-6}),
    "lamb": ("lamb", _ADAM | {"eps": 1e-6, "weight_decay": 0.0}),
    "lamb-scheduled decay": ("lamb", _ADAM | {"eps_root": 1e-6, "weight_decay": _FALLING}),
    "lion": ("lion", {"b1": 0.9, "b2": 0.99, "weight_decay": 0.1}),
    "lion-scheduled decay": ("lion", {"b1": 0.95, "b2": 0.98, "weight_decay": _FALLING}),
}


def _rates():
    """Name -> (learning rate, the same as a function of the steps in NumPy, whether `update` is told the epoch)."""
    yield "constant", 0.01, lambda step: np.full(np.shape(step), 0.01), False
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


RATES = {name: rest for name, *rest in _rates()}
UNDER_EVERY_RATE = ("gd", "adam")
NAMES = [case for case in OPTIMIZERS if "-" not in case]  # with the settings of the paper or of most
CASES = [
    *itertools.product(UNDER_EVERY_RATE, RATES),
    *((case, "constant") for case in NAMES if case not in UNDER_EVERY_RATE),
    *((case, "inverse_time_decay") for case in OPTIMIZERS if case not in UNDER_EVERY_RATE),
]


def of_gdjax(settings):
    return {name: x.schedule if isinstance(x, Scheduled) else x for name, x in settings.items()}


def of_references(settings, steps):
    """A schedule as its numbers, one more than there are steps: NAdam looks ahead."""
    return {name: x.formula(np.arange(steps + 1)) if isinstance(x, Scheduled) else x for name, x in settings.items()}


def expected_updates(name, gradients, rates, params, **settings):
    formula = getattr(references, name)
    start = (params,) if "params" in inspect.signature(formula).parameters else ()
    return np.stack(list(formula(gradients, rates, *start, **of_references(settings, len(gradients)))))


def updates_of(optimizer, gradients, params, **positions):
    """The updates and the learning rates of a run in which the parameters move; `positions` are [steps]."""

    @jax.jit
    def run(gradients, params, positions):
        def step(carry, row):
            params, state = carry
            gradient, position = row
            updates, state = optimizer.update(gradient, state, params, **position)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), (updates, state.hyperparameters["learning_rate"])

        return jax.lax.scan(step, (params, optimizer.init(params)), (gradients, positions))[1]

    return run(gradients, params, positions)


def test_every_optimizer_has_its_formula():
    assert {name for name, make in vars(gdjax.optimizers).items() if callable(make)} == set(NAMES)


def relative_errors(updates, expected):
    """‖u − û‖ / ‖û‖ of every step."""
    return np.linalg.norm(np.asarray(updates, np.float64) - expected, axis=-1) / np.linalg.norm(expected, axis=-1)


def a_run(steps, size, seed=0):
    """Gradients of sizes 1e-4 to 1e3, and parameters to start from."""
    draw = np.random.default_rng(seed)
    return draw.normal(size=(steps, size)) * np.logspace(-4, 3, size), draw.normal(size=size)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("case", "rate"), CASES)
def test_float64_equals_the_formula(case, rate):
    name, settings = OPTIMIZERS[case]
    learning_rate, of_step, told = RATES[rate]
    optimizer = getattr(gdjax, name)(learning_rate, **of_gdjax(settings))
    gradients, params = a_run(STEPS, SIZE)
    steps = np.arange(STEPS)
    epoch, done = np.divmod(steps, STEPS_PER_EPOCH)
    positions = {"epoch": np.int32(epoch), "epoch_fraction": done / np.float64(STEPS_PER_EPOCH)} if told else {}
    updates, rates = updates_of(optimizer, gradients, params, **positions)
    expected = expected_updates(name, gradients, of_step(steps), params, **settings)
    assert updates.dtype == jnp.float64
    assert relative_errors(updates, expected).max() <= 1e-12
    np.testing.assert_allclose(rates, of_step(steps), rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["adadelta-weight decay", "adamw", "lamb-scheduled decay", "lion"])
def test_masked_weight_decay_equals_the_formula(case):
    name, settings = OPTIMIZERS[case]
    mask = {"weight_decay_mask" if name == "adadelta" else "mask": {"decays": True, "stays": False}}
    optimizer = getattr(gdjax, name)(0.01, **of_gdjax(settings), **mask)
    runs = {"decays": a_run(STEPS, SIZE, 1), "stays": a_run(STEPS, SIZE, 2)}
    gradients, params = ({leaf: run[i] for leaf, run in runs.items()} for i in range(2))
    updates, _ = updates_of(optimizer, gradients, params)
    for leaf, factor in (("decays", 1.0), ("stays", 0.0)):
        expected = expected_updates(name, gradients[leaf], np.full(STEPS, 0.01), params[leaf], **settings, mask=factor)
        assert relative_errors(updates[leaf], expected).max() <= 1e-12


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


FLOAT32_STEPS = 2_000
IN_FLOAT32 = [
    *NAMES,
    "rmsprop-nesterov",
    "rmsprop-centered",
    "rmsprop-centered corrected",
    "adadelta-weight decay",
    "nadam-scheduled b1",
    "radam-nesterov",
    "adabelief-nesterov",
    "lamb-scheduled decay",
]


@pytest.mark.parametrize("case", IN_FLOAT32)
def test_float32_stays_with_the_float64_formula(case):
    name, settings = OPTIMIZERS[case]
    gradients, params = (x.astype(np.float32) for x in a_run(FLOAT32_STEPS, WIDTH, 4))
    optimizer = getattr(gdjax, name)(1e-3, **of_gdjax(settings))
    updates, _ = updates_of(optimizer, gradients, params)
    wide = (gradients.astype(np.float64), np.full(FLOAT32_STEPS, 1e-3), params.astype(np.float64))
    worst = relative_errors(updates, expected_updates(name, *wide, **settings)).max()
    print(f"worst float32 error, {case}: {worst:.2g}")
    assert worst <= 1e-6
