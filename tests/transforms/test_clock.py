"""The clock: counts, schedules, and what it tells about them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gdjax
from gdjax import schedules, transforms

PARAMS = {"w": jnp.ones(3)}
halving = schedules.step_decay(0.8, 1)


def after(optimizer, steps, **extra):
    state = optimizer.init(PARAMS)
    for _ in range(steps):
        _, state = optimizer.update(PARAMS, state, PARAMS, **extra)
    return state


@pytest.mark.parametrize(("steps", "rate"), [(0, 0.8), (1, 0.8), (2, 0.4), (3, 0.2)])
@pytest.mark.parametrize("make", [gdjax.gd, gdjax.adam])
def test_the_recorded_learning_rate_is_the_one_that_acted(make, steps, rate):
    for learning_rate in (halving, lambda step: 0.8 * 0.5**step):
        state = after(make(learning_rate), steps)
        assert float(transforms.learning_rate(state)) == pytest.approx(rate)
        assert int(state.count) == steps


def test_the_first_update_is_made_at_f_of_0():
    optimizer = gdjax.gd(halving)
    updates, _ = optimizer.update(PARAMS, optimizer.init(PARAMS))
    np.testing.assert_allclose(updates["w"], -0.8)


def test_the_count_saturates():
    optimizer = gdjax.adam(halving)
    state = optimizer.init(PARAMS)._replace(count=jnp.array(2**31 - 1, jnp.int32))
    updates, state = optimizer.update(PARAMS, state)
    assert int(state.count) == 2**31 - 1
    assert state.count.dtype == jnp.int32
    assert np.isfinite(updates["w"]).all()


@pytest.mark.parametrize("optimizer", [gdjax.adam(0.1), gdjax.adam(halving), gdjax.adam(0.1, b1=halving, eps=halving)])
def test_a_schedule_does_not_change_the_state(optimizer):
    expected = gdjax.adam(0.5).init(PARAMS)
    state = optimizer.init(PARAMS)
    assert jax.tree.structure(state) == jax.tree.structure(expected)
    assert jax.tree.map(jnp.result_type, state) == jax.tree.map(jnp.result_type, expected)


def test_all_hyperparameters_can_be_read():
    state = after(gdjax.adam(0.1, b1=0.8, b2=halving, eps=1e-3), 2)
    numbers = {name: float(value) for name, value in state.hyperparameters.items()}
    assert len(numbers) == 5
    assert numbers["learning_rate"] == pytest.approx(0.1)
    assert numbers["eps"] == pytest.approx(1e-3)
    rest = [value for name, value in numbers.items() if name not in ("learning_rate", "eps", "eps_root")]
    assert sorted(rest) == pytest.approx([0.2, 0.6])  # kept as 1 - decay


def test_equal_names_are_told_apart_by_their_paths():
    names = transforms.hyperparameters(gdjax.chain(gdjax.gd(0.1), gdjax.gd(0.2), gdjax.momentum(0.3)))
    assert len(names) == 4
    assert all(name.split(".")[-1] in ("learning_rate", "one_minus_beta") for name in names)
    assert sorted(float(value) for value in names.values()) == pytest.approx([0.1, 0.1, 0.2, 0.3])


plateau = transforms.reduce_on_plateau(0.5, patience=1)


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [
        (gdjax.adam(halving), 0.2),
        (gdjax.chain(gdjax.gd(halving), plateau), 0.2 * 0.25),
        (optax.chain(optax.clip(1.0), gdjax.gd(halving), plateau), 0.2 * 0.25),
        (optax.chain(optax.chain(gdjax.gd(0.1)), plateau, plateau), 0.1 * 0.25**2),
        (gdjax.chain(plateau, optax.inject_hyperparams(optax.sgd)(0.1)), 0.1 * 0.25),
        (optax.apply_if_finite(gdjax.gd(0.3), 5), 0.3),
        (gdjax.chain(gdjax.gd(0.1), gdjax.gd(0.2)), np.nan),
        (optax.sgd(0.1, momentum=0.9), np.nan),
        (plateau, np.nan),
        (transforms.ema(0.9), np.nan),
        (optax.identity(), np.nan),
    ],
    ids=range(11),
)
def test_learning_rate_of_any_state(optimizer, rate):
    optimizer = optax.with_extra_args_support(optimizer)
    np.testing.assert_allclose(transforms.learning_rate(after(optimizer, 3, value=1.0)), rate, rtol=1e-6)


def test_learning_rate_can_be_read_under_jit_and_vmap():
    optimizers = jax.vmap(gdjax.adam)(jnp.array([0.1, 0.2]))
    states = jax.vmap(lambda optimizer: optimizer.init(PARAMS))(optimizers)
    np.testing.assert_allclose(jax.jit(jax.vmap(transforms.learning_rate))(states), [0.1, 0.2])


@pytest.mark.parametrize(
    "transform",
    [
        transforms.scale_by_learning_rate(halving),
        transforms.ema(halving),
        transforms.bias_corrected(transforms.ema(halving)),
        transforms.adaptive(magnitude=transforms.sum_of_squares(), eps=halving),
    ],
    ids=["scale_by_learning_rate", "ema", "bias_corrected", "adaptive"],
)
def test_a_schedule_outside_a_clock_is_an_error(transform):
    with pytest.raises(ValueError, match=r"is a schedule, and only a clock can read it: wrap the whole in `clocked"):
        transform.update(PARAMS, transform.init(PARAMS))


def test_an_initial_value_outside_a_clock_is_an_error():
    with pytest.raises(ValueError, match=r"`initial_value` is a schedule, and only a clock can read it"):
        transforms.sum_of_squares(initial_value=halving).init(PARAMS)


def test_per_epoch_without_an_epoch_is_an_error():
    optimizer = gdjax.gd(schedules.per_epoch(halving))
    with pytest.raises(ValueError, match="`per_epoch` must know the epoch: pass `epoch=` to `update`"):
        optimizer.update(PARAMS, optimizer.init(PARAMS))


@pytest.mark.parametrize("wrap", [lambda o: o, lambda o: gdjax.chain(o), lambda o: optax.chain(o)])
def test_the_epoch_reaches_a_clock_through_chains(wrap):
    state = after(wrap(gdjax.gd(schedules.per_epoch(halving))), 1, epoch=2, epoch_fraction=0.5)
    assert float(transforms.learning_rate(state)) == pytest.approx(0.2)


@pytest.mark.parametrize("make", [transforms.clocked, gdjax.chain])
def test_a_factory_is_an_error(make):
    with pytest.raises(TypeError, match="must be a gradient transformation of gdjax or optax.*still has to be called"):
        make(gdjax.adam)
