"""What decides the demo's result, and the note of it in the demo's folder.

The note is there so that a folder never holds the parts of two plans: a second call with the same plan
goes on, one with another plan is refused before anything in the folder has changed.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sparsecircuits.config import Config
from sparsecircuits.data import DataConfig
from sparsecircuits.errors import ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.prune import PruneConfig
from sparsecircuits.train import RunConfig

PLAN = "plan.json"
_SHOWN = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class DemoPlan(Config):
    """Everything that decides the demo's result."""

    data: DataConfig
    """The corpus of both models."""
    sparse: RunConfig
    """The weight-sparse model."""
    dense: RunConfig
    """Its twin: the same in all but the sparsity of its weights."""
    prune: PruneConfig
    """How both are pruned."""
    tasks: tuple[str, ...]
    """Tasks to prune, as far as the sparse model does them."""
    eval_pairs: int = 512
    """Held-out pairs on which every task is measured."""


def claim(plan: DemoPlan, folder: Path) -> None:
    """Write the plan into the folder, or compare it with the one that is there.

    Raises:
        ConfigError: the folder holds the demo of another plan, and in what they differ.
    """
    path = folder / PLAN
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(plan.to_dict(), indent=2) + "\n").encode())
        return
    different = list(_differences(DemoPlan.from_json(path).to_dict(), plan.to_dict()))
    if different:
        more = f" and {len(different) - _SHOWN} more" if len(different) > _SHOWN else ""
        raise ConfigError(
            f"{folder} holds the demo of another plan ({'; '.join(different[:_SHOWN])}{more}); "
            f"choose another folder, or remove this one"
        )


def _differences(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in {**there, **here}:
        old, new = there.get(key), here.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield f"{prefix}{key}: {old!r} there, {new!r} here"
