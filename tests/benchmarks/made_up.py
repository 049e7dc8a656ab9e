"""What ``sparsecircuits eval --json`` could say, in short."""

from __future__ import annotations

from typing import Any


def _row(name: str, losses: tuple[float, float, float], **more: Any) -> dict[str, Any]:
    splits = dict(zip(("train", "validation", "heldout"), ({"loss": loss} for loss in losses), strict=True))
    return {"name": name, "splits": splits, "gap": losses[2] - losses[0], **more}


REPORT: dict[str, Any] = {
    "tasks": [
        _row("var_swap", (0.1, 0.2, 0.35), raw_loss=0.4, accuracy=0.99, done=True),
        _row("class_init", (0.6, 0.6, 0.7), raw_loss=0.7, accuracy=0.5, done=False),
    ],
    "variants": [{"name": "var_swap:long", "loss": 1.5, "accuracy": 0.25}],
    "overlap": {"prompts": 100, "found": 3, "tasks": {"var_swap": 3}},
}
