"""The training loop: read as the algorithm of Gao et al. 2025, §2.1.

In go a config, a corpus and a folder; out come metrics, checkpoints and a model. A step is: batch,
loss, gradients, optimizer step with its projection. Batches and schedules are pure functions of the
step, so a run that was stopped and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sparsecircuits.data.reader import BatchReader
from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.beside import Beside
from sparsecircuits.train.bigram import bigram_log_frequencies
from sparsecircuits.train.devices import Team, join
from sparsecircuits.train.evaluate import evaluate
from sparsecircuits.train.finished import verify_finished
from sparsecircuits.train.guard import TrainingDiverged
from sparsecircuits.train.keeper import Keeper
from sparsecircuits.train.lock import run_lock
from sparsecircuits.train.machine import Machine
from sparsecircuits.train.memory import require_memory
from sparsecircuits.train.method import Alone, Method
from sparsecircuits.train.pace import Pace
from sparsecircuits.train.projection import check_feasible, measured_density
from sparsecircuits.train.run import RUN_FILE, Run, RunConfig
from sparsecircuits.train.schedules import densities_at, lr_at
from sparsecircuits.train.signals import Stop, stop_signals
from sparsecircuits.train.step import Step, train_step
from sparsecircuits.train.trackers import Trackers, require_trackers
from sparsecircuits.train.vitals import Vitals, nonzeros, validate
from sparsecircuits.train.worker import require_fit


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
    team: Team | None = None,
    method: Method | None = None,
) -> TrainResult:
    """Train a model from scratch, or go on where the run in ``folder`` stopped.

    Args:
        config: model and recipe.
        corpus: tokens and tokenizer; its vocabulary must fit the model's.
        folder: the run folder (made if missing).
        watch: called after every step, in the first process.
        machine: how it is computed; None: as it comes.
        team: the processes, from :func:`~sparsecircuits.train.devices.join`; None: joined here.
        method: what is trained; None: a model alone.

    Returns:
        Validation loss (nats/token), final density of the matrices, tokens seen, seconds of training.

    Raises:
        ConfigError: a density below its floor; a model that cannot fit into memory; a folder that holds a run
            of another config.
        DataError: a corpus smaller than one context.
        RunLocked: somebody else trains in the folder.
        CheckpointError: there are checkpoints, and none is whole, or they are another run's; or the finished
            model that is there is damaged.
        TrainingDiverged: something became NaN or infinite; the last checkpoint stays.
        OutOfMemory: memory ran out; the last checkpoint stays.
        SaveError: the last checkpoint or the finished model could not be written.
        KeyboardInterrupt: Ctrl-C, after a checkpoint; Terminated, one of its kinds: SIGTERM. It says at which
            step the run is saved.
        PeerFailed: another process of the training failed.
    """
    machine = machine or Machine()
    with join(machine) if team is None else nullcontext(team) as team:
        return _begin(config, corpus, Path(folder), watch, machine, team, method or Alone())


def _begin(
    config: RunConfig,
    corpus: Corpus,
    folder: Path,
    watch: Callable[[Progress], None] | None,
    machine: Machine,
    team: Team,
    method: Method,
) -> TrainResult:
    """What each process does: see that it can be, and train."""
    require_trackers(machine.track)
    require_fit(config.train, machine, team)
    method.require(machine, team)
    corpus.require_context(config.context)
    require_memory(config, machine, team.world)
    model = SparseGPT(config.model, seed=config.train.seed)
    check_feasible(model, config.train)  # before there is a folder that holds a run which cannot be
    beside = method.beside(folder)
    if (done := team.on_main(lambda: _finished(folder, config, corpus, beside, method))) is not None:
        return done
    with ExitStack() as held, stop_signals() as stop:
        team.on_main(lambda: held.enter_context(run_lock(folder)))
        run = team.main_first(lambda: Run.create(folder, config, corpus, beside))
        keeper = Keeper(run, model, {}, machine.keep, team)
        with keeper.watching():
            return _Training(run, model, corpus, keeper, watch, machine, team, method).go(stop)


def _finished(
    folder: Path, config: RunConfig, corpus: Corpus, beside: Beside | None, method: Method
) -> TrainResult | None:
    """The end of the run that is there, if it has come to it and its model is whole."""
    if not (folder / RUN_FILE).is_file():
        return None
    run = Run.create(folder, config, corpus, beside)
    if (done := run.result()) is None:
        return None
    verify_finished(folder, config.train.steps, method.verify)
    return TrainResult(**done)


class _Training:
    """A run in progress: what its steps share. Of several processes, each has one."""

    def __init__(
        self,
        run: Run,
        model: SparseGPT,
        corpus: Corpus,
        keeper: Keeper,
        watch: Callable[[Progress], None] | None,
        machine: Machine,
        team: Team,
        method: Method,
    ) -> None:
        self.method = method
        self.run, self.model, self.corpus, self.keeper = run, model, corpus, keeper
        self.watch, self.machine, self.team = watch, machine, team
        self.config, self.recipe = run.config, run.config.train
        before = method.optimizer(model, self.recipe)
        keeper.parts = {"optimizer": before}
        self.state = keeper.resume()
        if self.state.step == 0 and model.bigram_table is not None and self.recipe.bigram_init == "counts":
            vocab_size = self.config.model.vocab_size
            model.bigram_table.data.copy_(bigram_log_frequencies(corpus.train, vocab_size))
        self.worker = method.worker(model, self.recipe, machine, team)
        self.optimizer = self.worker.optimizer(before)
        keeper.parts = {
            "optimizer": self.optimizer
        }  # or it would hold the parameters of before they were cut
        keeper.whole = lambda: self.worker.whole(self.optimizer)
        self.pace = Pace(_tokens_per_step(self.config))
        self._began = time.monotonic() - self.state.seconds

    @property
    def seconds(self) -> float:
        """Of training so far, over all starts."""
        return time.monotonic() - self._began

    def go(self, stop: Stop) -> TrainResult:
        """Train to the end, or until it is asked to stop."""
        seen = None
        with (
            Trackers(self.machine.track if self.team.main else (), self.run, self.state.step) as trackers,
            _reader(self.corpus, self.config, self.state.step, self.team) as reader,
            self.optimizer.reviving(),
        ):
            if self.team.main:
                self.run.truncate_metrics(self.state.step)
            for step in range(self.state.step, self.recipe.steps):
                with self.pace.step(reader):
                    taken = train_step(
                        self.model, self.optimizer, next(reader), step, self.recipe, self.machine, self.worker
                    )
                self.machine = self.machine.replace(micro_rows=taken.micro_rows)
                seen = self.validated(step + 1)
                self.tell(step + 1, taken, seen, trackers)
                self.save(step + 1, seen, stop)
        result = self.result(seen)
        self.team.on_main(lambda: self.method.finish(self.run.folder, self.optimizer))
        self.keeper.finish(result.__dict__)
        if self.asked(stop):
            stop.leave()
        return result

    def asked(self, stop: Stop) -> bool:
        """Whether a signal asked any process to stop; then all have that signal."""
        highest = max(number for (number,) in self.team.all_of([stop.signal or 0]))
        if highest:
            stop.signal = int(highest)
        return bool(highest)

    def validated(self, done: int) -> Validated | None:
        """The validation that is due after ``done`` steps, as the first process has it."""
        if done != self.recipe.steps and done % self.recipe.eval_every != 0:
            return None
        own = _validated(self.model, self.corpus, done, self.config)
        seen = self.team.on_main(lambda: own)
        if not math.isfinite(seen.loss + seen.interim):
            raise TrainingDiverged(done, self.recipe.lr, "val_loss", seen.loss)
        return seen

    def tell(self, done: int, taken: Step, seen: Validated | None, trackers: Trackers) -> None:
        """A line of metrics, if one is due; and the watcher."""
        val_loss = None if seen is None else seen.loss
        if seen is not None or done % self.recipe.log_every == 0:
            row = _metrics(done, taken.loss, taken.grad_rms, val_loss, self.seconds, self.config)
            row |= {"l0": nonzeros(self.model)} | self.pace.take() | self.worker.peak.row()
            if self.optimizer.reviver is not None:
                row["revived"] = self.optimizer.reviver.revived
            row |= self.worker.row()
            if seen is not None:
                row |= seen.vitals.row()
            self.keeper.log(row)
            trackers.log(row)
        if self.watch is not None and self.team.main:
            speed = done * _tokens_per_step(self.config) / max(self.seconds, 1e-9)
            density = densities_at(done - 1, self.recipe).matrices
            self.watch(Progress(done, self.recipe.steps, taken.loss, speed, density, val_loss))

    def save(self, done: int, seen: Validated | None, stop: Stop) -> None:
        """A checkpoint, if one is due, or if it is to stop here."""
        last, stopping = done == self.recipe.steps, self.asked(stop)
        interim = None if seen is None else seen.interim
        due = done % self.recipe.checkpoint_every == 0
        best = seen is not None and self.team.on_main(lambda: self.keeper.is_best(interim))
        if stopping or last or due or best:
            self.keeper.save(done, self.seconds, interim, required=last or stopping)
        if stopping and not last:
            stop.leave()

    def result(self, seen: Validated | None) -> TrainResult:
        """The end of the run, the same on every process."""
        if seen is None:  # everything was done but the end of the run
            tokens, limit = self.corpus.val, self.recipe.eval_tokens
            val_loss = evaluate(self.model, tokens, limit=limit, context=self.config.context)
        else:
            val_loss = seen.loss
        steps, density = self.recipe.steps, measured_density(self.model).matrices
        result = TrainResult(val_loss, density, steps * _tokens_per_step(self.config), self.seconds, steps)
        return self.team.on_main(lambda: result)  # with its seconds


class Validated(NamedTuple):
    """Losses in nats per token on the validation split, and what else was seen there."""

    loss: float
    """On eval_tokens / 8 tokens; after the last step, on eval_tokens."""
    vitals: Vitals
    interim: float
    """On eval_tokens / 8 tokens, whichever step it is, so that checkpoints can be compared."""


def _validated(model: SparseGPT, corpus: Corpus, done: int, config: RunConfig) -> Validated:
    recipe, context = config.train, config.context
    few, last = recipe.eval_tokens // 8, done == recipe.steps
    limit = recipe.validated_on(done)
    loss, vitals = validate(model, corpus.val, limit=limit, sample=few, context=context)
    interim = evaluate(model, corpus.val, limit=few, context=context) if last else loss
    return Validated(loss, vitals, interim)


def _reader(corpus: Corpus, config: RunConfig, step: int, team: Team) -> BatchReader:
    recipe = config.train
    return BatchReader(
        corpus.train,
        seed=recipe.seed,
        rows=recipe.rows,
        n_ctx=config.context,
        first_step=step,
        last_step=recipe.steps,
        rank=team.rank,
        world=team.world,
    )


def _tokens_per_step(config: RunConfig) -> int:
    return config.train.rows * config.context


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
