import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules, transforms
from gdjax.transforms import add_decayed_weights

PARAMS = {"layers": [{"w": np.full((2, 2), 2, np.float32), "b": np.full(2, 2, np.float32)}], "scale": np.float32(2)}
ZEROS = jax.tree.map(np.zeros_like, PARAMS)


@jax.jit
def update(transform, updates, state, params):
    return transform.update(updates, state, params)


def decayed(mask):
    """Which leaves a pull of 0.5 reaches: w, b, scale."""
    pull = add_decayed_weights(0.5, mask)
    updates, _ = update(pull, ZEROS, pull.init(PARAMS), PARAMS)
    leaves = [updates["layers"][0]["w"], updates["layers"][0]["b"], updates["scale"]]
    assert all(np.all(leaf == leaf.flat[0]) if leaf.ndim else True for leaf in map(np.asarray, leaves))
    return [float(np.asarray(leaf).flat[0]) for leaf in leaves]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(None, [1, 1, 1], id="none"),
        pytest.param(True, [1, 1, 1], id="true"),
        pytest.param(False, [0, 0, 0], id="false"),
        pytest.param(np.bool_(True), [1, 1, 1], id="numpy"),
        pytest.param({"layers": [{"w": True, "b": False}], "scale": False}, [1, 0, 0], id="tree"),
        pytest.param({"layers": True, "scale": False}, [1, 1, 0], id="prefix"),
        pytest.param({"layers": [False], "scale": True}, [0, 0, 1], id="prefix in a list"),
        pytest.param(lambda params: jax.tree.map(lambda p: np.ndim(p) > 1, params), [1, 0, 0], id="function"),
        pytest.param(lambda params: {"layers": False, "scale": np.bool_(True)}, [0, 0, 1], id="function to prefix"),
    ],
)
def test_masks(mask, expected):
    assert decayed(mask) == expected


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            {"layers": [{"w": 1, "b": False}], "scale": True},
            TypeError,
            r"`mask\['layers'\]\[0\]\['w'\]` must be True or False, got 1",
        ),
        ({"layers": "all", "scale": True}, TypeError, r"`mask\['layers'\]` must be True or False, got 'all'"),
        ({"layers": True, "scale": None}, TypeError, r"`mask\['scale'\]` must be True or False, got None"),
        ("all", TypeError, "`mask` must be True or False, got 'all'"),
        (
            {"layers": np.array([True]), "scale": True},
            TypeError,
            r"`mask\['layers'\]` must be True or False, got array",
        ),
    ],
)
def test_a_mask_of_other_things_is_an_error_with_its_path(mask, error, message):
    with pytest.raises(error, match=message):
        add_decayed_weights(0.5, mask)


@pytest.mark.parametrize("given", ["itself", "function"])
@pytest.mark.parametrize(
    "mask",
    [{"layers": True}, [True], {"layers": [True, True], "scale": True}, {"layers": True, "scale": {"x": True}}],
    ids=["missing", "list", "too long", "too deep"],
)
def test_a_mask_that_does_not_fit_is_an_error(mask, given):
    pull = add_decayed_weights(0.5, mask if given == "itself" else lambda params: mask)
    with pytest.raises(ValueError, match=r"^`mask` must be a tree prefix of the parameters, .*, got PyTreeDef.*\."):
        jax.eval_shape(pull.update, ZEROS, pull.init(PARAMS), PARAMS)


def test_a_function_to_something_else_is_an_error_with_its_path():
    pull = add_decayed_weights(0.5, lambda params: {"layers": 0.5, "scale": True})
    with pytest.raises(TypeError, match=r"`mask\['layers'\]` must be True or False, got 0.5"):
        jax.eval_shape(pull.update, ZEROS, pull.init(PARAMS), PARAMS)


def test_an_equal_mask_is_the_same_program():
    traces = []

    @jax.jit
    def step(pull, updates, state):
        traces.append(1)
        return pull.update(updates, state, PARAMS)

    def make(decay, w):
        return add_decayed_weights(decay, {"layers": [{"w": w, "b": False}], "scale": False})

    for decay in (0.1, 0.2, 0.3):
        step(make(decay, True), ZEROS, make(decay, True).init(PARAMS))
    assert len(traces) == 1
    step(make(0.1, False), ZEROS, make(0.1, False).init(PARAMS))
    assert len(traces) == 2


def test_a_mask_outlives_a_change_of_the_tree_that_it_was():
    mask = {"layers": [{"w": True, "b": False}], "scale": False}
    pull = add_decayed_weights(0.5, mask)
    mask["layers"][0]["w"] = False
    updates, _ = update(pull, ZEROS, pull.init(PARAMS), PARAMS)
    assert np.all(updates["layers"][0]["w"] == 1)


def test_decays_can_be_mapped_over_under_a_mask():
    def one(decay):
        pull = add_decayed_weights(decay, {"layers": True, "scale": False})
        return pull.update(ZEROS, pull.init(PARAMS), PARAMS)[0]

    updates = jax.vmap(one)(jnp.array([0.0, 0.25]))
    assert updates["layers"][0]["b"].tolist() == [[0, 0], [0.5, 0.5]]
    assert updates["scale"].tolist() == [0, 0]


def test_leaves_that_do_not_train_are_left_alone():
    params = {"w": np.float32([2, 4]), "count": np.arange(2), "none": None}
    pull = add_decayed_weights(0.5)
    updates, _ = update(pull, params | {"w": np.float32([1, 1])}, pull.init(params), params)
    assert updates["w"].tolist() == [2, 3]
    assert updates["count"].tolist() == [0, 1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_the_pull_is_formed_in_float32(dtype):
    """Parameters of 1e-3 pulled by 1e-4: their product is below float16's smallest."""
    pull = add_decayed_weights(1e-5)
    updates, _ = update(pull, jnp.float32(0), pull.init(None), jnp.asarray(2.0**-10, dtype))
    np.testing.assert_allclose(updates, 1e-5 * 2.0**-10, rtol=1e-6)


def test_no_decay_asks_for_no_parameters():
    for nothing in (0.0, 0):
        pull = add_decayed_weights(nothing)
        assert pull.update(jnp.ones(2), pull.init(jnp.ones(2)))[0].tolist() == [1, 1]
    with pytest.raises(ValueError, match="`params` must be given to `update`, since weights decay, got None"):
        add_decayed_weights(0.1).update(jnp.ones(2), pull.init(jnp.ones(2)))


@pytest.mark.parametrize("weight_decay", [-0.1, float("inf"), float("nan")])
def test_a_decay_is_not_negative(weight_decay):
    with pytest.raises(ValueError, match="`weight_decay` must be finite and at least 0, got"):
        add_decayed_weights(weight_decay)


def path(optimizer):
    """θ after each of 20 steps on gradients of its own, float64."""
    gradients = np.random.default_rng(0).normal(size=(20, 3))

    def step(carry, gradient):
        params, state = carry
        updates, state = optimizer.update(gradient, state, params)
        return (params + updates, state), params + updates

    start = jnp.array([3.0, -2.0, 1.0])
    return gradients, np.asarray(jax.jit(lambda: jax.lax.scan(step, (start, optimizer.init(start)), gradients)[1])())


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("coupled", [True, False])
def test_coupled_decay_enters_the_memory_and_decoupled_does_not(coupled):
    pull = add_decayed_weights(schedules.linear(0.5, 0.1, 10))
    memory, rate = transforms.accumulate(0.9), transforms.scale_by_learning_rate(0.01)
    parts = [pull, memory, rate] if coupled else [memory, pull, rate]
    gradients, seen = path(transforms.clocked(transforms.chain(*parts)))
    theta, v, expected = np.array([3.0, -2.0, 1.0]), np.zeros(3), []
    for g, decay in zip(gradients, np.interp(np.arange(20), [0, 10], [0.5, 0.1]), strict=True):
        v = 0.9 * v + g + coupled * decay * theta
        theta = theta - 0.01 * (v + (not coupled) * decay * theta)
        expected.append(theta)
    np.testing.assert_allclose(seen, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "mask",
    [
        {"w": True, "name": False, "b": False},
        {"w": True, "name": True, "b": False},
        lambda params: {"w": True, "name": False, "b": False},
        lambda params: jax.tree.map(lambda p: np.ndim(p) > 0, params),
    ],
    ids=["without", "with", "function", "mapped"],
)
def test_a_mask_in_a_run_whose_parameters_hold_other_leaves(mask):
    """A run's transforms see None where a leaf does not train, and so does a function that makes the mask."""
    params = {"w": np.float32([2]), "name": "moons", "b": np.float32(2)}
    optimizer = gdjax.chain(add_decayed_weights(1.0, mask), gdjax.gd(0.1))
    result = gdjax.fit(
        lambda params, batch: 0.0 * params["w"][0] + 0.0 * params["b"] + 0.0 * jnp.mean(batch),
        params,
        np.ones(2, np.float32),
        optimizer=optimizer,
        regime=gdjax.full_batch(),
        epochs=1,
    )
    assert result.params["name"] == "moons"
    np.testing.assert_allclose([result.params["w"][0], result.params["b"]], [1.8, 2.0], rtol=1e-6)
