"""The promises that every public transform and optimizer keeps: one row each, one test a promise."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import presets, transforms

FACTORIES = {
    "ema": lambda: transforms.ema(0.9),
    "ema_of_squares": lambda: transforms.ema_of_squares(0.9),
    "accumulate": lambda: transforms.accumulate(0.9),
    "sum_of_squares": lambda: transforms.sum_of_squares(initial_value=0.1),
    "accumulate_gradients": lambda: transforms.accumulate_gradients(gdjax.adam(0.1), 2),
    "skip_non_finite": lambda: transforms.skip_non_finite(gdjax.adam(0.1)),
    "kahan": transforms.kahan,
    "stochastic_rounding": transforms.stochastic_rounding,
    "nesterov": lambda: transforms.nesterov(transforms.accumulate(0.9)),
    "bias_corrected": lambda: transforms.bias_corrected(transforms.ema(0.9)),
    "bias_corrected-weight": lambda: transforms.bias_corrected(
        transforms.ema_of_squares(0.9), weight=transforms.ema(0.8)
    ),
    "adaptive": lambda: transforms.adaptive(magnitude=transforms.ema_of_squares(0.9)),
    "weighted_sum": lambda: transforms.bias_corrected(transforms.weighted_sum()),
    "quotient": lambda: transforms.quotient(size=transforms.ema_of_max(0.9), eps=1e-8),
    "root": lambda: transforms.root(transforms.ema_of_squares(0.9), eps=1e-8),
    "unit_corrected": lambda: transforms.unit_corrected(transforms.ema_of_squares(0.9)),
    "surprise": lambda: transforms.adaptive(
        direction=transforms.ema(0.9), magnitude=transforms.chain(transforms.surprise(), transforms.ema_of_squares(0.9))
    ),
    "ema_of_variance": lambda: transforms.ema_of_variance(0.9, initial_value=0.1),
    "additive_squares": lambda: transforms.additive_squares(0.9),
    "ema_of_max": lambda: transforms.ema_of_max(0.9),
    "running_max": lambda: transforms.running_max(transforms.ema_of_squares(0.9)),
    "nesterov_corrected": lambda: transforms.nesterov_corrected(transforms.ema(0.9)),
    "nesterov_corrected-momentum": lambda: transforms.nesterov_corrected(transforms.ema(0.9), momentum=0.8),
    "two_speed": lambda: transforms.two_speed(answers=transforms.ema(0.9), remembers=transforms.ema(0.99)),
    "rectified": lambda: transforms.rectified(transforms.ema_of_squares(0.999)),
    "sign": transforms.sign,
    "negate": transforms.negate,
    "dampen": lambda: transforms.dampen(0.5),
    "add_decayed_weights": lambda: transforms.add_decayed_weights(0.1),
    "trust_ratio": transforms.trust_ratio,
    "rate_on_plateau": lambda: transforms.rate_on_plateau(gdjax.gd(0.1), transforms.reduce_on_plateau(0.5)),
    "scale_by_learning_rate": lambda: transforms.scale_by_learning_rate(0.1),
    "clocked": lambda: transforms.clocked(transforms.ema(lambda step: 0.9)),
    "chain": lambda: transforms.chain(optax.identity(), transforms.ema(0.5), gdjax.gd(0.1)),
    "reduce_on_plateau": lambda: transforms.reduce_on_plateau(0.5, patience=1),
    "gd": lambda: gdjax.gd(0.1),
    "momentum": lambda: gdjax.momentum(0.1),
    "heavy_ball": lambda: gdjax.heavy_ball(0.1),
    "heavy_ball-nesterov": lambda: gdjax.heavy_ball(0.1, nesterov=True),
    "adagrad": lambda: gdjax.adagrad(0.1),
    "rmsprop": lambda: gdjax.rmsprop(0.1),
    "adam": lambda: gdjax.adam(0.1),
    **{
        name: functools.partial(getattr(gdjax, name), 0.1)
        for name in ["adamw", "amsgrad", "adamax", "nadam", "radam", "adabelief", "yogi", "adadelta", "lion", "lamb"]
    },
    "rmsprop-centered": lambda: gdjax.rmsprop(0.1, centered=True, momentum=0.9, bias_correction=True),
    "adam-nesterov": lambda: gdjax.adam(0.1, nesterov=True),
    "adamw-mask": lambda: gdjax.adamw(0.1, mask=lambda params: jax.tree.map(lambda p: np.ndim(p) > 1, params)),
    "nadam-scheduled": lambda: gdjax.nadam(0.1, b1=gdjax.schedules.nadam_momentum(0.9)),
    "adam-scheduled": lambda: gdjax.adam(gdjax.schedules.inverse_time_decay(0.1, 1.0), b1=lambda step: 0.9),
}
PRESETS = {
    "torch.sgd": lambda: presets.torch.sgd(0.1, 0.9, dampening=0.5, weight_decay=0.1),
    **{
        f"torch.{name}": functools.partial(getattr(presets.torch, name), 0.1, weight_decay=0.1)
        for name in ["adam", "adamw", "adamax", "nadam", "radam", "rmsprop", "adagrad", "adadelta"]
    },
    **{
        f"keras.{name}": functools.partial(getattr(presets.keras, name), 0.1, weight_decay=0.1, clipnorm=1.0)
        for name in ["sgd", "adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad", "adadelta", "lion", "lamb"]
    },
    "torch.reduce_lr_on_plateau": lambda: presets.torch.reduce_lr_on_plateau(presets.torch.sgd(0.1)),
    "keras.reduce_lr_on_plateau": lambda: presets.keras.reduce_lr_on_plateau(presets.keras.sgd(0.1, 0.9)),
}
"""Other compositions of the same parts: in the short form, only what their own keywords could break."""
every_transform = pytest.mark.parametrize(
    "make",
    [*FACTORIES.values(), *(pytest.param(make, marks=pytest.mark.long) for make in PRESETS.values())],
    ids=[*FACTORIES, *PRESETS],
)
every_preset_too = pytest.mark.parametrize("make", (FACTORIES | PRESETS).values(), ids=FACTORIES | PRESETS)
EXTRA = {"value": 1.0, "an_argument_nobody_knows": object()}


def tree(dtype=jnp.float32, seed=0):
    draw = np.random.default_rng(seed)

    def leaf(*shape):
        x = draw.normal(size=shape)
        if jnp.issubdtype(dtype, jnp.complexfloating):
            x = x + 1j * draw.normal(size=shape)
        return jnp.asarray(x, dtype)

    return {"w": leaf(3, 2), "layers": [leaf(4), (leaf(), leaf(2, 1))]}


def signature(tree):
    """Structure, shapes and dtypes."""
    return jax.tree.map(lambda leaf: (np.shape(leaf), jnp.dtype(leaf.dtype)), tree)


def init_and_update(transform, params, gradients):
    """The shapes and dtypes of init's state, of the updates, and of the state after one and after two updates."""

    def run(params, gradients):
        state = transform.init(params)
        updates, after = transform.update(gradients, state, params, **EXTRA)
        return state, updates, after, transform.update(gradients, after, params, **EXTRA)[1]

    return [signature(result) for result in jax.eval_shape(run, params, gradients)]


def no_state_drifts(transform, params, gradients):
    before, updates, after, later = init_and_update(transform, params, gradients)
    assert before == after == later
    assert updates == signature(gradients)
    return before


def assert_close(tree, expected, rtol=2e-6):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7), tree, expected)


def test_every_public_transform_has_a_row():
    not_transforms = {"hyperparameters", "learning_rate"}
    public = {name for name, value in vars(transforms).items() if inspect.isfunction(value)} - not_transforms
    public |= {name for name, value in vars(gdjax.optimizers).items() if inspect.isfunction(value)}
    for framework in (presets.torch, presets.keras):
        made_there = {name for name, f in vars(framework).items() if getattr(f, "__module__", "") == framework.__name__}
        label = framework.__name__.rsplit(".", 1)[1]
        public |= {f"{label}.{name}" for name in made_there if name[0].islower()} - {"keras.inverse_time_decay"}
    assert public <= set(FACTORIES | PRESETS)


@every_preset_too
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "complex64"])
def test_structure_shapes_and_dtypes_are_kept(make, dtype):
    no_state_drifts(make(), tree(jnp.dtype(dtype)), tree(jnp.dtype(dtype), seed=1))


@pytest.mark.usefixtures("x64")
@every_transform
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64", "complex64", "complex128"])
def test_dtypes_are_kept_with_x64_on(make, dtype):
    no_state_drifts(make(), tree(jnp.dtype(dtype)), tree(jnp.dtype(dtype), seed=1))


@every_transform
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_state_is_float32_for_16_bit_parameters(make, dtype):
    state = jax.eval_shape(make().init, tree(jnp.dtype(dtype)))
    floats = [leaf.dtype for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    assert set(floats) <= {jnp.dtype(jnp.float32)}


@every_transform
@pytest.mark.parametrize(("params", "gradients"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_gradients_may_have_another_dtype_than_parameters(make, params, gradients):
    no_state_drifts(make(), tree(jnp.dtype(params)), tree(jnp.dtype(gradients), seed=1))


@every_transform
def test_init_accepts_shapes_alone(make):
    params = tree()
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    from_shapes, from_arrays = make().init(shapes), make().init(params)
    assert signature(from_shapes) == signature(from_arrays)
    jax.tree.map(np.testing.assert_array_equal, from_shapes, from_arrays)


@every_preset_too
def test_nothing_recompiles_at_the_second_call(make):
    traces = []

    @jax.jit
    def step(optimizer, gradients, state, params):
        traces.append(1)
        return optimizer.update(gradients, state, params, **EXTRA)

    params = tree()
    state = make().init(params)
    for seed in range(3):
        _, state = step(make_same(make), tree(seed=seed), state, params)
    assert len(traces) == 1


def make_same(make, kept={}):  # noqa: B006  A lambda is structure, so the optimizers must share it.
    return kept.setdefault(make, make())


@every_transform
def test_vmap_equals_separate_runs(make):
    transform = make()
    params, gradients = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tree(seed=seed + i) for i in range(3))) for seed in (0, 5)
    )

    def run(params, gradients):
        updates, state = transform.update(gradients, transform.init(params), params, **EXTRA)
        return transform.update(jax.tree.map(jnp.negative, gradients), state, updates, **EXTRA)

    mapped = jax.jit(jax.vmap(run))(params, gradients)
    alone = [jax.jit(run)(*jax.tree.map(lambda leaf, i=i: leaf[i], (params, gradients))) for i in range(3)]
    assert_close(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *alone))


@every_transform
@pytest.mark.parametrize(
    "params", [{}, {"a": None}, {"a": None, "b": 1.0}, {"a": [0, 3], "b": 2.0}], ids=["empty", "None", "None+", "zero"]
)
def test_odd_trees(make, params):
    params = {  # a list is a shape
        name: jnp.ones(leaf) if isinstance(leaf, list) else leaf if leaf is None else jnp.full((2,), leaf)
        for name, leaf in params.items()
    }
    no_state_drifts(make(), params, params)
    updates, _ = make().update(params, make().init(params), params, **EXTRA)
    assert signature(updates) == signature(params)


@every_transform
def test_integer_leaf_with_float0_gradient_is_left_untouched(make):
    params = {"w": jnp.ones(3), "index": jnp.arange(2)}
    gradients = jax.grad(lambda params: params["w"].sum(), allow_int=True)(params)
    assert gradients["index"].dtype == jax.dtypes.float0
    state = make().init(params)
    for _ in range(2):
        updates, state = make().update(gradients, state, params, **EXTRA)
        assert updates["index"].dtype == jax.dtypes.float0
        assert updates["index"].shape == (2,)
        assert updates["w"].dtype == jnp.float32


@every_transform
def test_nothing_is_donated_twice(make):
    transform = make()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, gradients):
        updates, state = transform.update(gradients, state, params, **EXTRA)
        return optax.apply_updates(params, updates), state

    params = tree()
    params, state = step(params, transform.init(params), tree(seed=1))
    params, state = step(params, state, tree(seed=2))
    assert all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(params))


@every_transform
def test_a_donated_state_takes_no_hyperparameter_with_it(make):
    transform = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), make())
    params = tree()
    state = transform.init(params)
    jax.jit(lambda state: jax.tree.map(lambda leaf: leaf + leaf, state), donate_argnums=0)(state)
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves(transform))


@every_transform
def test_flattening_keeps_the_transform(make):
    transform = make()
    leaves, structure = jax.tree.flatten(transform)
    again = jax.tree.unflatten(structure, leaves)
    assert jax.tree.structure(again) == structure
    assert isinstance(again, optax.GradientTransformationExtraArgs)
    params = tree()
    programs = [
        str(jax.make_jaxpr(lambda x, each=each: each.update(x, each.init(x), x, **EXTRA))(params))
        for each in (transform, again)
    ]
    assert programs[0] == programs[1]


@every_transform
def test_a_string_leaf_is_an_error_with_its_path(make):
    gradients = {"w": jnp.ones(2), "name": "float32"}
    params = {"w": jnp.ones(2), "name": jnp.ones(())}
    with pytest.raises(TypeError, match=r"updates\['name'\].*must be an array, got 'float32'"):
        make().update(gradients, make().init(params), **EXTRA)


@every_transform
def test_a_python_float_is_taken_as_an_array(make):
    updates, _ = make().update({"w": 1.0}, make().init({"w": 0.5}), {"w": 0.5}, **EXTRA)
    assert np.shape(updates["w"]) == ()
    assert np.isfinite(float(updates["w"]))
