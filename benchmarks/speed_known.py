"""Everything that was measured so far, as the figures, tables and pictures of ``docs/speed.md`` read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.speed_circuits import Ratio, Sizes, ratio
from benchmarks.speed_price import Price
from benchmarks.speed_time import Profile
from benchmarks.speed_trials import EXACT, Arm, Scale, Trial
from sparsecircuits.train import TrainConfig

#: What scales are called.
TITLES = {"wide": "width 1024, 0.5% kept", "demo": "the preset `demo`"}


@dataclass(frozen=True)
class Known:
    """Everything that was measured so far."""

    times: Mapping[str, Any] | None
    """What ``--part time`` wrote."""
    scales: Mapping[str, Scale]
    trials: Mapping[str, Sequence[Trial]]
    """Of each scale, those of its arms."""
    found: Mapping[str, Mapping[str, Any]]
    """Figures of trainings, by their names."""
    sizes: Mapping[str, Mapping[int, Sizes]] = field(default_factory=dict)
    """Circuits by arm's name and seed."""
    prices: Mapping[str, Price] = field(default_factory=dict)
    """By scale."""

    def profile(self, scale: str) -> Profile | None:
        """How long the steps of a scale's sparse model take."""
        return None if self.times is None else Profile.from_json(self.times["profiles"][scale])

    def rows_of(self, scale: str, arm: Arm) -> dict[int, Mapping[str, Any]]:
        """An arm's figures by seed."""
        rows = {}
        for trial in self.trials[scale]:
            if trial.name.startswith(f"{scale}/{arm.name}/") and trial.name in self.found:
                rows[trial.config.train.seed] = self.found[trial.name]
        return rows

    def losses(self, scale: str, arm: Arm) -> dict[int, float]:
        """An arm's losses by seed, infinite where it diverged."""
        rows = self.rows_of(scale, arm)
        return {seed: float("inf") if row["error"] else row["val_loss"] for seed, row in rows.items()}

    def recipe(self, scale: str, arm: Arm) -> TrainConfig | None:
        """What an arm's models are trained by."""
        trials = (trial for trial in self.trials[scale] if trial.name.startswith(f"{scale}/{arm.name}/"))
        return next((trial.config.train for trial in trials), None)

    def seconds(self, scale: str, arm: Arm) -> float | None:
        """Of one training of an arm."""
        profile, recipe = self.profile(scale), self.recipe(scale, arm)
        return None if profile is None or recipe is None else profile.seconds(recipe)

    @property
    def pruned(self) -> list[Arm]:
        """The amortised arms in whose models circuits were looked for."""
        return [arm for arm in self.scales["demo"].arms if arm != EXACT and self.sizes.get(arm.name)]

    def ratio(self, arm: Arm, kind: str) -> Ratio | None:
        """How much larger an arm's circuits are than the exact step's."""
        return ratio(self.sizes[arm.name], self.sizes.get(EXACT.name, {}), kind)
