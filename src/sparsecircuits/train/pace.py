"""How fast training is between two lines of its metrics, and how long it waited for data.

Only steps count: validation, saving and drawing are left out. These numbers depend on the machine and the
hour; all keys of that kind are :data:`~sparsecircuits.train.run.TIMING`.
"""

from __future__ import annotations


class Pace:
    """A stop watch for steps, set back at each line."""

    def __init__(self, tokens_per_step: int) -> None:
        self._per_step = tokens_per_step
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0

    def add(self, *, seconds: float, waited: float) -> None:
        """A step that took ``seconds`` in all, ``waited`` of them for its batch."""
        self._steps += 1
        self._seconds += seconds
        self._waited += waited

    def take(self) -> dict[str, float]:
        """What a line says of the steps since the last one; then counting begins anew.

        >>> pace = Pace(tokens_per_step=100)
        >>> pace.add(seconds=0.5, waited=0.1)
        >>> pace.take()
        {'tokens_per_second': 200.0, 'data_wait': 0.1, 'data_wait_share': 0.2}
        """
        seconds, waited = max(self._seconds, 1e-9), self._waited
        row = {
            "tokens_per_second": round(self._steps * self._per_step / seconds, 1),
            "data_wait": round(waited, 6),
            "data_wait_share": round(waited / seconds, 6),
        }
        self._steps, self._seconds, self._waited = 0, 0.0, 0.0
        return row
