import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gdjax import schedules


@pytest.mark.parametrize("steps", [1, 2**24 + 1, 2**30, 2**31 - 1])
def test_a_long_triangle_has_its_peak_at_the_step(steps):
    schedule = schedules.cyclic(0.25, 1.0, steps)
    assert [float(schedule(step)) for step in (0, steps)] == [0.25, 1.0]


def test_triangles_shrink_cycle_by_cycle():
    schedule = schedules.cyclic(0.5, 1.5, 1, decay_rate=0.5)
    assert [float(schedule(step)) for step in range(7)] == [0.5, 1.5, 0.5, 1.0, 0.5, 0.75, 0.5]


def test_the_peak_of_one_cycle_is_where_double_precision_has_it():
    assert int(np.float32(0.29) * np.float32(100)) == 29
    schedule = schedules.one_cycle(100, 1.0, pct_start=0.29)
    assert float(schedule(28)) == 1.0
    assert float(schedule(29)) < 1.0


def test_one_cycle_may_begin_at_the_peak():
    for schedule in (schedules.one_cycle(4, 1.0, pct_start=0.0), schedules.one_cycle(1, 1.0)):
        assert float(schedule(0)) == 1.0
        assert float(schedule(4)) == pytest.approx(1 / 25e4)


def test_a_peak_just_before_the_end():
    for make in (lambda share: share, jnp.float32):
        schedule = schedules.one_cycle(2**31 - 1, 1.0, pct_start=make(np.nextafter(np.float32(1), np.float32(0))))
        assert float(schedule(2**31 - 1)) == pytest.approx(1 / 25e4)

    value = jax.jit(lambda share: schedules.one_cycle(2**24, 1.0, pct_start=share)(2**24))
    assert float(value(1 - 2**-24)) == pytest.approx(1 / 25e4)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("cyclic", {"transition_steps": 0}, "`transition_steps` must be at least 1, got 0"),
        ("cyclic", {"init_value": -1.0}, "`init_value` must be finite and at least 0, got -1.0"),
        ("cyclic", {"peak_value": -1.0}, "`peak_value` must be finite and at least 0, got -1.0"),
        ("cyclic", {"decay_rate": -1.0}, "`decay_rate` must be finite and at least 0, got -1.0"),
        ("one_cycle", {"transition_steps": 0}, "`transition_steps` must be at least 1, got 0"),
        ("one_cycle", {"peak_value": -1.0}, "`peak_value` must be finite and at least 0, got -1.0"),
        ("one_cycle", {"pct_start": 1.0}, r"`pct_start` must lie in \[0, 1\), got 1.0"),
        ("one_cycle", {"div_factor": 0}, "`div_factor` must be finite and above 0, got 0.0"),
        ("one_cycle", {"final_div_factor": 0}, "`final_div_factor` must be finite and above 0, got 0.0"),
    ],
)
def test_numbers_out_of_range(name, changed, message):
    numbers = {
        "cyclic": {"init_value": 0.1, "peak_value": 1.0, "transition_steps": 5},
        "one_cycle": {"transition_steps": 5, "peak_value": 1.0},
    }[name]
    with pytest.raises(ValueError, match=message):
        getattr(schedules, name)(**numbers | changed)
