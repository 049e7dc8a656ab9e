"""SIGTERM and Ctrl-C end a run between two steps, after a checkpoint.

The first of either asks for that; a second Ctrl-C ends the run at once, which harms nothing but the work
since the last checkpoint. Signals that are ignored stay ignored, and outside the main thread, where Python
allows no handlers, nothing changes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from sparsecircuits.errors import Terminated


class Stop:
    """Whether somebody asked for the end."""

    def __init__(self) -> None:
        self.signal: int | None = None
        self.at_once = False

    def __bool__(self) -> bool:
        return self.signal is not None

    def ask(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal.

        Raises:
            KeyboardInterrupt: Ctrl-C, when the end had been asked for already.
        """
        if self and number == signal.SIGINT:
            self.at_once = True
            raise KeyboardInterrupt
        self.signal = self.signal or number

    def leave(self) -> None:
        """Raise what the signal would have: KeyboardInterrupt, or Terminated."""
        raise Terminated if self.signal == signal.SIGTERM else KeyboardInterrupt


@contextlib.contextmanager
def stop_signals() -> Iterator[Stop]:
    """Collect the two signals inside the block; afterwards they are handled as before.

    Code that is not Python's may turn the second Ctrl-C into an error of its own; it is Ctrl-C again outside.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    # None: a handler that Python did not set and could not put back.
    taken = {n: handler for n, handler in before.items() if handler not in (signal.SIG_IGN, None)}
    try:
        for number in taken:
            signal.signal(number, stop.ask)
        yield stop
    except Exception as error:
        if stop.at_once:
            raise KeyboardInterrupt from error
        raise
    finally:
        for number, handler in taken.items():
            signal.signal(number, handler)
