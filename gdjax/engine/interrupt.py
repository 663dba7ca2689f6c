"""Ctrl-C and SIGTERM end a run after the chunk under way, so that nothing trained so far is lost."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""What a person, or a machine that is wanted back, asks to stop with."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Within it the first such signal is only noted; a second one acts as ever. Yields `was_interrupted()`."""
    noted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield noted.is_set  # only the main thread may handle signals
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def note(number: int, frame: object) -> None:
        noted.set()
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield noted.is_set
    finally:
        restore()
