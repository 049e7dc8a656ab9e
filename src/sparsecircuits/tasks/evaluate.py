"""Can a model do a task? Loss and accuracy on held-out pairs, raw and after fitting one positive scale."""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score

#: A model does a task if its held-out loss after scaling is at most this (the paper's target) …
DONE_LOSS = 0.15
#: … and it is right on at least so many prompts.
DONE_ACCURACY = 0.95


@dataclass(frozen=True)
class TaskScore:
    """How well an unpruned model does a task, on held-out pairs.

    Attributes:
        loss: nats, after the scale fitted on the train split (mean of both sides).
        raw_loss: without it.
        accuracy: share of prompts.
        scale: the fitted factor on the logits.
    """

    task: str
    loss: float
    raw_loss: float
    accuracy: float
    scale: float

    @property
    def done(self) -> bool:
        """Whether the model does the task."""
        return self.loss <= DONE_LOSS and self.accuracy >= DONE_ACCURACY


def evaluate_task(
    model: SparseGPT,
    task: Task,
    tokenizer: Tokenizer,
    *,
    pairs: int = 512,
    train_pairs: int = 256,
    seed: int = 0,
    max_tokens: int = 64,
) -> TaskScore:
    """Measure a task on ``pairs`` held-out pairs; the scale comes from ``train_pairs`` of the train split.

    Raises:
        TaskError: the task does not fit the tokenizer.
    """
    max_tokens = min(max_tokens, model.config.n_ctx)
    train = task.pairs(tokenizer, "train", train_pairs, seed=seed, max_tokens=max_tokens)
    heldout = task.pairs(tokenizer, "heldout", pairs, seed=seed, max_tokens=max_tokens)
    scale = fit_scale(pair_logits(model, train), train)
    logits = pair_logits(model, heldout)
    scaled, raw = score(logits, heldout, Calibration(scale, 0.0)), score(logits, heldout)
    return TaskScore(task.name, scaled.loss, raw.loss, scaled.accuracy, scale)
