"""What ``benchmarks/speed.py`` measures: models, arms, sweeps and how often each step is timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.ops_steps import Shape
from benchmarks.speed_dense import Sweep
from benchmarks.speed_shapes import FAMILIES, DenseShape
from benchmarks.speed_time import Rounds, TimePlan
from benchmarks.speed_trials import AMORTISED, CANDIDATES, EXACT, JUDGED, MAIN, Arm, Scale, WideScale
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig
from sparsecircuits.presets import DEMO_TASKS, demo, demo_plan
from sparsecircuits.prune import PruneConfig
from sparsecircuits.train import RunConfig, TrainConfig

#: M of all amortised trainings.
EVERY = (MAIN, 5, 20, 100)
#: Where each family's search for a rate begins.
STARTS = {"plain": 8e-3, "twin": 1.6e-2, "free": 1.6e-2}


@dataclass(frozen=True)
class Plan:
    """Everything that is to be measured."""

    wide: WideScale
    rates: tuple[float, ...]
    """The wide model's is chosen among these, by exact trainings of ``look_steps``."""
    look_steps: int
    small: Scale
    """What circuits are looked for in."""
    sweeps: dict[str, Sweep]
    """By scale."""
    goal: Shape
    """Of the goal for a step."""
    rounds: Rounds
    prune: PruneConfig
    tasks: tuple[str, ...]

    def only(self, arms: Sequence[str]) -> Plan:
        """Of both models these arms alone, by name: ``exact``, ``m10``, ``m10_time``."""
        known = {arm.name for scale in (self.small, self.wide(self.rates[0])) for arm in scale.arms}
        if unknown := [name for name in arms if name not in known]:
            raise ConfigError(f"no arm {unknown[0]!r}; there are {', '.join(sorted(known))}")
        return replace(self, small=self.small.only(arms), wide=lambda lr: self.wide(lr).only(arms))

    @property
    def times(self) -> TimePlan:
        """What ``--part time`` times."""
        return TimePlan(
            self.goal,
            tuple(sorted(EVERY)),
            (MAIN, CANDIDATES),
            {self.small.name: self.small.config, "wide": self.wide(self.rates[0]).config},
            {name: sweep.shapes for name, sweep in self.sweeps.items()},
            self.rounds,
        )


def wide(lr: float) -> Scale:
    """Width 1024, two layers, 0.5% kept: where a dense gradient costs most.

    Annealed fast: while most weights are left, an exact step costs about five times as much as at the end.
    """
    config = RunConfig(
        model=GPTConfig(vocab_size=1024, n_ctx=128, n_layer=2, d_model=1024),
        train=TrainConfig(
            steps=800,
            rows=8,
            lr=lr,
            density=0.005,
            anneal_stop=0.2,
            anneal_shape="exponential",
            eval_every=400,
            checkpoint_every=200,
        ),
    )
    others = EVERY[1:]
    arms = (
        *(EXACT, AMORTISED, JUDGED, Arm(MAIN, equal="time")),
        *(Arm(every) for every in others),
        *(Arm(every, equal="time") for every in others),
    )
    return Scale("wide", config, arms, keep=False)


def small() -> Scale:
    """The preset ``demo``."""
    arms = (EXACT, *(Arm(every) for every in EVERY), JUDGED)
    return Scale("demo", demo().run, arms, keep=True)


def shapes(rows: int, context: int, sizes: tuple[tuple[int, int], ...]) -> tuple[DenseShape, ...]:
    """Every family at every width and depth."""
    return tuple(
        DenseShape(family, width, layers, rows, context) for family in FAMILIES for width, layers in sizes
    )


FULL = Plan(
    wide=wide,
    rates=(1e-2, 2e-2, 4e-2),
    look_steps=200,
    small=small(),
    sweeps={
        "demo": Sweep(
            shapes=shapes(16, 64, ((32, 2), (64, 2), (128, 2), (64, 1))),
            lengths=(200, 500, 1250),
            rates=STARTS,
            sparse_lengths=(550, 1100, 2200),
        ),
        "wide": Sweep(shapes=shapes(8, 128, ((64, 2), (128, 2))), lengths=(200, 500), rates=STARTS),
    },
    goal=Shape(width=1024, layers=2, batch=8, context=128, density=0.005),
    rounds=Rounds(),
    prune=demo_plan().prune,
    tasks=DEMO_TASKS,
)
