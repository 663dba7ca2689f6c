import matplotlib as mpl
import pytest

mpl.use("Agg")


@pytest.fixture
def axes():
    """An axes that pyplot knows nothing of, drawn when the test is over: what cannot be drawn is no picture."""
    from matplotlib.figure import Figure

    figure = Figure()
    yield figure.subplots()
    figure.draw_without_rendering()


@pytest.fixture(autouse=True)
def closed():
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def legend():
    return lambda axes: [text.get_text() for text in axes.get_legend().get_texts()]
