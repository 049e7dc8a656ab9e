"""How much memory the gradients of a step take at their peak, measured.

On a CUDA device torch counts, in every step. On a CPU it is how far the process grows beyond what it held
before, where the system keeps its peak (Linux: ``/proc``): in the first two steps of a start, of which the
second counts, since the first one also loads what every later one uses. Later ones would show nothing: memory
that was freed is handed out again without growth.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from sparsecircuits.ops.memory import release_freed_memory

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
#: What Linux calls the bytes that a process holds, and the most that it held.
_NOW, _PEAK = "VmRSS", "VmHWM"
#: On a CPU, how many steps of a start are measured.
_STEPS = 2


class Peak:
    """The most bytes held while gradients were computed.

    Attributes:
        held: in all, weights and moments too; None: not known (yet).
        per_token: beyond what was held before, over the tokens that were computed at once.
    """

    held: int | None = None
    per_token: float | None = None

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._steps = 0

    @contextmanager
    def watching(self, tokens: int) -> Generator[None]:
        """Around the computing of gradients, so many tokens at once."""
        before = None
        if self._device.type != "cpu" or self._steps < _STEPS:
            with suppress(OSError):  # no such files here, or not for this process: then it is not known
                before = self._begin()
        if before is None:
            yield
            self._steps += 1
            return
        yield
        self._steps += 1
        self.held = self._most()
        self.per_token = max(0, self.held - before) / tokens

    def row(self) -> dict[str, float]:
        """What a line of the metrics says of it."""
        if self.held is None or self.per_token is None:
            return {}
        return {"peak_bytes": self.held, "peak_bytes_per_token": round(self.per_token, 1)}

    def _begin(self) -> int:
        """Forget earlier peaks; returns the bytes that are held now."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            return torch.cuda.memory_allocated(self._device)
        release_freed_memory()
        _CLEAR.write_text("5")  # the peak is what is held now
        return _bytes(_NOW)

    def _most(self) -> int:
        return torch.cuda.max_memory_allocated(self._device) if self._device.type == "cuda" else _bytes(_PEAK)


def _bytes(name: str) -> int:
    """One of the figures of ``/proc/self/status``, which are in kB."""
    lines = (line.split() for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines())
    return next(int(line[1]) * 1024 for line in lines if line[0] == f"{name}:")
