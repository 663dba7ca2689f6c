"""`gdjax.presets.keras` beside Keras's own optimizers, running on JAX."""

import inspect
import types

import jax
import keras
import numpy as np
import pytest
from peers.metrics import METRICS, rates_on_plateau
from peers.pairs import all_pairs
from peers.problems import PROBLEMS, QUICKLY, STEPS, assert_same_path, flat, path

from gdjax.presets import keras as presets

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("x64")]

BOUND = 1e-9


@pytest.fixture(autouse=True, scope="module")
def double():
    """Float64 also for what Keras keeps beside the parameters, as its learning rate."""
    dtype = keras.config.floatx()
    keras.config.set_floatx("float64")
    yield
    keras.config.set_floatx(dtype)


def _anything(row):
    return True


_COMMON = {
    "weight_decay": (None, 0.1),
    "clip": (None, ("clipnorm", 0.3), ("clipvalue", 0.1), ("global_clipnorm", 0.5)),  # Keras takes one at most
}
_LONG = {"network": 1.0, "rosenbrock": 100.0}  # the scale of a long gradient, in which clips are counted
_BETAS = {"beta_1": (0.9, 0.0), "beta_2": (0.999, 0.98)}
_EPSILON = {"epsilon": (1e-7, 0.0)}
_AMSGRAD = {"amsgrad": (False, True)}

# Name -> (Keras's class, learning rates of the problems, options, which rows may be).
OPTIMIZERS = {
    "sgd": (
        keras.optimizers.SGD,
        {"network": 0.02, "rosenbrock": 1e-4},
        {"momentum": (0.0, 0.9), "nesterov": (False, True), **_COMMON},
        _anything,
    ),
    "adam": (
        keras.optimizers.Adam,
        {"network": 0.004, "rosenbrock": 0.002},
        {**_BETAS, "epsilon": (1e-7, 1.0), **_AMSGRAD, **_COMMON},
        _anything,
    ),
    "adamw": (
        keras.optimizers.AdamW,
        {"network": 0.004, "rosenbrock": 0.002},
        {**_BETAS, **_EPSILON, **_AMSGRAD, **_COMMON, "weight_decay": (0.004, 0.0)},
        _anything,
    ),
    "nadam": (
        keras.optimizers.Nadam,
        {"network": 0.003, "rosenbrock": 0.002},
        {**_BETAS, **_EPSILON, **_COMMON},
        _anything,
    ),
    "adamax": (
        keras.optimizers.Adamax,
        {"network": 0.003, "rosenbrock": 0.001},
        {**_BETAS, **_EPSILON, **_COMMON},
        _anything,
    ),
    "rmsprop": (
        keras.optimizers.RMSprop,
        {"network": 0.003, "rosenbrock": 0.0004},
        {"rho": (0.9, 0.0), "momentum": (0.0, 0.9), "epsilon": (1e-7, 1.0), "centered": (False, True), **_COMMON},
        # Without memory: m / |g| as above, and g² − g² = 0 under the root; where every g is clipped as well.
        lambda row: (
            (row["rho"] > 0 or (row["momentum"] == 0 and not row["centered"]))
            and not (row["centered"] and row["clip"] and row["clip"][0] == "clipvalue" and row["epsilon"] < 1)
        ),
    ),
    "adagrad": (
        keras.optimizers.Adagrad,
        {"network": 0.1, "rosenbrock": 0.05},
        {"initial_accumulator_value": (0.1, 0.0), **_EPSILON, **_COMMON},
        _anything,
    ),
    "adadelta": (
        keras.optimizers.Adadelta,
        {"network": 0.3, "rosenbrock": 0.05},
        {"rho": (0.95, 0.0), "epsilon": (1e-7, 1e-5), **_COMMON},  # with ε = 0 it never moves
        lambda row: row["rho"] > 0 or row["epsilon"] == 1e-7,  # without memory a root is steep; this one is hardly met
    ),
    "lion": (
        keras.optimizers.Lion,
        {"network": 0.002, "rosenbrock": 0.001},
        {"beta_1": (0.9, 0.5), "beta_2": (0.99, 0.0), **_COMMON},  # Keras wants a β₁ above 0
        _anything,
    ),
    "lamb": (
        keras.optimizers.Lamb,
        {"network": 0.002, "rosenbrock": 0.001},
        {**_BETAS, **_EPSILON, **_COMMON},
        _anything,
    ),
}

ROWS = [
    pytest.param(name, problem, row, id=f"{name}-{problem}-{number}")
    for name, (_, _, options, allowed) in OPTIMIZERS.items()
    for problem in PROBLEMS
    for number, row in enumerate(all_pairs(options, allowed))
]


def settings(row, problem):
    """A row as keywords of both sides."""
    row = dict(row)
    clip = row.pop("clip")
    return row | ({clip[0]: clip[1] * _LONG[problem]} if clip else {})


def peers_path(optimizer, problem):
    """Keras's parameters after every update, (STEPS, size); it promotes dtypes and ranks as JAX does by itself."""
    start, loss = PROBLEMS[problem]

    def update(carry, step):
        params, state = carry
        grads = jax.grad(lambda leaves: loss(dict(zip(start, leaves, strict=True)), step, jax.numpy))(params)
        params, state = optimizer.stateless_apply(state, grads, params)
        return (params, state), flat(jax.numpy, dict(zip(start, params, strict=True)))

    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        optimizer.build([keras.Variable(leaf) for leaf in start.values()])
        state = [variable.value for variable in optimizer.variables]
        run = jax.jit(lambda *carry: jax.lax.scan(update, carry, jax.numpy.arange(STEPS))[1], compiler_options=QUICKLY)
        return np.asarray(run(list(start.values()), state))


@pytest.mark.parametrize(("name", "problem", "row"), ROWS)
def test_the_path_is_kerass(name, problem, row):
    make, rates, _, _ = OPTIMIZERS[name]
    numbers = {"learning_rate": rates[problem], **settings(row, problem)}
    mine = path(getattr(presets, name)(**numbers), problem)
    assert_same_path(mine, peers_path(make(**numbers), problem), problem, BOUND)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_order_and_defaults_are_kerass(name):
    mine = inspect.signature(getattr(presets, name)).parameters
    peers = inspect.signature(OPTIMIZERS[name][0]).parameters
    assert [(key, mine[key].default) for key in mine] == [(key, peers[key].default) for key in list(peers)[: len(mine)]]


MEMORIES = {  # options through which an earlier learning rate reaches a later step
    "sgd": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "rmsprop": {"momentum": 0.9, "weight_decay": 0.1},
}


@pytest.mark.parametrize("staircase", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_path_under_a_schedule_is_kerass(name, staircase):
    make, rates, _, _ = OPTIMIZERS[name]
    decay = (rates["network"], 7, 0.2, staircase)
    numbers = MEMORIES.get(name, {})
    mine = path(getattr(presets, name)(presets.inverse_time_decay(*decay), **numbers), "network")
    schedule = keras.optimizers.schedules.InverseTimeDecay(*decay)
    assert_same_path(mine, peers_path(make(schedule, **numbers), "network"), "network", BOUND)


PLATEAUS = {
    "factor": (0.1, 0.7, 0.0),
    "patience": (1, 0, 3),
    "mode": ("auto", "min", "max"),
    "min_delta": (1e-4, 0.0, 0.125),
    "cooldown": (0, 1, 3),
    "min_lr": (0.0, 0.02, 0.7),  # the last above the rate itself
}
RATE = 0.5


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # of Keras's variables
@pytest.mark.parametrize("row", all_pairs(PLATEAUS), ids=lambda row: "-".join(map(str, row.values())))
def test_the_rates_on_a_plateau_are_kerass(row):
    mine = rates_on_plateau(presets.reduce_lr_on_plateau(presets.sgd(RATE), **row))
    for name, metrics in METRICS.items():
        if name in ("nan-first", "infinite-first"):  # Keras takes it for its best; gdjax counts it as bad, and says so
            continue
        optimizer = keras.optimizers.SGD(RATE)
        judge = keras.callbacks.ReduceLROnPlateau(monitor="val_loss", **row)
        judge.set_model(types.SimpleNamespace(optimizer=optimizer))  # all of a model that the callback looks at
        judge.on_train_begin()
        peers = []
        for epoch, metric in enumerate(metrics):
            judge.on_epoch_end(epoch, {"val_loss": metric})
            peers.append(float(optimizer.learning_rate.value))
        # A rate below float32's least number is zero to Keras, who cuts it no further.
        np.testing.assert_allclose(mine[name], np.array(peers)[:, None] * [1, 1], rtol=1e-12, atol=1e-44, err_msg=name)


def test_names_order_and_defaults_on_a_plateau_are_kerass():
    mine, peers = (
        {key: parameter.default for key, parameter in inspect.signature(function).parameters.items()}
        for function in (presets.reduce_lr_on_plateau, keras.callbacks.ReduceLROnPlateau)
    )
    assert next(iter(mine)) == "optimizer"
    assert list(mine.items())[1:] == [(key, peers[key]) for key in peers if key in mine]
