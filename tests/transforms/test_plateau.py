import math

import jax
import jax.numpy as jnp
import pytest

import gdjax
from gdjax import transforms


def scales(metrics, dtype=jnp.float32, **settings):
    """The factor on the update after each metric."""
    plateau = transforms.reduce_on_plateau(**settings)
    update, state, seen = jax.jit(plateau.update), plateau.init(jnp.zeros((), dtype)), []
    for metric in metrics:
        updates, state = update(jnp.ones((), dtype), state, value=metric)
        seen.append(float(updates))
    return seen


@pytest.mark.parametrize(
    ("metrics", "settings", "expected"),
    [
        pytest.param([5, 4, 3, 2], {"patience": 1}, [1, 1, 1, 1], id="improving"),
        pytest.param([5, 5, 5, 5, 5], {"patience": 2}, [1, 1, 0.5, 0.5, 0.25], id="constant"),
        pytest.param([-1, -1, -1, -1, -1], {"patience": 2}, [1, 1, 0.5, 0.5, 0.25], id="constant-negative"),
        pytest.param([0, 0, 0], {"patience": 1}, [1, 0.5, 0.25], id="zero"),
        pytest.param([-1, -2, -3, -4], {"patience": 1}, [1, 1, 1, 1], id="improving-negative"),
        pytest.param([4, 3, 2, 1], {"patience": 0}, [1, 1, 1, 1], id="patience-0-improving"),
        pytest.param([4, 4, 4], {"patience": 0}, [1, 0.5, 0.25], id="patience-0-constant"),
        pytest.param([5, 6, 4, 5, 6], {"patience": 2}, [1, 1, 1, 1, 0.5], id="patience-starts-anew"),
        pytest.param([5, math.nan, math.nan, 4, 4], {"patience": 2}, [1, 1, 0.5, 0.5, 0.5], id="nan-is-bad"),
        pytest.param([math.nan, math.nan, 1, 0.5], {"patience": 2}, [1, 0.5, 0.5, 0.5], id="nan-first"),
        pytest.param([math.inf, math.inf, 1, 0.5], {"patience": 2}, [1, 0.5, 0.5, 0.5], id="infinity-is-bad"),
        pytest.param([100, 99.5, 99.2], {"patience": 1, "rtol": 0.01}, [1, 0.5, 0.25], id="rtol"),
        pytest.param([-100, -100.5, -102], {"patience": 1, "rtol": 0.01}, [1, 0.5, 0.5], id="rtol-negative"),
        pytest.param([1, 0.95, 0.8], {"patience": 1, "rtol": 0.0, "atol": 0.1}, [1, 0.5, 0.5], id="atol"),
        pytest.param([1] * 6, {"patience": 1, "cooldown": 2}, [1, 0.5, 0.5, 0.5, 0.25, 0.25], id="cooldown"),
        pytest.param([1] * 4, {"patience": 1, "min_scale": 0.4}, [1, 0.5, 0.4, 0.4], id="min_scale"),
        pytest.param([1] * 3, {"patience": 1, "min_scale": 2.0}, [1, 1, 1], id="min_scale-never-raises"),
        pytest.param([1] * 3, {"patience": 1, "factor": 0.0}, [1, 0, 0], id="factor-0"),
    ],
)
def test_cuts(metrics, settings, expected):
    assert scales([float(m) for m in metrics], **({"factor": 0.5} | settings)) == pytest.approx(expected)


def test_the_metric_is_float32_beside_bfloat16_parameters():
    improving = [1 - 2e-3 * i for i in range(8)]  # bfloat16 cannot tell these apart
    assert scales(improving, jnp.bfloat16, factor=0.5, patience=1) == [1] * 8


def test_a_nan_does_not_become_the_best():
    plateau = transforms.reduce_on_plateau()
    state = plateau.init(None)
    for metric in (3.0, math.nan, -math.nan, math.inf):
        _, state = plateau.update(None, state, value=metric)
    assert float(state.best) == 3.0


def test_an_epoch_is_judged_once_when_it_changes():
    plateau = transforms.reduce_on_plateau(0.5, patience=2)
    state, seen = plateau.init(None), []
    for epoch, epoch_value in [(0, math.inf), (1, 3.0), (2, 3.0), (3, 3.0), (4, 2.0)]:
        for step in range(3):
            value = 100.0 - step  # the batch's loss is not judged in a run
            _, state = plateau.update(None, state, value=value, epoch=epoch, epoch_value=epoch_value)
        seen.append((float(state.plateau_scale), int(state.bad)))
    assert seen == [(1.0, 0), (1.0, 0), (1.0, 1), (0.5, 0), (0.5, 0)]


def test_the_epoch_is_an_integer_however_many_steps_it_has():
    plateau = transforms.reduce_on_plateau(0.5, patience=1)
    state = plateau.init(None)
    for epoch in (31, 32):
        _, state = plateau.update(None, state, epoch=epoch, epoch_fraction=0.99999999, epoch_value=1.0)
    assert float(state.plateau_scale) == 0.5
    assert int(state.epoch) == 32


@pytest.mark.parametrize("extra", [{}, {"epoch": 1}, {"epoch_value": 1.0}], ids=str)
def test_nothing_to_judge_is_an_error(extra):
    plateau = transforms.reduce_on_plateau()
    with pytest.raises(ValueError, match="`reduce_on_plateau` must be told what to judge.*`value=`"):
        plateau.update(None, plateau.init(None), **extra)


@pytest.mark.parametrize("name", ["value", "epoch_value"])
def test_a_metric_is_a_scalar(name):
    plateau = transforms.reduce_on_plateau()
    with pytest.raises(ValueError, match=rf"`{name}` must be a scalar.*\(3,\)"):
        plateau.update(None, plateau.init(None), **({"value": 1.0, "epoch": 1} | {name: jnp.ones(3)}))


@pytest.mark.parametrize("optimizer", [gdjax.adam(0.1), gdjax.gd(0.1)], ids=["adam", "gd"])
def test_after_an_optimizer_it_scales_the_step(optimizer):
    chained = gdjax.chain(optimizer, transforms.reduce_on_plateau(0.5, patience=1))
    state, alone = chained.init(jnp.zeros(2)), optimizer.init(jnp.zeros(2))
    for scale in (1.0, 0.5, 0.25):
        updates, state = chained.update(jnp.ones(2), state, value=1.0)
        expected, alone = optimizer.update(jnp.ones(2), alone)
        assert updates.tolist() == (scale * expected).tolist()


def test_two_factors_are_one_program():
    traces = []

    @jax.jit
    def run(plateau):
        traces.append(1)
        return plateau.update(jnp.ones(()), plateau.init(jnp.ones(())), value=1.0)

    for factor in (0.5, 0.1):
        run(transforms.reduce_on_plateau(factor, patience=3))
    assert len(traces) == 1
