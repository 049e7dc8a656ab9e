"""The prompt pairs of a pruning: what masks learn from, what circuits are chosen on, and what is reported."""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.tasks.pairs import Split, Task, TokenPairs


@dataclass(frozen=True)
class Splits:
    """Pairs of one task, by what they are for."""

    train: TokenPairs
    selection: TokenPairs
    validation: TokenPairs
    heldout: TokenPairs

    @classmethod
    def draw(cls, task: Task, tokenizer: TextTokenizer, config: PruneConfig, n_ctx: int) -> Splits:
        """Draw all four; train and selection come from the same split, one after the other.

        A fixed list may have fewer pairs than are asked for: then both get their share of it.
        """

        def pairs(split: Split, count: int) -> TokenPairs:
            longest = min(config.max_tokens, n_ctx)
            return task.pairs(tokenizer, split, count, seed=config.seed, max_tokens=longest)

        wanted = config.train_pairs + config.selection_pairs
        both = pairs("train", wanted)
        if len(both) < 2:
            raise TaskError(f"task {task.name}: a single pair for the split 'train'; at least two are needed")
        cut = max(1, len(both) * config.train_pairs // wanted)
        return cls(
            train=both.rows(slice(cut)),
            selection=both.rows(slice(cut, None)),
            validation=pairs("validation", config.validation_pairs),
            heldout=pairs("heldout", config.heldout_pairs),
        )
