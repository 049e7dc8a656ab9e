"""The training loop: read as the algorithm of Gao et al. 2025, §2.1.

In go a config, a corpus and a folder; out come metrics, checkpoints and a model. A step is: batch,
loss, gradients, optimizer step with its projection. Batches and schedules are pure functions of the
step, so a run that was stopped and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.bigram import bigram_log_frequencies
from sparsecircuits.train.checkpoint import Part
from sparsecircuits.train.config import TrainConfig
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.keeper import Keeper
from sparsecircuits.train.lock import run_lock
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.memory import require_memory
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import check_feasible, measured_density
from sparsecircuits.train.run import RUN_FILE, Run, RunConfig
from sparsecircuits.train.schedules import densities_at, lr_at
from sparsecircuits.train.signals import Stop, stop_signals
from sparsecircuits.train.step import train_step


@dataclass(frozen=True)
class Progress:
    """What a watcher sees after a step."""

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    density: float
    val_loss: float | None


@dataclass(frozen=True)
class TrainResult:
    """The end of a run."""

    val_loss: float
    density: float
    tokens: int
    seconds: float
    steps: int


class Validation(NamedTuple):
    """Losses on the validation split, in nats per token."""

    interim: float
    """On eval_tokens / 8 tokens, the same at every validation."""
    loss: float
    """The same; after the last step, on eval_tokens tokens."""


def train(
    config: RunConfig,
    corpus: Corpus,
    folder: str | Path,
    watch: Callable[[Progress], None] | None = None,
    machine: Machine | None = None,
) -> TrainResult:
    """Train a model from scratch, or go on where the run in ``folder`` stopped.

    Args:
        config: model and recipe.
        corpus: tokens and tokenizer; its vocabulary must fit the model's.
        folder: the run folder (made if missing).
        watch: called after every step.
        machine: how it is computed; None: as it comes.

    Returns:
        Validation loss (nats/token), final density of the matrices, tokens seen, seconds of training.

    Raises:
        ConfigError: a density below its floor; a model that cannot fit into memory; a folder that holds a run
            of another config.
        DataError: a corpus smaller than one context.
        RunLocked: somebody else trains in the folder.
        CheckpointError: there are checkpoints, and none is whole.
        TrainingDiverged: something became NaN or infinite; the last checkpoint stays.
        OutOfMemory: memory ran out; the last checkpoint stays.
        SaveError: the last checkpoint or the finished model could not be written.
        KeyboardInterrupt: Ctrl-C, after a checkpoint; Terminated, one of its kinds: SIGTERM.
    """
    machine = machine or Machine()
    folder = Path(folder)
    corpus.require_context(config.model.n_ctx)
    require_memory(config)
    model = SparseGPT(config.model, seed=config.train.seed)
    check_feasible(model, config.train)  # before there is a folder that holds a run which cannot be
    if (folder / RUN_FILE).is_file() and (done := Run.create(folder, config, corpus).result()) is not None:
        return TrainResult(**done)
    with run_lock(folder), stop_signals() as stop:
        run = Run.create(folder, config, corpus)
        optimizer = SparseOptimizer(model, config.train)
        parts: dict[str, Part] = {"optimizer": optimizer}
        keeper = Keeper(run, model, parts, machine.keep)
        with keeper.watching():
            return _train(run, model, optimizer, corpus, keeper, watch, machine, stop)


def _train(
    run: Run,
    model: SparseGPT,
    optimizer: SparseOptimizer,
    corpus: Corpus,
    keeper: Keeper,
    watch: Callable[[Progress], None] | None,
    machine: Machine,
    stop: Stop,
) -> TrainResult:
    config, recipe = run.config, run.config.train
    state = keeper.resume()
    if state.step == 0 and model.bigram_table is not None and recipe.bigram_init == "counts":
        model.bigram_table.data.copy_(bigram_log_frequencies(corpus.train, config.model.vocab_size))

    started = time.monotonic() - state.seconds
    validation = None
    for step in range(state.step, recipe.steps):
        done, last = step + 1, step + 1 == recipe.steps
        seen = train_step(model, optimizer, _batch(corpus, step, config), step, recipe, machine)
        machine = machine.replace(micro_rows=seen.micro_rows)
        validation = _validate(model, corpus, done, recipe)
        seconds = time.monotonic() - started
        if validation is not None or done % recipe.log_every == 0:
            keeper.log(_metrics(done, seen.loss, seen.grad_rms, validation, seconds, config))
        if watch is not None:
            speed = done * _tokens_per_step(config) / max(seconds, 1e-9)
            density = densities_at(step, recipe).matrices
            val_loss = None if validation is None else validation.loss
            watch(Progress(done, recipe.steps, seen.loss, speed, density, val_loss))
        best = validation is not None and keeper.is_best(validation.interim)
        if stop or last or best or done % recipe.checkpoint_every == 0:
            interim = None if validation is None else validation.interim
            keeper.save(done, seconds, interim, required=last or bool(stop))
        if stop and not last:
            stop.leave()
    seconds = time.monotonic() - started
    if validation is None:  # everything was done but the end of the run
        validation = _validate(model, corpus, recipe.steps, recipe)
        assert validation is not None
    result = TrainResult(
        validation.loss,
        measured_density(model).matrices,
        recipe.steps * _tokens_per_step(config),
        seconds,
        recipe.steps,
    )
    keeper.finish(result.__dict__)
    if stop:
        stop.leave()
    return result


def _validate(model: SparseGPT, corpus: Corpus, done: int, recipe: TrainConfig) -> Validation | None:
    """After ``done`` steps, where a validation is due."""
    last = done == recipe.steps
    if not last and done % recipe.eval_every:
        return None
    interim = evaluate(model, corpus.val, limit=recipe.eval_tokens // 8)
    loss = evaluate(model, corpus.val, limit=recipe.eval_tokens) if last else interim
    if not math.isfinite(loss + interim):
        raise TrainingDiverged(done, recipe.lr, "val_loss", loss)
    return Validation(interim, loss)


def _batch(corpus: Corpus, step: int, config: RunConfig) -> Tensor:
    recipe = config.train
    return batch(corpus.train, seed=recipe.seed, step=step, rows=recipe.rows, n_ctx=config.model.n_ctx)


def _tokens_per_step(config: RunConfig) -> int:
    return config.train.rows * config.model.n_ctx


def _metrics(
    done: int, loss: float, rms: float, validation: Validation | None, seconds: float, config: RunConfig
) -> dict[str, float]:
    densities = densities_at(done - 1, config.train)
    row = {
        "step": done,
        "tokens": done * _tokens_per_step(config),
        "loss": loss,
        "lr": lr_at(done - 1, config.train),
        "density": densities.matrices,
        "embed_density": densities.embeddings,
        "grad_rms": rms,
        "seconds": round(seconds, 3),
    }
    if validation is not None:
        row["val_loss"] = validation.loss
    return row
