"""Complete circuits: where a model does a task in more than one way, find them all.

A smallest circuit is *redundant* if the model still does the task without it (Gao et al. 2025, Fig 32 deletes
circuits; most of ours survive it). Then the model is pruned again with that circuit deleted, and again, until
what is left is at chance:

1. delete all circuits found so far from the full model, and refit scale and candidate bias on the train
   split, which works against the claim;
2. accuracy within :data:`CHANCE`, raw and refitted: done. Else prune what is left. Where it misses the
   target, it is pruned to what it can still do: the target is raised to its own loss, refitted as above,
   and a tenth of what it lacks to a coin's;
3. the circuits are disjoint; their number is a fact about the model. Their union is the complete one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, freeze
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.prune.prune import prune
from sparsecircuits.prune.search import PruneResult
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.tasks.score import fit_scale_and_bias, pair_logits, score

#: Accuracies between these count as chance.
CHANCE = (0.40, 0.60)
#: At most so many circuits.
MOST = 8
#: A remainder that misses the target is pruned to its own loss and so much of what it lacks to a coin's.
SLACK = 0.1

#: ``watch(circuit number, stage, done, of, loss)``.
Watch = Callable[[int, str, int, int, float], None]


@dataclass(frozen=True)
class Remainder:
    """What the model still does without some circuits, on validation pairs.

    Attributes:
        accuracy, refitted_accuracy: raw, and after refitting scale and bias on the train pairs.
        loss: refitted, in nats.
    """

    accuracy: float
    refitted_accuracy: float
    loss: float

    @property
    def at_chance(self) -> bool:
        """Whether the task is lost."""
        low, high = CHANCE
        return low <= self.accuracy <= high and low <= self.refitted_accuracy <= high


@dataclass(frozen=True)
class Complete:
    """Disjoint circuits of one task, and what is left without them.

    Attributes:
        found: one after the other; each does the task alone, up to its own target.
        union: all their nodes, with the frozen values and the calibration of the first.
        remainders: what is left without the first one, the first two, ...
        complete: whether what is left at last is at chance.
        why: why the search ended before that.
    """

    found: tuple[PruneResult, ...]
    union: Circuit
    remainders: tuple[Remainder, ...]
    complete: bool
    why: str | None = None


def prune_complete(
    model: SparseGPT,
    task: Task,
    tokenizer: TextTokenizer,
    tokens: np.ndarray,
    config: PruneConfig | None = None,
    *,
    means: Mapping[str, Tensor] | None = None,
    first: PruneResult | None = None,
    most: int = MOST,
    watch: Watch | None = None,
) -> Complete:
    """Find disjoint circuits until the model without them is at chance.

    Args:
        model: left as it is.
        task: what the circuits must do.
        tokenizer: the model's.
        tokens: [total] training token ids, for the frozen values.
        config: of every pruning; None: the defaults.
        means: frozen values, if they are at hand already.
        first: the first circuit, if it is at hand already.
        most: so many circuits at most.
        watch: called with (circuit, stage, done, of, loss) as work goes on.

    Raises:
        TaskError: the task does not fit the tokenizer.
        PruneError: the full model itself misses the target.
    """
    config = config or PruneConfig()
    if means is None:
        means = pretraining_means(model, tokens, count=config.mean_tokens, seed=config.seed)
    pairs = Splits.draw(task, tokenizer, config, model.config.n_ctx)
    found: list[PruneResult] = []
    remainders: list[Remainder] = []
    removed: frozenset[Node] = frozenset()
    why = f"more than {most} circuits do the task"
    while len(found) < most:
        if first is not None and not found:
            result = first
        else:
            number = len(found)
            heard = None if watch is None else lambda *report: watch(number, *report)  # noqa: B023
            try:
                result = prune(
                    model, task, tokenizer, tokens, config,
                    means=means, removed=removed, watch=heard,
                )  # fmt: skip
            except PruneError as error:
                if not found:
                    raise
                why = str(error)
                break
        found.append(result)
        removed |= result.circuit.nodes
        left = remainder(model, pairs, means, removed)
        remainders.append(left)
        if left.at_chance:
            break
        if not result.circuit.nodes:
            why = "a circuit without any node does the task"
            break
        lacking = max(0.0, math.log(2) - left.loss)
        config = config.replace(
            target=max(config.target, left.loss + SLACK * lacking), held_bias=True, bias=True
        )
    done = bool(remainders) and remainders[-1].at_chance
    union = replace(
        found[0].circuit,
        nodes=removed,
        cut=frozenset(),
        gain={},
        info={**found[0].circuit.info, "union_of": [result.nodes for result in found]},
    )
    return Complete(tuple(found), union, tuple(remainders), done, None if done else why)


@torch.no_grad()
def remainder(
    model: SparseGPT, pairs: Splits, means: Mapping[str, Tensor], removed: frozenset[Node]
) -> Remainder:
    """What the model does on validation pairs with some nodes frozen to their means."""
    keep = {name: ~gone for name, gone in Circuit("removed", removed, means).keep_masks().items()}
    with freeze(model, keep, means):
        train = pair_logits(model, pairs.train)
        logits: Sequence[Tensor] = [pair_logits(model, some) for some in (pairs.validation, pairs.selection)]
    held = fit_scale_and_bias(train, pairs.train)
    refitted = [
        score(some, of, held) for some, of in zip(logits, (pairs.validation, pairs.selection), strict=True)
    ]
    raw = score(logits[0], pairs.validation).accuracy
    return Remainder(raw, refitted[0].accuracy, max(each.loss for each in refitted))
