"""What every named optimizer must do, whichever it is: learn, decay, take any kind of number and refuse bad ones."""

import functools
import inspect
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax

FAMILY = {name: make for name, make in vars(gdjax.optimizers).items() if callable(make)}
every_optimizer = pytest.mark.parametrize("name", FAMILY)


# Progress.

_draw = np.random.default_rng(0)
_AXES = np.linalg.qr(_draw.normal(size=(10, 10)))[0]
_CURVATURES = np.float32((_AXES * np.logspace(-3, 0, 10)) @ _AXES.T)
_X = np.linspace(-1, 1, 32, dtype=np.float32)[:, None]
_NETWORK = np.concatenate([_draw.normal(size=32), _draw.normal(size=16) / 4])


def quadratic(x):
    return 0.5 * x[:10] @ _CURVATURES @ x[:10]


def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


def network(x):
    """A small network that fits a sine."""
    w, b, v = x.reshape(3, 16)
    return jnp.mean((jnp.tanh(_X * w[None] + b[None]) @ v - np.sin(3 * _X[:, 0])) ** 2)


# The loss, where it starts, and in how many steps it must become how many times smaller.
PROBLEMS = {
    "quadratic": (quadratic, _AXES @ np.ones(10), 1_000, 1_000),
    "rosenbrock": (rosenbrock, [-1.2, 1.0], 3_000, 500),
    "network": (network, _NETWORK, 1_000, 100),
}
COSINE = functools.partial(gdjax.schedules.cosine_decay, decay_steps=3_000)
# For each problem. Where a fixed rate leaves the last loss to rounding, as it does when every step is as long as the
# rate, the rate falls.
RATES = {
    "gd": (1.0, 2e-3, 0.1),
    "momentum": (1.0, 1e-2, 0.3),
    "heavy_ball": (0.1, 1e-3, 0.03),
    "adagrad": (1.0, 0.3, 0.2),
    "rmsprop": (5e-3, 3e-3, 3e-3),
    "adadelta": (1.0, 0.1, 0.3),
    "adam": (0.1, 0.03, 0.03),
    "adamw": (0.1, 0.03, 0.03),
    "amsgrad": (0.3, 0.3, 0.1),
    "adamax": (0.3, 0.1, 0.1),
    "nadam": (0.1, COSINE(0.1), 0.01),
    "radam": (0.1, 6e-3, 0.03),
    "adabelief": (0.1, 0.03, 0.03),
    "yogi": (0.1, 0.1, 0.03),
    "lion": (3e-3, COSINE(3e-3), 3e-3),
    "lamb": (1e-2, COSINE(2e-2), gdjax.schedules.cosine_decay(3e-3, 1_000)),
}
# RAdam's first five steps are momentum's, along gradients of 200: a rate that survives them is too small for the rest.
FACTORS = {("radam", "rosenbrock"): 50}


@jax.jit
def train(optimizer, problem, params, steps):
    """The parameters after so many steps. All problems share one program, so their parameters share one length."""
    slopes = [jax.grad(loss) for loss, *_ in PROBLEMS.values()]

    def step(_, carry):
        params, state = carry
        updates, state = optimizer.update(jax.lax.switch(problem, slopes, params), state, params)
        return params + updates, state

    return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]


@pytest.mark.parametrize("problem", PROBLEMS)
@every_optimizer
def test_the_loss_falls(name, problem):
    loss, start, steps, factor = PROBLEMS[problem]
    index = list(PROBLEMS).index(problem)
    before = np.zeros(len(_NETWORK), np.float32)
    before[: len(start)] = start
    after = train(FAMILY[name](RATES[name][index]), index, before, steps)
    assert float(loss(after)) * FACTORS.get((name, problem), factor) <= float(loss(jnp.asarray(before)))


# Any hyperparameter may be a number, a traced scalar or a schedule.

NO_NUMBERS = {"mu_dtype", "accumulator_dtype", "mask", "weight_decay_mask"}
DECAYS = {"beta": 0.5, "b1": 0.5, "b2": 0.8, "decay": 0.6, "rho": 0.7, "momentum": 0.4}
SIZES = {
    "learning_rate": 0.02,
    "eps": 0.1,
    "eps_root": 0.05,
    "initial_accumulator_value": 0.3,
    "initial_scale": 0.4,
    "threshold": 7.0,
    "weight_decay": 0.2,
}
VALUES = DECAYS | SIZES


def numeric_keywords(make):
    parameters = inspect.signature(make).parameters.values()
    return [each.name for each in parameters if each.name not in NO_NUMBERS and not isinstance(each.default, bool)]


NUMBERS = [(name, keyword) for name, make in FAMILY.items() for keyword in numeric_keywords(make)]
every_number = pytest.mark.parametrize(("name", "keyword"), NUMBERS)


def built(name, **numbers):
    return FAMILY[name](**({"learning_rate": 0.1} | numbers))


def run(optimizer, steps=3):
    """The updates of a few steps, and all states."""
    draw = np.random.default_rng(5)
    params = jnp.asarray(draw.normal(size=3))
    states, updates = [optimizer.init(params)], []
    for _ in range(steps):
        update, state = optimizer.update(jnp.asarray(draw.normal(size=3)), states[-1], params)
        params = params + update
        updates.append(update)
        states.append(state)
    return jnp.stack(updates), states


def structure(tree):
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


@pytest.mark.usefixtures("x64")
@every_number
def test_a_number_a_traced_scalar_and_a_schedule_are_the_same(name, keyword):
    value, steps = VALUES[keyword], 8 if name in ("radam", "lion") else 3  # whose numbers act later
    updates, states = run(built(name, **{keyword: value}), steps)
    traced = jax.jit(lambda value: built(name, **{keyword: value}))(value)
    scheduled = built(name, **{keyword: lambda step: value})
    for other in (traced, scheduled):
        other_updates, other_states = run(other, steps)
        assert structure(other_states) == structure(states)
        np.testing.assert_allclose(other_updates, updates, rtol=1e-12)
    assert not np.allclose(updates, run(built(name), steps)[0], rtol=1e-6), "the number does not act"


@pytest.mark.usefixtures("x64")
@every_optimizer
def test_all_numbers_may_be_schedules_at_once_and_compiled(name):
    numbers = {keyword: VALUES[keyword] for keyword in numeric_keywords(FAMILY[name])}
    schedules = {keyword: lambda step, value=value: value for keyword, value in numbers.items()}
    _, states = run(built(name, **numbers))
    optimizer = built(name, **schedules)
    params, state = jnp.zeros(3), states[-2]
    assert structure(optimizer.init(params)) == structure(state)
    gradient = jnp.arange(3.0)
    expected = built(name, **numbers).update(gradient, state, params)
    seen = jax.jit(optimizer.update)(gradient, state, params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-12, atol=1e-15), seen, expected)


def assert_refused(keyword, function):
    """With one sentence that starts with the argument."""
    with pytest.raises((ValueError, TypeError)) as error:
        function()
    message = str(error.value)
    assert re.fullmatch(rf"`{keyword}` must .+\.", message), message
    assert not re.search(r"\.\s+[A-Z]", message), message


@every_number
def test_numbers_out_of_range_are_refused(name, keyword):
    bad = [math.nan, math.inf, -math.inf, -0.1, *([1, 1.0, 1.5] if keyword in DECAYS else [])]
    bad += [as_array(number) for number in bad for as_array in (np.float32, jnp.float32)]
    bad += [np.full(3, 0.1), jnp.full((1,), 0.1), [0.1], "0.1", True, 0.1j]
    if inspect.signature(FAMILY[name]).parameters[keyword].default is not None:
        bad.append(None)
    for value in bad:
        assert_refused(keyword, lambda value=value: built(name, **{keyword: value}))


@every_number
def test_the_ends_of_the_range_are_taken(name, keyword):
    assert isinstance(built(name, **{keyword: 0}), optax.GradientTransformationExtraArgs)
    assert isinstance(built(name, **{keyword: 0.999999 if keyword in DECAYS else 1e6}), optax.GradientTransformation)


def test_a_corrected_average_starts_from_zero():
    """Divided by its weight, another start would begin as 1/(1 − β) times itself."""
    assert_refused("initial_scale", lambda: gdjax.rmsprop(0.1, initial_scale=0.5, bias_correction=True))


SWITCHED = [(name, {}) for name in FAMILY] + [
    (name, {keyword: not parameter.default})
    for name, make in FAMILY.items()
    for keyword, parameter in inspect.signature(make).parameters.items()
    if isinstance(parameter.default, bool)
]


@pytest.mark.parametrize(("name", "settings"), SWITCHED, ids=str)
def test_optax_may_hold_all_numbers_as_traced_ones(name, settings):
    optimizer = optax.inject_hyperparams(FAMILY[name])(learning_rate=0.1, **settings)
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    state = optimizer.init(params)
    updates, after = jax.eval_shape(optimizer.update, params, state, params)
    assert structure(updates) == structure(params)
    assert structure(after) == structure(state)


DTYPES = [name for name, make in FAMILY.items() if "mu_dtype" in inspect.signature(make).parameters]


@pytest.mark.parametrize("name", DTYPES)
def test_a_dtype_that_is_no_float_is_refused(name):
    for value in ("int32", "float33", jnp.complex64, 3, bool):
        assert_refused("mu_dtype", lambda value=value: built(name, mu_dtype=value))


@pytest.mark.parametrize("name", DTYPES)
def test_the_first_moment_alone_is_kept_in_its_dtype(name):
    params = {"w": jnp.ones(3), "b": jnp.ones(())}
    plain, narrow = (
        [leaf.dtype for leaf in jax.tree.leaves(jax.eval_shape(built(name, **settings).init, params))]
        for settings in ({}, {"mu_dtype": jnp.bfloat16})
    )
    assert jnp.bfloat16 not in plain
    changed = [(before, after) for before, after in zip(plain, narrow, strict=True) if before != after]
    assert changed == [(jnp.float32, jnp.bfloat16)] * 2


# Weight decay.

MASKS = {
    name: keyword
    for name, make in FAMILY.items()
    for keyword in inspect.signature(make).parameters
    if keyword.endswith("mask")
}
every_decaying = pytest.mark.parametrize("name", MASKS)
DECOUPLED = ("adamw", "lion", "lamb")
PARAMS = {"w": jnp.array([1.0, -2.0]), "rest": [jnp.array(3.0), jnp.array([[4.0]])]}
NOTHING = jax.tree.map(jnp.zeros_like, PARAMS)


def moved(optimizer, gradients, steps=3):
    """The last update and state of a few steps."""
    state = optimizer.init(PARAMS)
    for _ in range(steps):
        updates, state = optimizer.update(gradients, state, PARAMS)
    return updates, state


def test_these_decay_weights():
    assert set(MASKS) == {*DECOUPLED, "adadelta"}


@every_decaying
@pytest.mark.parametrize(
    "mask",
    [
        {"w": True, "rest": [False, True]},
        {"w": False, "rest": True},
        lambda params: jax.tree.map(lambda leaf: leaf.ndim > 0, params),
        False,
        None,
    ],
    ids=["tree", "prefix", "function", "none of them", "all of them"],
)
def test_only_masked_leaves_decay(name, mask):
    updates, _ = moved(built(name, weight_decay=0.5, **{MASKS[name]: mask}), NOTHING)
    mask = True if mask is None else mask(PARAMS) if callable(mask) else mask
    decays = jax.tree.map(lambda one, part: jax.tree.map(lambda _: one, part), mask, PARAMS)
    for update, param, decayed in zip(*map(jax.tree.leaves, (updates, PARAMS, decays)), strict=True):
        assert (jnp.sign(update) == (-jnp.sign(param) if decayed else 0)).all()


@pytest.mark.parametrize("name", DECOUPLED)
def test_decoupled_decay_stays_out_of_the_moments(name):
    gradients = jax.tree.map(jnp.cos, PARAMS)
    (with_decay, its_state), (without, state) = (
        moved(built(name, weight_decay=weight_decay), gradients) for weight_decay in (0.5, 0.0)
    )
    jax.tree.map(np.testing.assert_array_equal, its_state.inner, state.inner)
    if name != "lamb":  # which changes the length of the step too
        for u, v, p in zip(*map(jax.tree.leaves, (with_decay, without, PARAMS)), strict=True):
            np.testing.assert_allclose(u - v, -0.1 * 0.5 * p, rtol=1e-5)


def test_the_decay_of_adadelta_is_part_of_the_gradient():
    gradients = jax.tree.map(jnp.cos, PARAMS)
    whole = jax.tree.map(lambda g, p: g + 0.5 * p, gradients, PARAMS)
    decayed, _ = moved(built("adadelta", weight_decay=0.5), gradients)
    expected, _ = moved(built("adadelta"), whole)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), decayed, expected)


@every_decaying
def test_decay_without_parameters_is_an_error(name):
    optimizer = built(name, weight_decay=0.5)
    assert_refused("params", lambda: optimizer.update(NOTHING, optimizer.init(PARAMS)))


@every_decaying
@pytest.mark.parametrize("mask", [{"w": 1.0, "rest": True}, "w", {"w": True}, {"w": True, "rest": [True]}], ids=repr)
def test_a_mask_that_does_not_fit_is_an_error(name, mask):
    def use():
        optimizer = built(name, weight_decay=0.5, **{MASKS[name]: mask})
        optimizer.update(NOTHING, optimizer.init(PARAMS), PARAMS)

    assert_refused(rf"{MASKS[name]}(\[.*\])*", use)


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_the_step_of_lamb_is_as_long_as_the_weights(weight_decay):
    updates, _ = moved(built("lamb", weight_decay=weight_decay), jax.tree.map(jnp.cos, PARAMS))
    for update, param in zip(jax.tree.leaves(updates), jax.tree.leaves(PARAMS), strict=True):
        np.testing.assert_allclose(jnp.linalg.norm(update), 0.1 * jnp.linalg.norm(param), rtol=1e-6)


# Gradients that are always the same, and none at all.

STILL = {name: (name, {}) for name in FAMILY} | {
    "rmsprop-centered": ("rmsprop", {"centered": True}),
    "rmsprop-centered, eps outside": ("rmsprop", {"centered": True, "eps_in_sqrt": False}),
    "rmsprop-centered, corrected": (
        "rmsprop",
        {"centered": True, "eps_in_sqrt": False, "bias_correction": True, "momentum": 0.9},
    ),
    "adam-nesterov": ("adam", {"nesterov": True}),
    "radam-nesterov": ("radam", {"nesterov": True}),
    "adabelief-nesterov": ("adabelief", {"nesterov": True}),
}


@pytest.mark.parametrize("case", STILL)
def test_still_gradients_do_no_harm(case):
    """A coordinate without gradient stays where it is; one whose gradient never changes, or ends, stays finite."""
    name, settings = STILL[case]
    if name in DECOUPLED:
        settings = settings | {"weight_decay": 0.0}
    optimizer = built(name, **settings)
    gradients = jnp.tile(jnp.array([0.0, 0.7, 1e-4, 300.0, -0.1]), (2_000, 1)).at[1:, 4].set(0)
    params = jnp.ones(5)

    def step(state, gradient):
        updates, state = optimizer.update(gradient, state, params)
        return state, updates

    state, updates = jax.jit(lambda gradients: jax.lax.scan(step, optimizer.init(params), gradients))(gradients)
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves((state, updates)))
    assert (updates[:, 0] == 0).all()
    assert (updates[:, 1:4] <= 0).all()
    assert (updates[1:, 1:4] < 0).all()


# Kinship.


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (gdjax.nadam(0.1), gdjax.adam(0.1, nesterov=True)),
        (gdjax.nadam(0.1, nesterov=False), gdjax.adam(0.1)),
        (gdjax.adamw(0.1, weight_decay=0.0), gdjax.adam(0.1)),
        (gdjax.adamw(0.1, mask=False), gdjax.adam(0.1)),
        (gdjax.rmsprop(0.1, momentum=0.0), gdjax.rmsprop(0.1)),
        (gdjax.adam(0.1, b1=0.0), gdjax.rmsprop(0.1, 0.999, eps_in_sqrt=False, bias_correction=True)),
    ],
    ids=["nadam", "nadam-not", "adamw", "adamw-masked", "rmsprop", "adam"],
)
@pytest.mark.usefixtures("x64")
def test_some_are_others_with_a_setting(one, other):
    np.testing.assert_allclose(run(one)[0], run(other)[0], rtol=1e-13)
