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
from typing import Any

from sparsecircuits.data.reader import BatchReader
from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.bigram import bigram_log_frequencies
from sparsecircuits.train.checkpoint import TrainState, latest_checkpoint, save_checkpoint
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.pace import Pace
from sparsecircuits.train.projection import check_feasible, measured_density
from sparsecircuits.train.run import Run, RunConfig
from sparsecircuits.train.schedules import densities_at, lr_at
from sparsecircuits.train.step import train_step
from sparsecircuits.train.trackers import Trackers, require_trackers
from sparsecircuits.train.vitals import nonzeros, validate


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
    require_trackers(machine.track)
    corpus.require_context(config.model.n_ctx)
    model = SparseGPT(config.model, seed=config.train.seed)
    check_feasible(model, config.train)  # before there is a folder that holds a run which cannot be
    run = Run.create(folder, config, corpus)
    if (done := run.result()) is not None:
        return TrainResult(**done)
    optimizer = SparseOptimizer(model, config.train)
    state = latest_checkpoint(run.checkpoints, model, optimizer)
    if state.step == 0 and model.bigram_table is not None and config.train.bigram_init == "counts":
        model.bigram_table.data.copy_(bigram_log_frequencies(corpus.train, config.model.vocab_size))
    trackers = Trackers(machine.track, run, state.step)
    run.truncate_metrics(state.step)
    with trackers, _reader(corpus, config, state.step) as reader:
        return _loop(run, model, optimizer, corpus, state, reader, trackers, watch, machine)


def _loop(
    run: Run,
    model: SparseGPT,
    optimizer: SparseOptimizer,
    corpus: Corpus,
    state: TrainState,
    reader: BatchReader,
    trackers: Trackers,
    watch: Callable[[Progress], None] | None,
    machine: Machine,
) -> TrainResult:
    config = run.config
    pace = Pace(_tokens_per_step(config))
    started = time.monotonic() - state.seconds
    val_loss = vitals = None
    for step in range(state.step, config.train.steps):
        with pace.step(reader):
            loss, rms = train_step(model, optimizer, next(reader), step, config.train, machine)
        done_steps = step + 1
        last = done_steps == config.train.steps
        if last or done_steps % config.train.eval_every == 0:
            limit = config.train.eval_tokens if last else config.train.eval_tokens // 8
            sample = config.train.eval_tokens // 8
            val_loss, vitals = validate(model, corpus.val, limit=limit, sample=sample)
        seconds = time.monotonic() - started
        if last or val_loss is not None or done_steps % config.train.log_every == 0:
            row = _metrics(done_steps, loss, rms, val_loss, seconds, config)
            row |= {"l0": nonzeros(model)} | pace.take()
            if optimizer.reviver is not None:
                row["revived"] = optimizer.reviver.revived
            if vitals is not None:
                row |= vitals.row()
            run.log(json.dumps(row))
            trackers.log(row)
        if watch is not None:
            speed = done_steps * _tokens_per_step(config) / max(seconds, 1e-9)
            density = densities_at(step, config.train).matrices
            watch(Progress(done_steps, config.train.steps, loss, speed, density, val_loss))
        if not last:
            val_loss = vitals = None
            if done_steps % config.train.checkpoint_every == 0:
                save_checkpoint(run.checkpoints, model, optimizer, done_steps, seconds, keep=machine.keep)
    seconds = time.monotonic() - started
    if val_loss is None:  # everything was done but the end of the run
        val_loss = evaluate(model, corpus.val, limit=config.train.eval_tokens)
    tokens = config.train.steps * _tokens_per_step(config)
    result = TrainResult(val_loss, measured_density(model).matrices, tokens, seconds, config.train.steps)
    run.finish(model, result.__dict__)
    return result


def _reader(corpus: Corpus, config: RunConfig, step: int) -> BatchReader:
    recipe = config.train
    return BatchReader(
        corpus.train,
        seed=recipe.seed,
        rows=recipe.rows,
        n_ctx=config.model.n_ctx,
        first_step=step,
        last_step=recipe.steps,
    )


def _tokens_per_step(config: RunConfig) -> int:
    return config.train.rows * config.model.n_ctx


def _metrics(
    done: int, loss: float, rms: float, val_loss: float | None, seconds: float, config: RunConfig
) -> dict[str, Any]:
    densities = densities_at(done - 1, config.train)
    row: dict[str, Any] = {
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
    return row
