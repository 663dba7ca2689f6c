import pytest

from gdjax import schedules


def test_numbers_out_of_range():
    with pytest.raises(ValueError, match=r"`b1` must lie in \[0, 1\), got 1.0"):
        schedules.nadam_momentum(1.0)
    with pytest.raises(ValueError, match="`momentum_decay` must be finite and at least 0, got -0.1"):
        schedules.nadam_momentum(0.9, momentum_decay=-0.1)


def test_momentum_grows_from_half_to_its_limit():
    schedule = schedules.nadam_momentum(0.8)
    values = [float(schedule(step)) for step in (0, 10, 1000, 2**31 - 1)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0.4, rel=1e-3)
    assert values[-1] == pytest.approx(0.8)
