"""Can a model do a task? Loss and accuracy on each split, raw and after one positive scale on the logits.

In go a model, a task and its tokenizer, out comes a :class:`TaskScore`:

1. one positive scale is fitted on the first 256 pairs of the train split, however many are measured
   (Gao et al. 2025, §A.5);
2. with that scale, loss and accuracy are measured on pairs of every split: on the *next* pairs of the train
   split, so that nothing is measured on what it was fitted on;
3. a shifted variant of a task is measured in the same way, with its task's scale (:func:`evaluate_variant`).

Every figure comes with its :class:`PairSet`, which says which prompts it is about, with their templates and
their hash. A task is done if a held-out loss of at most 0.15 goes with an accuracy of at least 95%; the model
generalises if the held-out loss is at most 0.05 above the train loss.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence

from sparsecircuits.config import Config
from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, fit_scale, pair_logits, score

#: A model does a task if its held-out loss after scaling is at most this (the paper's target) …
DONE_LOSS = 0.15
#: … and it is right on at least so many prompts.
DONE_ACCURACY = 0.95
#: It generalises if the held-out loss exceeds the train loss by no more.
SMALL_GAP = 0.05

#: ``watch(pairs)`` is told of every set of pairs that has been measured.
Watch = Callable[[TokenPairs], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairSet(Config):
    """Which prompts: of the pairs ``task.pairs(tokenizer, split, drawn, …)`` so many from ``first`` on."""

    task: str
    split: Split
    seed: int
    first: int
    """So many pairs of the draw come before."""
    count: int
    """Pairs; there are twice as many prompts."""
    drawn: int | None = None
    """Pairs of the whole draw; None: none comes after, so ``first + count``."""
    max_tokens: int
    templates: dict[str, int] = dataclasses.field(default_factory=dict)
    """Template to pairs."""
    left_out: tuple[str, ...] = ()
    """Templates that never fit the tokenizer."""
    sha256: str
    """:attr:`TokenPairs.hash`."""

    @classmethod
    def of(cls, pairs: TokenPairs, max_tokens: int, first: int = 0, drawn: int | None = None) -> PairSet:
        """What to write down about ``pairs``."""
        return cls(
            task=pairs.task,
            split=pairs.split,
            seed=pairs.seed,
            first=first,
            count=len(pairs),
            drawn=drawn,
            max_tokens=max_tokens,
            templates=dict(sorted(Counter(pairs.templates).items())),
            left_out=pairs.left_out,
            sha256=pairs.hash,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured(Config):
    """How well an unpruned model does on one set of pairs: means over both sides."""

    loss: float
    """Nats a prompt, with the scale."""
    raw_loss: float
    """Without it."""
    accuracy: float
    """Share of prompts."""
    pairs: PairSet

    @property
    def done(self) -> bool:
        """Whether loss and accuracy reach what is asked of a task."""
        return self.loss <= DONE_LOSS and self.accuracy >= DONE_ACCURACY


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskScore(Config):
    """How well an unpruned model does a task.

    >>> score.splits["train"].loss, score.loss, score.gap              # doctest: +SKIP
    (0.002, 0.010, 0.008)
    """

    task: str
    scale: float
    """The factor on the logits."""
    fitted_on: PairSet
    splits: dict[str, Measured]
    """Split to figures; ``heldout`` is always there."""

    @property
    def loss(self) -> float:
        """The loss on held-out pairs."""
        return self.splits["heldout"].loss

    @property
    def raw_loss(self) -> float:
        """The loss on held-out pairs without the scale."""
        return self.splits["heldout"].raw_loss

    @property
    def accuracy(self) -> float:
        """The accuracy on held-out pairs."""
        return self.splits["heldout"].accuracy

    @property
    def done(self) -> bool:
        """Whether the model does the task."""
        return self.splits["heldout"].done

    @property
    def gap(self) -> float | None:
        """Held-out loss minus train loss; None where the train split was not measured."""
        train = self.splits.get("train")
        return None if train is None else self.loss - train.loss

    @property
    def generalises(self) -> bool | None:
        """Whether the gap is small."""
        return None if self.gap is None else self.gap <= SMALL_GAP


def evaluate_task(
    model: SparseGPT,
    task: Task,
    tokenizer: TextTokenizer,
    *,
    pairs: int = 512,
    train_pairs: int = 256,
    seed: int = 0,
    max_tokens: int | None = None,
    splits: Sequence[Split] = SPLITS,
    watch: Watch | None = None,
) -> TaskScore:
    """Fit the scale, then measure each split.

    Args:
        model: any model.
        task: not a variant.
        tokenizer: the model's.
        pairs: of each split; a fixed list gives what it has.
        train_pairs: of the train split, for the scale, whatever ``pairs`` is; half of a short fixed list.
        seed: chooses the pairs.
        max_tokens: longest prompt; None: the model's whole context.
        splits: which to measure; ``heldout`` always is. The scale does not depend on them.
        watch: told of each set of pairs once it is measured.

    Raises:
        TaskError: the task does not fit the tokenizer, or its list of train pairs is too short.
    """
    longest = _longest(model, max_tokens)
    drawn = task.pairs(tokenizer, "train", train_pairs + pairs, seed=seed, max_tokens=longest)
    cut = min(train_pairs, max(len(drawn) - pairs, len(drawn) // 2))
    if cut == 0:
        raise TaskError(
            f"task {task.name}: {len(drawn)} pair for the split 'train'; at least two are needed, one to fit "
            f"the scale and another to measure the loss"
        )
    fitting = drawn.rows(slice(cut))
    scale = fit_scale(pair_logits(model, fitting), fitting)
    found: dict[str, Measured] = {}
    for split in SPLITS:
        if split == "train" and split in splits:
            these, first = drawn.rows(slice(cut, None)), cut
        elif split in splits or split == "heldout":
            these, first = task.pairs(tokenizer, split, pairs, seed=seed, max_tokens=longest), 0
        else:
            continue
        found[split] = _measure(model, these, scale, PairSet.of(these, longest, first), watch)
    fitted_on = PairSet.of(fitting, longest, drawn=len(drawn))
    return TaskScore(task=task.name, scale=scale, fitted_on=fitted_on, splits=found)


def evaluate_variant(
    model: SparseGPT,
    variant: Task,
    tokenizer: TextTokenizer,
    scale: float,
    *,
    pairs: int = 512,
    seed: int = 0,
    max_tokens: int | None = None,
    watch: Watch | None = None,
) -> Measured:
    """Measure a variant on held-out pairs, with the scale of its task's :class:`TaskScore`.

    Raises:
        TaskError: the variant does not fit the tokenizer.
    """
    longest = _longest(model, max_tokens)
    these = variant.pairs(tokenizer, "heldout", pairs, seed=seed, max_tokens=longest)
    return _measure(model, these, scale, PairSet.of(these, longest), watch)


def _longest(model: SparseGPT, max_tokens: int | None) -> int:
    return model.config.n_ctx if max_tokens is None else min(max_tokens, model.config.n_ctx)


def _measure(
    model: SparseGPT, pairs: TokenPairs, scale: float, which: PairSet, watch: Watch | None
) -> Measured:
    logits = pair_logits(model, pairs)
    scaled, raw = score(logits, pairs, Calibration(scale, 0.0)), score(logits, pairs)
    if watch is not None:
        watch(pairs)
    return Measured(loss=scaled.loss, raw_loss=raw.loss, accuracy=scaled.accuracy, pairs=which)
