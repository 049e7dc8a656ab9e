"""How long each stage of a study took, added up over interruptions, in a file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparsecircuits.files import write_atomic


class Clock:
    """Seconds by stage; goes on from what the file at ``path`` says."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spent: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what is done inside, and write it down however that ends."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.monotonic() - started
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(self.path, json.dumps(self.spent).encode())

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, to a tenth, after their ``total``."""
        rounded = {name: round(seconds, 1) for name, seconds in self.spent.items()}
        return {"total": round(sum(self.spent.values()), 1), **rounded}
