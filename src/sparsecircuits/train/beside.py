"""What a run was trained beside: a dense model and the bridge to it (Gao et al. 2025, §2.3).

It stands in ``run.json``, so that a run cannot go on beside another model, with other losses, or alone.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from sparsecircuits.config import Config


@dataclasses.dataclass(frozen=True, kw_only=True)
class Beside(Config):
    """The other model, and what the run is trained for beside its own loss."""

    source: str
    """Where the other model is: a path as the run's folder sees it, or a name."""
    sha256: str
    """Of its weights."""
    settings: dict[str, Any]
    """The bridge's config."""

    @classmethod
    def at(cls, place: Path | str, run: Path, sha256: str, settings: dict[str, Any]) -> Beside:
        """Of a model in a folder or of a name, for the run in another folder."""
        source = Path(os.path.relpath(place, run)).as_posix() if isinstance(place, Path) else place
        return cls(source=source, sha256=sha256, settings=settings)

    def found(self, run: Path) -> str:
        """Where to look for the model: what ``source`` means to the run in this folder."""
        path = Path(os.path.normpath(run / self.source))
        return str(path) if path.exists() or self.source.startswith(".") else self.source


def beside_differences(there: Beside | None, here: Beside | None, folder: Path) -> str:
    """What of two of them differs, in words; nothing where they are the same, wherever the model lies."""
    if there is None or here is None:
        one, other = (
            "alone" if each is None else f"with a bridge to {each.found(folder)}" for each in (there, here)
        )
        return "" if there is here else f"it is trained {one} there, {other} here"
    if there.sha256 != here.sha256:
        return f"its bridge leads to {there.found(folder)}, not to a model with the weights of {here.source}"
    keys = [key for key in here.settings if there.settings.get(key) != here.settings[key]]
    rows = [f"bridge.{key}: {there.settings.get(key)!r} there, {here.settings[key]!r} here" for key in keys]
    return "; ".join(rows[:5])
