"""Which models the price of speed is read from, and how one is trained, measured and kept.

A trial is a run folder below the folder of all runs, with ``figures.json`` beside what training writes; what
is done is not done again. The exact step and the amortised ones (``TrainConfig.dense_every`` = M) are trained

- at equal tokens, as many steps each;
- at equal time: M above 1 takes as many steps as fit into the exact one's seconds (:func:`equal_steps`),
  worked out once from the measured times and kept in ``equal_steps.json``, so that times measured anew do
  not ask for other models.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.speed_time import Profile
from sparsecircuits.data import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.study.ablations import FIGURES, NEURON_TOKENS, dead_neurons
from sparsecircuits.study.jobs import Job, Report, run_jobs
from sparsecircuits.train import Run, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.projection import sparse_matrices

#: Of the amortised step that goals are about.
MAIN = 10
SEEDS = (0, 1, 2)
#: Where it is kept how many steps take as long as the exact training.
EQUAL = "equal_steps.json"


class Arm(NamedTuple):
    """How a model is trained: which step, and whether as many tokens or as much time as the exact one."""

    every: int
    candidates: float = 0.0
    equal: str = "tokens"

    @property
    def name(self) -> str:
        """Its folder, such as ``m10_c1`` or ``m5_time``."""
        step = "exact" if self.every == 1 else f"m{self.every}"
        return step + (f"_c{self.candidates:g}" if self.candidates else "") + "_time" * (self.equal == "time")

    @property
    def words(self) -> str:
        """For people."""
        step = "exact" if self.every == 1 else f"M = {self.every}"
        return step + (f", candidates {self.candidates:g}" if self.candidates else "")


@dataclass(frozen=True)
class Trial:
    """One model to train."""

    name: str
    config: RunConfig
    keep: bool = True
    """Whether the finished model stays: circuits are looked for in it."""


@dataclass(frozen=True)
class Scale:
    """A model, its recipe, and what is compared."""

    name: str
    config: RunConfig
    arms: tuple[Arm, ...]
    """The most telling first."""
    keep: bool

    def only(self, arms: Sequence[str]) -> Scale:
        """With these arms alone, by name."""
        return replace(self, arms=tuple(arm for arm in self.arms if arm.name in arms))


WideScale = Callable[[float], Scale]
"""The wide model at a rate."""
EXACT, AMORTISED = Arm(1), Arm(MAIN)
#: Beside the kept weights so many zeroed ones for each have gradients too, in the arms with candidates.
CANDIDATES = 1.0
#: What the goals are about: at width 1024 the amortised step loses too much without candidates.
JUDGED = Arm(MAIN, CANDIDATES)


def looks(wide: WideScale, rates: Sequence[float], steps: int) -> list[Trial]:
    """The short trainings that the wide model's rate is chosen by."""
    found = []
    for rate in rates:
        config = wide(rate).config
        short = config.replace(train=config.train.replace(steps=steps))
        found.append(Trial(f"{wide(rate).name}/look/rate_{rate:g}", short, keep=False))
    return found


def chosen_rate(looks: Sequence[Trial], found: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The rate whose short training ended lowest; None before all are done."""
    if not all(trial.name in found for trial in looks):
        return None
    losses = {trial.config.train.lr: found[trial.name]["val_loss"] for trial in looks}
    ended = {rate: loss for rate, loss in losses.items() if loss is not None}
    if not ended:
        raise ConfigError(f"the wide model diverged at all of the rates {list(losses)}")
    return min(ended, key=lambda rate: ended[rate])


def trials(scale: Scale, profile: Profile | None, runs: Path) -> Iterator[Trial]:
    """All seeds of an arm, then the next arm's; those at equal time only where times are known."""
    for arm in scale.arms:
        steps = scale.config.train.steps
        if arm.equal == "time":
            known = _equal_steps(scale, arm, profile, runs)
            if known is None:
                continue
            steps = known
        for seed in SEEDS:
            recipe = scale.config.train.replace(
                steps=steps, seed=seed, dense_every=arm.every, candidates=arm.candidates
            )
            yield Trial(f"{scale.name}/{arm.name}/seed{seed}", scale.config.replace(train=recipe), scale.keep)


def equal_steps(recipe: TrainConfig, every: int, profile: Profile) -> int:
    """How many steps with M = ``every`` take as long as the recipe's with the exact one.

    Schedules are shares of the steps, so that a training of twice the steps takes twice as long.
    """
    exact, other = (profile.seconds(recipe.replace(dense_every=of)) for of in (1, every))
    return round(recipe.steps * exact / other)


def _equal_steps(scale: Scale, arm: Arm, profile: Profile | None, runs: Path) -> int | None:
    path = runs / scale.name / EQUAL
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    key = str(arm.every)
    if key not in known:
        if profile is None:
            return None
        known[key] = equal_steps(scale.config.train, arm.every, profile)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(known, indent=2) + "\n").encode())
    return known[key]


def collected(planned: Sequence[Trial], runs: Path) -> dict[str, dict[str, Any]]:
    """The figures of all that is trained, by name."""
    paths = {trial.name: runs / trial.name / FIGURES for trial in planned}
    return {
        name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()
    }


def train_all(wanted: Sequence[Trial], corpus: Path, runs: Path, workers: int) -> None:
    """Train and measure what is missing; a line for each that is done."""
    missing = [trial for trial in wanted if not (runs / trial.name / FIGURES).is_file()]
    jobs = [
        Job(
            trial.name,
            run_trial,
            {"config": trial.config, "corpus": corpus, "folder": runs / trial.name, "keep": trial.keep},
            trial.config.train.steps,
        )
        for trial in missing
    ]
    started, totals = time.monotonic(), {job.name: job.total for job in jobs}

    def watch(name: str, done: int, loss: float | None, tokens: int | None) -> None:
        if done == totals[name] and loss is None:
            print(f"{time.monotonic() - started:8.0f} s  {name}", flush=True)

    run_jobs(jobs, watch, workers)


def run_trial(config: RunConfig, corpus: Path, folder: Path, keep: bool, report: Report) -> dict[str, Any]:
    """Train, and write what :func:`collected` reads: loss, dead neurons, weights; None where it diverged."""
    opened = Corpus.open(corpus)
    config = fitted(config, opened)
    figures: dict[str, Any] = {"config": config.to_dict(), "error": None}
    try:
        train(config, opened, folder, lambda step: report(step.step, step.loss, None))
    except TrainingDiverged as error:
        figures |= dict.fromkeys(("val_loss", "dead", "neurons", "nonzero", "parameters")) | {
            "error": str(error)
        }
    else:
        figures |= measured(load_run(folder), opened)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # nothing goes on from here
    if not keep:
        shutil.rmtree(folder / "model", ignore_errors=True)
    write_atomic(folder / FIGURES, (json.dumps(figures, indent=2) + "\n").encode())
    report(config.train.steps, None, None)
    return figures


def fitted(config: RunConfig, corpus: Corpus) -> RunConfig:
    """With the vocabulary that the corpus really has."""
    return config.replace(model=config.model.replace(vocab_size=corpus.tokenizer.vocab_size))


@torch.no_grad()
def measured(run: Run, corpus: Corpus) -> dict[str, Any]:
    """Of a finished run."""
    result, model = run.result(), run.model()
    assert result is not None
    nonzero = sum(int(torch.count_nonzero(one.weight)) for one in sparse_matrices(model, floor=0))
    return {
        "val_loss": result["val_loss"],
        "dead": dead_neurons(model, corpus.val[: NEURON_TOKENS + 1]),
        "neurons": model.config.n_layer * model.config.mlp_width,
        "nonzero": nonzero,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def take(source: Path, trial: Trial, corpus: Path, runs: Path) -> None:
    """Copy the finished run that lies ready as ``source``, if it is of the trial's config and corpus."""
    folder, opened = runs / trial.name, Corpus.open(corpus)
    config = fitted(trial.config, opened)
    if (folder / FIGURES).is_file():
        return
    Run.create(source, config, opened)  # raises unless it is a run of just this
    run = Run.create(folder, config, opened)
    for name in ("metrics.jsonl", "result.json"):
        shutil.copyfile(source / name, folder / name)
    shutil.copytree(source / "model", folder / "model", dirs_exist_ok=True)
    figures = {"config": config.to_dict(), "error": None, **measured(run, opened)}
    write_atomic(folder / FIGURES, (json.dumps(figures, indent=2) + "\n").encode())
    print(f"taken from {source}: {trial.name}", file=sys.stderr)
