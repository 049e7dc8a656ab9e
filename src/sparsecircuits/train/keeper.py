"""What a run keeps on its way: lines of metrics, events, checkpoints; and what a failed save means.

A checkpoint or a line that cannot be written, on a full disk for one, is told at once as a warning and
training goes on: the line waits for the next one, the checkpoint for the next that is due, and an event in
``metrics.jsonl`` says what was missed. Where nothing comes after it, at the end of a run, the error
is raised. Never saved is a state in which something is not finite.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sparsecircuits.errors import NOTHING_SAVED, CheckpointError, SaveError
from sparsecircuits.files import sweep
from sparsecircuits.model import SparseGPT
from sparsecircuits.train.checkpoint import (
    Part,
    TrainState,
    best_checkpoint,
    latest_checkpoint,
    save_checkpoint,
    set_aside_damaged,
)
from sparsecircuits.train.devices import Team, alone
from sparsecircuits.train.guard import TrainingDiverged, require_finite
from sparsecircuits.train.metrics import json_line
from sparsecircuits.train.run import FILES, MODEL_FILES, Run
from sparsecircuits.train.worker import Whole


class Keeper:
    """Keeps the state of one run; made while its lock is held.

    Of several processes the first one alone writes; all of them call the same methods.

    Attributes:
        whole: gives what a checkpoint holds; all processes call it.
    """

    def __init__(
        self,
        run: Run,
        model: SparseGPT,
        parts: Mapping[str, Part],
        keep: int,
        team: Team | None = None,
    ) -> None:
        self.run, self.model, self.parts, self.keep = run, model, parts, keep
        self.team = team or alone()
        self.whole: Callable[[], Whole] = lambda: Whole(self.model, self.parts)
        self._waiting: list[str] = []
        self._saved: int | None = None

    def resume(self) -> TrainState:
        """Clear away what a killed process left half-written, and load the latest checkpoint.

        Damaged ones are set aside.

        Raises:
            CheckpointError: no checkpoint is whole, or one lies behind the end of the run.
            SaveError: the folder cannot be written.
        """
        if self.team.main:
            sweep(self.run.folder, *FILES)
            sweep(self.run.folder / "model", *MODEL_FILES)
            sweep(self.run.checkpoints)
        state = self.team.main_first(self._load)
        best = best_checkpoint(self.run.checkpoints)
        self._best = None if best is None else best.val_loss
        self._saved = state.step or None
        self.team.require_equal("the latest checkpoint", state.step)
        return state

    def _load(self) -> TrainState:
        state = latest_checkpoint(self.run.checkpoints, self.model, self.parts)
        if state.step > (steps := self.run.config.train.steps):
            raise CheckpointError(
                f"{self.run.checkpoints}: a checkpoint of step {state.step:,}, where the run has {steps:,} "
                f"steps: it is another run's; remove the checkpoints, or choose another name"
            )
        if self.team.main:
            set_aside_damaged(self.run.checkpoints, state.step)
        return state

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Keep an event of what diverges inside the block; have who interrupts it say what is saved."""
        try:
            yield
        except KeyboardInterrupt as error:
            saved = NOTHING_SAVED if self._saved is None else f"saved at step {self._saved:,}"
            error.args = (saved,)
            raise
        except TrainingDiverged as error:
            self.event("diverged", error.step, tensor=error.tensor, value=error.value)
            raise

    def is_best(self, val_loss: float | None) -> bool:
        """Whether no checkpoint has so low a validation loss; None was not measured."""
        return val_loss is not None and (self._best is None or val_loss < self._best)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append a line of metrics, after those that wait."""
        if not self.team.main:
            return
        self._waiting.append(json_line(row))
        try:
            self._flush()
        except SaveError as error:
            if len(self._waiting) == 1:
                warnings.warn(f"{error}; the line waits, training goes on", stacklevel=2)

    def event(self, what: str, step: int, **facts: Any) -> None:
        """Append a line that says what happened."""
        self.log({"event": what, "step": step, **facts})

    def save(
        self, step: int, seconds: float, val_loss: float | None = None, *, required: bool = False
    ) -> None:
        """Write a checkpoint, unless this step has one.

        Raises:
            TrainingDiverged: something in it is not finite.
            SaveError: it could not be written, and it is ``required``.
        """
        if self._saved == step:
            return
        whole = self.whole()
        if not self.team.on_main(lambda: self._save(whole, step, seconds, val_loss, required)):
            return
        self._saved = step
        if self.is_best(val_loss):
            self._best = val_loss

    def _save(self, whole: Whole, step: int, seconds: float, val_loss: float | None, required: bool) -> bool:
        """Whether it could be written."""
        lr = self.run.config.train.lr
        require_finite(whole.model.state_dict(), step, lr)
        for part in whole.parts.values():
            require_finite(part.state(), step, lr)
        try:
            self._flush()  # a run that goes on from here has all lines before it
            save_checkpoint(self.run.checkpoints, *whole, step, seconds, val_loss=val_loss, keep=self.keep)
        except SaveError as error:
            self.event("save_failed", step, error=str(error))
            if required:
                raise
            warnings.warn(f"{error}; training goes on and tries again at the next checkpoint", stacklevel=2)
            return False
        return True

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write what waits, the model, and the result that marks the run as done.

        Raises:
            SaveError: one of them could not be written.
        """
        model = self.whole().model
        self.team.on_main(lambda: self._finish(model, result))

    def _finish(self, model: SparseGPT, result: Mapping[str, Any]) -> None:
        self._flush()
        self.run.finish(model, dict(result))

    def _flush(self) -> None:
        while self._waiting:
            self.run.log(self._waiting[0])
            self._waiting.pop(0)
