import pytest

import gdjax


def test_sgd_says_where_stochastic_is():
    with pytest.raises(AttributeError, match=r"the update is `gd`.*stochastic\(\)"):
        _ = gdjax.sgd


def test_what_is_imported_late_is_there_all_the_same():
    names = dir(gdjax)
    assert {"sweep", "successive_halving", "find_learning_rate", "gradient_noise_scale"} <= set(names)
    assert {"adam", "fit", "compare", "Budget", "presets", "report", "pack", "compile_small_loops"} <= set(names)
    assert gdjax.compare.__name__ == "compare"
    assert callable(gdjax.compare)
    assert gdjax.Budget.__name__ == "Budget"
    assert callable(gdjax.presets.torch.adam)
    assert callable(gdjax.report.plot_history)
    assert all(getattr(gdjax, name) is not None for name in names if not name.startswith("__"))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = gdjax.nothing
