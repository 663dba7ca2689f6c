"""A progress bar; it says when it compiles. tqdm draws it, where it is installed."""

import contextlib
from collections.abc import Iterator
from typing import Any


class Silent:
    """No bar."""

    def say(self, text: str) -> None:
        """Nothing is shown."""

    def reach(self, place: float, loss: float | None = None) -> None:
        """Nothing is shown."""


class Bar(Silent):
    """A tqdm bar."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar

    def say(self, text: str) -> None:
        """What is being done."""
        self.bar.set_description(text)

    def reach(self, place: float, loss: float | None = None) -> None:
        """How far the work is, and its latest loss."""
        if loss is not None:
            self.bar.set_postfix(loss=f"{loss:.4g}", refresh=False)
        self.bar.update(round(place, 3) - self.bar.n)


@contextlib.contextmanager
def progress_bar(total: int, first: float, *, unit: str, shown: bool) -> Iterator[Silent]:
    """A bar from `first` to `total` units, or none.

    Raises:
      ImportError: if a bar is wanted and tqdm is not there.
    """
    if not shown:
        yield Silent()
        return
    try:
        from tqdm.auto import tqdm  # only here, since most runs show none
    except ImportError:
        raise ImportError("`progress=True` needs tqdm, got none: pip install tqdm, or 'gdjax[demo]'.") from None
    form = "{desc}: {n:.4g}/{total} " + unit + " |{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=total, initial=first, bar_format=form) as bar:
        yield Bar(bar)
