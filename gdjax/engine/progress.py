"""A progress bar over epochs; it says when it compiles. tqdm draws it, where it is installed."""

import contextlib
from collections.abc import Iterator
from typing import Any

try:
    from tqdm.auto import tqdm
except ImportError:
    tqdm = None


class Silent:
    """No bar."""

    def say(self, text: str) -> None:
        """Nothing is shown."""

    def reach(self, epochs: float, loss: float) -> None:
        """Nothing is shown."""


class Bar(Silent):
    """A tqdm bar in epochs."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def say(self, text: str) -> None:
        """What is being done."""
        self.bar.set_description(text)

    def reach(self, epochs: float, loss: float) -> None:
        """How far the run is, and its latest loss."""
        self.bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        self.bar.update(round(epochs, 3) - self.bar.n)


@contextlib.contextmanager
def progress_bar(epochs: int, first: float, *, shown: bool) -> Iterator[Silent]:
    """A bar from `first` to `epochs`, or none.

    Raises:
      ImportError: if a bar is wanted and tqdm is not there.
    """
    if not shown:
        yield Silent()
        return
    if tqdm is None:
        raise ImportError("`progress=True` needs tqdm, got none: pip install tqdm, or 'gdjax[demo]'.")
    form = "{desc}: {n:.4g}/{total} epochs |{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=epochs, initial=first, bar_format=form) as bar:
        yield Bar(bar)
