import pytest

from gdjax import schedules


@pytest.mark.parametrize("step", [1, 2**24 + 1, 2**31 - 1])
def test_the_new_value_acts_at_the_boundary(step):
    schedule = schedules.piecewise_constant(1.0, {step: 0.25})
    assert [float(schedule(step - 1)), float(schedule(step))] == [1.0, 0.25]


def test_without_a_boundary_it_is_constant():
    assert float(schedules.piecewise_constant(0.5, {})(10)) == 0.5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: schedules.constant(-1.0), ValueError, "`value` must be finite and at least 0, got -1.0"),
        (
            lambda: schedules.piecewise_constant(1.0, [(3, 0.1)]),
            TypeError,
            r"`boundaries_and_scales` must be a dictionary from boundary to scale, got \[\(3, 0.1\)\]",
        ),
        (
            lambda: schedules.piecewise_constant(1.0, {3: 0.1, 0: 0.1}),
            ValueError,
            r"`list\(boundaries_and_scales\)\[1\]` must be at least 1, got 0",
        ),
        (
            lambda: schedules.piecewise_constant(1.0, {2.5: 0.1}),
            TypeError,
            r"`list\(boundaries_and_scales\)\[0\]` must be an integer, got 2.5",
        ),
        (
            lambda: schedules.piecewise_constant(1.0, {3: -0.1}),
            ValueError,
            r"`boundaries_and_scales\[3\]` must be finite and at least 0, got -0.1",
        ),
        (
            lambda: schedules.piecewise_constant(-1.0, {}),
            ValueError,
            "`init_value` must be finite and at least 0, got -1.0",
        ),
    ],
)
def test_numbers_out_of_range(make, error, message):
    with pytest.raises(error, match=message):
        make()
