"""Who is told how far collecting is."""

from __future__ import annotations

from collections.abc import Callable

#: ``watch(done, of, what)``: units of work done, of how many, and what is being measured.
Watch = Callable[[int, int, str], None]


class Tally:
    """Counts units of work and tells a watcher of each.

    Attributes:
        of: units in all.
        done: so far.
    """

    def __init__(self, of: int, watch: Watch | None) -> None:
        self.of, self.watch, self.done = of, watch, 0

    def step(self, what: str) -> None:
        """One more unit is done."""
        self.done += 1
        if self.watch is not None:
            self.watch(self.done, self.of, what)
