import pytest

import gdjax


def test_sgd_says_where_stochastic_is():
    with pytest.raises(AttributeError, match=r"the update is `gd`.*stochastic\(\)"):
        _ = gdjax.sgd
