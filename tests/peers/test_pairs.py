import itertools
import math

import pytest
from peers.pairs import all_pairs

pytestmark = pytest.mark.peers

OPTIONS = {
    "two": {"a": (0, 1), "b": (0, 1, 2)},
    "one": {"a": (0, 1, 2)},
    "mixed": {"a": (0.9, 0.0, 0.5), "b": (False, True), "c": (None, 0.1), "d": (0, 1, 3), "e": ("x", "y"), "f": (1, 2)},
    "wide": dict.fromkeys("abcdefg", (0, 1, 2)),
}
RULES = {
    "everything": lambda row: True,
    "a-needs-b": lambda row: not row["a"] or row.get("b") != 0,
    "not-the-first": lambda row: row["a"] != 0,
}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", OPTIONS)
def test_every_pair_that_is_allowed_stands_in_a_row_that_is_allowed(name, rule):
    options, allowed = OPTIONS[name], RULES[rule]
    rows = all_pairs(options, allowed)
    everything = [dict(zip(options, values, strict=True)) for values in itertools.product(*options.values())]
    for size in (1, 2):
        for names in itertools.combinations(options, size):
            meeting = {tuple(row[name] for name in names) for row in everything if allowed(row)}
            assert {tuple(row[name] for name in names) for row in rows} == meeting
    assert all(allowed(row) for row in rows)
    if all(allowed(row) for row in everything):
        assert rows[0] == everything[0]
        two_longest = sorted(map(len, options.values()))[-2:]
        assert math.prod(two_longest) <= len(rows) <= 2 * math.prod(two_longest)


def test_the_rows_are_always_the_same():
    assert all_pairs(OPTIONS["mixed"]) == all_pairs(OPTIONS["mixed"])
