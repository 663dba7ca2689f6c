"""gdjax's optimizers beside those of optax that have the same name: the same keywords, defaults and numbers."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax

NAMES = sorted(name for name, make in vars(gdjax.optimizers).items() if callable(make) and hasattr(optax, name))

DEFAULTS_ON_PURPOSE = {
    # optax's None leaves out the minus too: its `adadelta()` walks uphill. 1 is the paper's.
    ("adadelta", "learning_rate"): 1.0,
}

SETTINGS = {
    "adagrad": [{}, {"initial_accumulator_value": 0.0, "eps": 1e-2}],
    "rmsprop": [
        {},
        {"decay": 0.99, "eps_in_sqrt": False, "initial_scale": 0.5},
        {"eps": 1e-3, "centered": True},
        {"eps": 1e-2, "centered": True, "eps_in_sqrt": False, "initial_scale": 1.0, "momentum": 0.9},
        {"eps": 1e-2, "centered": True, "bias_correction": True},
        {"bias_correction": True, "momentum": 0.5, "nesterov": True},
    ],
    "adadelta": [{}, {"learning_rate": 1.0, "rho": 0.5, "eps": 1e-3, "weight_decay": 0.1}],
    "adam": [{}, {"b1": 0.5, "b2": 0.9, "eps": 1e-3, "eps_root": 1e-2, "nesterov": True}],
    "adamw": [{}, {"weight_decay": 0.1, "nesterov": True, "eps_root": 1e-6}],
    "nadam": [{}, {"b1": 0.8, "eps_root": 1e-2}],
    "amsgrad": [
        {},
        {"b2": 0.9, "bias_correction_mu": False, "eps_root": 1e-2},
        {"b2": 0.9, "bias_correction_nu": False},
    ],
    "adamax": [{}, {"b1": 0.5, "b2": 0.9, "eps": 0.1}],
    "radam": [{}, {"b2": 0.99, "threshold": 12.0, "nesterov": True, "eps_root": 1e-2}],
    "adabelief": [{}, {"eps": 1e-3, "eps_root": 1e-4, "nesterov": True}],
    "yogi": [{}, {"b1": 0.5, "b2": 0.9, "eps": 1e-2}],
    "lion": [{}, {"b1": 0.5, "b2": 0.8, "weight_decay": 0.1}],
    "lamb": [{}, {"eps_root": 1e-2, "weight_decay": 0.1}],
}
MASKS = {"adamw": "mask", "lion": "mask", "lamb": "mask", "adadelta": "weight_decay_mask"}
STEPS = 200
MATRIX, SEVERAL = (3, 4), {"w": (3, 4), "b": (5,)}


@pytest.fixture
def lenient():
    """optax mixes dtypes."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def a_tree(draw, shapes, *leading):
    shapes, structure = jax.tree.flatten(shapes, is_leaf=lambda x: isinstance(x, tuple))
    leaves = [draw.normal(size=(*leading, *shape)) * 10.0 ** draw.uniform(-3, 1, size=shape) for shape in shapes]
    return structure.unflatten(leaves)


def both_runs(of_gdjax, of_optax, shapes=MATRIX, *, start=lambda state: state):
    """The updates of both, [steps, …] each; `start` mends the state from which optax starts."""
    draw = np.random.default_rng(0)
    gradients, params = a_tree(draw, shapes, STEPS), a_tree(draw, shapes)

    def run(optimizer, state):
        def step(carry, gradient):
            params, state = carry
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), updates

        return jax.lax.scan(step, (params, state), gradients)[1]

    return jax.jit(lambda: (run(of_gdjax, of_gdjax.init(params)), run(of_optax, start(of_optax.init(params)))))()


def assert_same(updates, expected, bound=1e-9):
    for path, leaf in jax.tree.leaves_with_path(expected):
        mine = np.asarray(dict(jax.tree.leaves_with_path(updates))[path])
        sizes = np.linalg.norm(np.reshape(leaf, (STEPS, -1)), axis=1)
        errors = np.linalg.norm(np.reshape(mine - leaf, (STEPS, -1)), axis=1) / sizes
        assert errors.max() <= bound, (jax.tree_util.keystr(path), errors.argmax(), errors.max())


def without_memory(name):
    """optax fills also the *first* moment of Yogi with 1e-6, which moves a coordinate that has no gradient."""
    if name != "yogi":
        return lambda state: state
    return lambda state: (state[0]._replace(mu=jax.tree.map(jnp.zeros_like, state[0].mu)), *state[1:])


def test_every_name_has_its_settings():
    assert set(NAMES) == set(SETTINGS)


@pytest.mark.parametrize("name", NAMES)
def test_keywords_and_defaults_are_those_of_optax(name):
    mine, theirs = (inspect.signature(getattr(module, name)).parameters for module in (gdjax, optax))
    defaults = {keyword: parameter.default for keyword, parameter in theirs.items()}
    defaults |= {keyword: default for (owner, keyword), default in DEFAULTS_ON_PURPOSE.items() if owner == name}
    assert {keyword: mine[keyword].default for keyword in defaults if keyword in mine} == defaults
    positional = [keyword for keyword, parameter in mine.items() if parameter.kind is not parameter.KEYWORD_ONLY]
    assert positional == list(theirs)[: len(positional)]


@pytest.mark.usefixtures("x64", "lenient")
@pytest.mark.parametrize(
    ("name", "settings"),
    [(name, settings) for name, rows in SETTINGS.items() for settings in rows],
    ids=lambda x: ", ".join(f"{name}={value}" for name, value in x.items()) if isinstance(x, dict) else x,
)
def test_numbers_are_those_of_optax(name, settings):
    rate = (lambda step: 0.1 / (1 + 0.02 * step)) if not settings else 0.01
    settings = {"learning_rate": rate} | settings
    optimizers = (getattr(module, name)(**settings) for module in (gdjax, optax))
    assert_same(*both_runs(*optimizers, start=without_memory(name)))


@pytest.mark.usefixtures("x64", "lenient")
@pytest.mark.parametrize("name", MASKS)
def test_masked_and_scheduled_weight_decay_is_that_of_optax(name):
    settings = {"weight_decay": lambda step: 0.1 / (1 + 0.1 * step), MASKS[name]: {"w": True, "b": False}}
    assert_same(*both_runs(*(getattr(module, name)(0.01, **settings) for module in (gdjax, optax)), SEVERAL))


@pytest.mark.usefixtures("x64", "lenient")
@pytest.mark.parametrize(
    ("of_gdjax", "of_optax"),
    [
        (gdjax.gd(0.1), optax.sgd(0.1)),
        (gdjax.momentum(0.1, 0.8), optax.chain(optax.ema(0.8, debias=False), optax.sgd(0.1))),
        (gdjax.heavy_ball(0.1, 0.8), optax.sgd(0.1, momentum=0.8)),
        (gdjax.heavy_ball(0.1, 0.8, nesterov=True), optax.sgd(0.1, momentum=0.8, nesterov=True)),
    ],
    ids=["gd", "momentum", "heavy_ball", "heavy_ball-nesterov"],
)
def test_descent_is_what_optax_has_under_other_names(of_gdjax, of_optax):
    assert_same(*both_runs(of_gdjax, of_optax))


@pytest.mark.usefixtures("x64", "lenient")
@pytest.mark.parametrize("name", ["adam", "lion"])
def test_a_first_moment_in_16_bits_is_as_good_as_that_of_optax(name):
    """Bit for bit they differ: gdjax's Adam remembers the corrected moment, and rounds that."""
    exact = getattr(optax, name)(0.01)
    rounded = [getattr(module, name)(0.01, mu_dtype="bfloat16") for module in (gdjax, optax)]
    (mine, theirs), (expected, _) = both_runs(*rounded), both_runs(exact, exact)
    errors = [np.linalg.norm(updates - expected) / np.linalg.norm(expected) for updates in (mine, theirs)]
    print(f"relative error with a bfloat16 moment: gdjax {errors[0]:.2g}, optax {errors[1]:.2g}")
    assert 0 < errors[0] <= 1.2 * errors[1]


def test_adadelta_goes_downhill_without_a_learning_rate():
    optimizer = gdjax.adadelta()
    updates, _ = optimizer.update(jnp.array([1.0, -1.0]), optimizer.init(jnp.zeros(2)), jnp.zeros(2))
    assert jnp.sign(updates).tolist() == [-1.0, 1.0]


def test_yogi_leaves_a_coordinate_without_gradient_where_it_is():
    optimizer = gdjax.yogi(0.1)
    updates, _ = optimizer.update(jnp.array([0.0, 1.0]), optimizer.init(jnp.zeros(2)))
    assert updates[0] == 0.0
    assert updates[1] < 0.0
