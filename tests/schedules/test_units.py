import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gdjax
from gdjax import schedules

MILLION = 1_000_000


@jax.tree_util.register_static
class _Whereabouts(schedules.Schedule):
    """A schedule whose value is where it stands."""

    def at(self, position):
        return position


whereabouts = _Whereabouts()


def test_any_function_speaks_in_epochs():
    schedule = schedules.per_epoch(lambda epoch: epoch + epoch, steps_per_epoch=4)
    assert [float(schedule(step)) for step in (0, 1, 4, 6)] == [0, 0.5, 2, 3]
    assert int(schedules.per_epoch(lambda epoch: epoch + epoch)(0, epoch=jnp.int32(3))) == 6


def changing_at(units):
    """Schedules of 1 that change at that many units."""
    return {
        "step_decay": schedules.step_decay(1.0, units),
        "piecewise_constant": schedules.piecewise_constant(1.0, {units: 0.5}),
        "join": schedules.join([schedules.constant(1.0), schedules.constant(0.5)], [units]),
        "restarts": schedules.restarts(schedules.piecewise_constant(0.5, {1: 2.0}), units),
        "warmup": schedules.warmup(schedules.step_decay(1.0, 1), units - 1),
        "product": schedules.product(0.5, schedules.step_decay(2.0, units)),
    }


@pytest.mark.parametrize("epoch", [2, 32, 1000])
def test_boundaries_between_epochs_of_a_million_steps(epoch):
    boundary = epoch * MILLION
    last, first = {"epoch": epoch - 1, "epoch_fraction": 0.999999999}, {"epoch": epoch, "epoch_fraction": 0.0}
    for name, schedule in changing_at(epoch).items():
        counted = schedules.per_epoch(schedule, steps_per_epoch=MILLION)
        told = schedules.per_epoch(schedule)
        before, after = (counted(boundary - 1), told(0, **last)), (counted(boundary), told(0, **first))
        assert {float(value) for value in after} == {0.5}, name
        assert all(float(value) > 0.5 for value in before), name


@pytest.mark.parametrize("steps", [MILLION, 2**31 - 1])
@pytest.mark.parametrize("units", [1, 100, 65_535])
def test_boundaries_between_counted_shares(steps, units):
    where = schedules.per_run(whereabouts, units=units, steps=steps)
    rng = np.random.default_rng(0)
    begins = -(-rng.integers(0, units + 1, 1000) * steps // units)  # the first step at or after each share's beginning
    counts = np.clip(begins[:, None] + [-1, 0, 1], 0, steps).ravel()
    position = _counted(where, np.int32(counts))
    np.testing.assert_array_equal(position.whole, counts * units // steps)
    np.testing.assert_allclose(position.fraction, counts * units % steps / steps, rtol=1e-6)


@jax.jit
def _counted(where, steps):
    return jax.vmap(where)(steps)


@pytest.mark.parametrize("units", [1, 7, 100, 1000])
@pytest.mark.parametrize("epochs", [1, 3, 4, 25, 60, 1000])
@pytest.mark.parametrize("steps_per_epoch", [1, 7, 25, 250])
def test_told_shares_are_the_counted_ones(units, epochs, steps_per_epoch):
    """Also at boundaries within an epoch, whose fraction is rounded."""
    total = epochs * steps_per_epoch
    steps = np.arange(total + 2 * steps_per_epoch)
    steps = np.resize(np.random.default_rng(0).permutation(steps), 4000)  # all of them or many, one shape for jit
    fractions = (steps % steps_per_epoch).astype(np.float32) / np.float32(steps_per_epoch)
    whole, fraction = _told(steps // steps_per_epoch, fractions, epochs, units)
    expected = np.minimum(steps, total) * units
    np.testing.assert_array_equal(whole, expected // total)
    # Relative to the units an epoch has, and to one unit.
    np.testing.assert_allclose(fraction, expected % total / total, atol=3e-7 * (1 + units / epochs))


@jax.jit
def _told(epoch, fraction, epochs, units):
    where = schedules.per_run(whereabouts, units=units)
    return jax.vmap(lambda epoch, part: where(0, epoch=epoch, epoch_fraction=part, epochs=epochs))(epoch, fraction)


@pytest.mark.parametrize(("epochs", "units"), [(1000, 100), (100_000, 100), (100_000, 65_535), (2**31 - 1, 3)])
def test_boundaries_between_told_shares(epochs, units):
    """The last step of an epoch, whose fraction may even be rounded to 1, is not in the next epoch's share."""
    most = 2**31 - 65_536
    epoch = np.random.default_rng(0).integers(0, epochs, 1000)
    begins = -(-np.arange(units) * epochs // units)  # the first epoch at or after each share's beginning
    epoch = np.concatenate([epoch, np.resize(begins, 3000)]).clip(0, min(epochs, most) - 1)
    for fraction in (0.0, 0.999999, 1.0):
        whole, _ = _told(epoch, np.full(epoch.shape, fraction, np.float32), epochs, units)
        first = epoch * units // min(epochs, most)
        last = ((epoch + 1) * units - 1) // min(epochs, most)
        assert np.all(whole >= first)
        assert np.all(whole <= last)
        if fraction == 0.0:
            np.testing.assert_array_equal(whole, first)


def test_after_the_end_the_last_value_stays():
    schedule = schedules.step_decay(1.0, 50)
    counted = schedules.per_run(schedule, steps=6)
    told = schedules.per_run(schedule)
    assert [float(counted(step)) for step in (5, 6, 7, 2**31 - 1)] == [0.5, 0.25, 0.25, 0.25]
    values = [float(told(0, epoch=epoch, epoch_fraction=0.9, epochs=3)) for epoch in (0, 1, 2, 3, 4, 2**31 - 1)]
    assert values == [1.0, 0.5, 0.5, 0.25, 0.25, 0.25]


def test_a_run_of_no_epochs_is_at_its_beginning():
    assert float(schedules.per_run(schedules.step_decay(1.0, 1))(0, epoch=0, epochs=0)) == 1.0


def test_an_epoch_without_its_fraction():
    told = schedules.per_run(schedules.linear(1.0, 0.0, 100))
    assert float(told(0, epoch=1, epochs=4)) == 0.75
    assert float(schedules.per_epoch(schedules.linear(1.0, 0.0, 4))(0, epoch=1)) == 0.75


def test_the_counts_are_leaves():
    traces = []

    @jax.jit
    def value(schedule, step):
        traces.append(1)
        return schedule(step)

    schedule = schedules.linear(1.0, 0.0, 10)
    for units, steps in ((10, 20), (20, 10)):
        shares = schedules.per_run(schedule, units=units, steps=steps)
        assert float(value(shares, 5)) == pytest.approx(1 - min(5 * units / steps, 10) / 10)
    for steps in (5, 10):
        in_epochs = schedules.per_epoch(schedule, steps_per_epoch=steps)
        assert float(value(in_epochs, 5)) == pytest.approx(1 - 5 / steps / 10)
    assert len(traces) == 2


def test_an_optimizer_is_told_where_its_run_stands():
    optimizer = gdjax.gd(schedules.per_run(schedules.step_decay(1.0, 50)))
    state = optimizer.init(jnp.array(0.0))
    for epoch, expected in enumerate((1.0, 1.0, 0.5, 0.5, 0.25)):
        update, state = optimizer.update(jnp.array(1.0), state, epoch=epoch, epoch_fraction=0.5, epochs=4)
        assert float(update) == -expected


@pytest.mark.parametrize(
    ("count", "error"), [(0, ValueError), (-3, ValueError), (2**31, ValueError), (2.5, TypeError), (True, TypeError)]
)
def test_counts_out_of_range(count, error):
    schedule = schedules.step_decay(1.0, 1)
    with pytest.raises(error, match="`steps_per_epoch` must be"):
        schedules.per_epoch(schedule, steps_per_epoch=count)
    with pytest.raises(error, match="`steps` must be"):
        schedules.per_run(schedule, steps=count)
    with pytest.raises(error, match="`units` must be"):
        schedules.per_run(schedule, units=count)


def test_there_are_not_too_many_units():
    with pytest.raises(ValueError, match="`units` must be at most 65535, got 65536"):
        schedules.per_run(schedules.step_decay(1.0, 1), units=65_536)


def test_per_epoch_without_an_epoch_is_an_error():
    with pytest.raises(ValueError, match="must know the epoch: pass `epoch=` to `update`.*steps_per_epoch"):
        schedules.per_epoch(schedules.step_decay(1.0, 1))(0)


@pytest.mark.parametrize(
    ("told", "missing"),
    [
        ({}, "got no `epoch=` and no `epochs=`."),
        ({"epoch": 3}, "got no `epochs=`."),
        ({"epochs": 3}, "got no `epoch=`."),
    ],
)
def test_per_run_without_its_length_is_an_error(told, missing):
    with pytest.raises(ValueError, match="must know the length of the run: pass `epoch=` and `epochs=`") as error:
        schedules.per_run(schedules.step_decay(1.0, 1))(0, **told)
    assert str(error.value).endswith(missing)
