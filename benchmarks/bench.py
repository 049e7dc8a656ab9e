"""What measuring scripts have in common: the commands that users type, and results that are kept."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Bench:
    """Where runs are and measurements go."""

    def __init__(self, runs: Path, topic: str, *, as_is: bool = False) -> None:
        """Keep measurements in ``RUNS/TOPIC``; ``as_is``: take what takes long as far as it is."""
        self.runs, self.out, self.as_is = runs, runs / topic, as_is

    def command(self, *words: object, check: bool = True) -> str:
        """What ``sparsecircuits WORDS`` prints; its progress goes to the terminal."""
        line = [sys.executable, "-m", "sparsecircuits", *map(str, words)]
        return subprocess.run(line, check=check, stdout=subprocess.PIPE, encoding="utf-8").stdout

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` gives, kept as ``NAME.json``."""
        path = self.out / f"{name}.json"
        if not path.is_file():
            value = measure()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))
