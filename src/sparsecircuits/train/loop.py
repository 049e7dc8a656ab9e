"""The training loop: read as the algorithm of Gao et al. 2025, §2.1.

In go a config, a corpus and a folder; out come metrics, checkpoints and a model. A step is: batch,
loss, gradients, optimizer step with its projection. Batches and schedules are pure functions of the
step, so a run that was stopped and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.bigram import bigram_log_frequencies
from sparsecircuits.train.checkpoint import latest_checkpoint, save_checkpoint
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.hard_concrete import optimizer_for
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.projection import check_feasible, measured_density
from sparsecircuits.train.run import Run, RunConfig
from sparsecircuits.train.schedules import densities_at, lr_at
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
        ConfigError: a density below its floor; a folder that holds a run of another config.
        DataError: a corpus smaller than one context.
        TrainingDiverged: the loss or its gradients became NaN or infinite; the last checkpoint stays.
    """
    machine = machine or Machine()
    corpus.require_context(config.context)
    model = SparseGPT(config.model, seed=config.train.seed)
    check_feasible(model, config.train)  # before there is a folder that holds a run which cannot be
    run = Run.create(folder, config, corpus)
    if (done := run.result()) is not None:
        return TrainResult(**done)
    optimizer = optimizer_for(model, config.train)
    state = latest_checkpoint(run.checkpoints, model, optimizer)
    if state.step == 0 and model.bigram_table is not None and config.train.bigram_init == "counts":
        model.bigram_table.data.copy_(bigram_log_frequencies(corpus.train, config.model.vocab_size))
    run.truncate_metrics(state.step)

    started = time.monotonic() - state.seconds
    val_loss = None
    for step in range(state.step, config.train.steps):
        loss, rms = train_step(model, optimizer, _batch(corpus, step, config), step, config.train, machine)
        done_steps = step + 1
        last = done_steps == config.train.steps
        if last or done_steps % config.train.eval_every == 0:
            limit = config.train.eval_tokens if last else config.train.eval_tokens // 8
            val_loss = evaluate(model, corpus.val, limit=limit, context=config.context)
        seconds = time.monotonic() - started
        if last or val_loss is not None or done_steps % config.train.log_every == 0:
            run.log(_metrics(done_steps, loss, rms, val_loss, seconds, config))
        if watch is not None:
            speed = done_steps * _tokens_per_step(config) / max(seconds, 1e-9)
            density = densities_at(step, config.train).matrices
            watch(Progress(done_steps, config.train.steps, loss, speed, density, val_loss))
        if not last:
            val_loss = None
            if done_steps % config.train.checkpoint_every == 0:
                save_checkpoint(run.checkpoints, model, optimizer, done_steps, seconds, keep=machine.keep)
    seconds = time.monotonic() - started
    if val_loss is None:  # everything was done but the end of the run
        val_loss = evaluate(model, corpus.val, limit=config.train.eval_tokens, context=config.context)
    tokens = config.train.steps * _tokens_per_step(config)
    result = TrainResult(val_loss, measured_density(model).matrices, tokens, seconds, config.train.steps)
    run.finish(model, result.__dict__)
    return result


def _batch(corpus: Corpus, step: int, config: RunConfig) -> Tensor:
    recipe = config.train
    return batch(corpus.train, seed=recipe.seed, step=step, rows=recipe.rows, n_ctx=config.context)


def _tokens_per_step(config: RunConfig) -> int:
    return config.train.rows * config.context


def _metrics(
    done: int, loss: float, rms: float, val_loss: float | None, seconds: float, config: RunConfig
) -> str:
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
    if val_loss is not None:
        row["val_loss"] = val_loss
    return json.dumps(row)
