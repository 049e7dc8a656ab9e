"""What the loss of a sparse model costs, sparse and dense: ``speed.py --part dense``.

Both kinds are trained on schedules of several lengths, each with its own decay. Of dense ones, families and
widths of :mod:`benchmarks.speed_shapes`, each length at the best of rates, tried until it lies between two
that are worse; of sparse ones, the exact and the amortised step, with the preset's annealing and without.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed_flops import dense_flops, sparse_flops
from benchmarks.speed_frontier import Point, next_rate
from benchmarks.speed_shapes import WORDS, DenseShape, train_plain
from benchmarks.speed_time import Profile
from benchmarks.speed_trials import MAIN, Scale, Trial, fitted
from sparsecircuits.data import Corpus
from sparsecircuits.files import write_atomic
from sparsecircuits.study.ablations import FIGURES
from sparsecircuits.train import RunConfig, train
from sparsecircuits.train.guard import TrainingDiverged


@dataclass(frozen=True)
class Sweep:
    """Which trainings the price of one sparse model is read from."""

    shapes: tuple[DenseShape, ...]
    lengths: tuple[int, ...]
    """Steps of the dense ones."""
    rates: Mapping[str, float]
    """Where each family's search for a rate begins, at its first length."""
    most: int = 6
    """Rates tried at most."""
    sparse_lengths: tuple[int, ...] = ()
    """Steps of the sparse ones, besides what is trained already."""


#: Sparse recipes: by name, fields of TrainConfig.
RECIPES: dict[str, dict[str, float]] = {"preset": {}, "no_anneal": {"anneal_start": 0.0, "anneal_stop": 0.0}}
RECIPE_WORDS = {"preset": "annealed", "no_anneal": "not annealed"}


# --- Trainings ---


def sparse_trials(scale: Scale, plan: Sweep) -> Iterator[Trial]:
    """Shorter schedules of the scale's model, exact and amortised, and the same without annealing."""
    for steps in sorted(plan.sparse_lengths, reverse=True):
        for recipe, changes in RECIPES.items():
            for every in (1, MAIN):
                if recipe == "preset" and steps == scale.config.train.steps:
                    continue  # one of the arms
                config = scale.config.train.replace(steps=steps, dense_every=every, **changes)
                name = f"{scale.name}/lengths/{recipe}_m{every}_{steps}"
                yield Trial(name, scale.config.replace(train=config), keep=False)


def train_dense(scale: str, plan: Sweep, data: Path, runs: Path) -> None:
    """All that is missing, one after the other."""
    corpus = Corpus.open(data)
    for shape in plan.shapes:
        start = plan.rates[shape.family]
        for steps in plan.lengths:
            losses = losses_at(scale, shape, steps, runs)
            while (rate := next_rate(losses, start, plan.most)) is not None:
                losses[rate] = _trained(
                    shape, steps, rate, corpus, folder_of(scale, shape, steps, rate, runs)
                )
            start = min(losses, key=lambda one: losses[one])  # of the next length too it is likely good
            print(f"{scale} {shape.name} {steps} steps: {losses[start]:.4f} at {start:g}", flush=True)


def missing(scale: str, plan: Sweep, runs: Path) -> list[str]:
    """Shapes and lengths whose search for a rate is not at its end."""
    found = []
    for shape in plan.shapes:
        start = plan.rates[shape.family]
        for steps in plan.lengths:
            losses = losses_at(scale, shape, steps, runs)
            if next_rate(losses, start, plan.most) is not None:
                found.append(f"{shape.name}, {steps} steps")
            start = min(losses, key=lambda one: losses[one]) if losses else start
    return found


def open_ended(scale: str, plan: Sweep, runs: Path) -> int:
    """How many searches used up their tries with the best rate at an end of those tried."""
    count = 0
    for shape in plan.shapes:
        for steps in plan.lengths:
            losses = losses_at(scale, shape, steps, runs)
            if len(losses) >= plan.most:
                best = min(losses, key=lambda rate: losses[rate])
                count += best in (min(losses), max(losses))
    return count


def losses_at(scale: str, shape: DenseShape, steps: int, runs: Path) -> dict[float, float]:
    """Loss by rate, of what is trained."""
    found = {}
    for path in folder_of(scale, shape, steps, 0, runs).parent.glob(f"{steps}_*/{FIGURES}"):
        stored = json.loads(path.read_text(encoding="utf-8"))
        found[stored["lr"]] = math.inf if stored["val_loss"] is None else stored["val_loss"]
    return found


def folder_of(scale: str, shape: DenseShape, steps: int, rate: float, runs: Path) -> Path:
    """Of one dense training."""
    return runs / scale / "dense" / shape.name / f"{steps}_{rate:g}"


def _trained(shape: DenseShape, steps: int, rate: float, corpus: Corpus, folder: Path) -> float:
    config = fitted(shape.run(steps, rate), corpus)
    if shape.family == "plain":
        fits = shape._replace(vocab=config.model.vocab_size)
        loss = train_plain(fits, config, corpus)
    else:
        loss = _twin(config, corpus, folder)
    stored = {"lr": rate, "val_loss": loss if math.isfinite(loss) else None}
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / FIGURES, (json.dumps(stored) + "\n").encode())
    return loss


def _twin(config: RunConfig, corpus: Corpus, folder: Path) -> float:
    try:
        loss = train(config, corpus, folder).val_loss
    except TrainingDiverged:
        loss = math.inf
    for part in ("checkpoints", "model"):
        shutil.rmtree(folder / part, ignore_errors=True)
    return loss


# --- What they cost ---


def dense_points(
    scale: str, plan: Sweep, runs: Path, milliseconds: Mapping[str, float]
) -> tuple[list[Point], list[Point]]:
    """All dense trainings: by seconds, and by FLOPs."""
    seconds, flops = [], []
    for shape in plan.shapes:
        for steps in plan.lengths:
            for rate, loss in losses_at(scale, shape, steps, runs).items():
                taken = steps * milliseconds[shape.name] / 1e3
                seconds.append(Point(shape.name, steps, rate, loss, taken))
                flops.append(Point(shape.name, steps, rate, loss, dense_flops(shape.run(steps, rate))))
    return seconds, flops


def sparse_point(curve: str, config: RunConfig, loss: float, profile: Profile) -> tuple[Point, Point]:
    """One sparse training: by seconds, and by FLOPs."""
    recipe = config.train
    return (
        Point(curve, recipe.steps, recipe.lr, loss, profile.seconds(recipe)),
        Point(curve, recipe.steps, recipe.lr, loss, sparse_flops(config)),
    )


def curve_of(config: RunConfig) -> str:
    """Which sparse trainings differ in length alone: by recipe and M."""
    recipe = "no_anneal" if config.train.anneal_stop == 0 else "preset"
    return f"{recipe}_m{config.train.dense_every}"


def curve_words(curve: str) -> str:
    """For people.

    >>> curve_words("no_anneal_m10"), curve_words("twin_64"), curve_words("plain_64_l1")
    ('M = 10, not annealed', 'dense twin, width 64', 'plain GPT, width 64, 1 layer')
    """
    recipe, _, every = curve.rpartition("_m")
    if recipe in RECIPES:
        step = "exact step" if every == "1" else f"M = {every}"
        return f"{step}, {RECIPE_WORDS[recipe]}"
    return _dense_words(*curve.split("_"))


def _dense_words(family: str, width: str, layers: str = "l2") -> str:
    words = {str(key): value for key, value in WORDS.items()}
    return f"{words[family]}, width {width}" + ", 1 layer" * (layers == "l1")
