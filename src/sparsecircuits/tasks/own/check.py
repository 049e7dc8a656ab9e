"""Whether a user's task fits a tokenizer and a context: every mistake, or what is worth knowing.

Of a list every pair is looked at, of templates and functions some pairs of every split. The *last token* says
how far a model gets that sees nothing else of a prompt: on held-out pairs, the share of prompts where the
answer that followed their last token more often on train pairs is the right one. At 50% a task needs what
came before; much above, it can be done by looking back one token, and its circuit will do no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import Place, TaskError, TaskFileError
from sparsecircuits.tasks.fitting import Misfit, resolve
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.pairs import Task, TokenPairs

DRAWN = 256
"""Pairs of each split that are looked at where a task has no list."""
TOO_EASY = 0.6
"""A share of the last token from which on a warning is due."""


@dataclass(frozen=True)
class Checked:
    """What is worth knowing of a task that fits.

    Attributes:
        pairs: of every split, those that were looked at.
        templates: how many each split has, of those that were drawn.
        longest: tokens of the longest prompt, ``<|endoftext|>`` included.
        last_token: how well the last token alone does, as a share of prompts.
    """

    pairs: Mapping[Split, TokenPairs]
    templates: Mapping[Split, int]
    longest: int
    last_token: float

    @property
    def too_easy(self) -> bool:
        """Whether the last token tells too much."""
        return self.last_token >= TOO_EASY


def require_fit(task: Task, tokenizer: TextTokenizer, max_tokens: int) -> None:
    """Refuse a user's task that does not fit; built-in tasks pass, as they are fitted when they are drawn.

    Raises:
        TaskFileError: everything that does not fit.
    """
    if task.definition is not None:
        check_fit(task, tokenizer, max_tokens, Problems(task.definition.file))


def check_fit(task: Task, tokenizer: TextTokenizer, max_tokens: int, problems: Problems) -> Checked:
    """Look at a task's pairs as tokens.

    Args:
        task: read from a file.
        tokenizer: the model's.
        max_tokens: the model's context.
        problems: what is known to be wrong already.

    Raises:
        TaskFileError: that, and everything that does not fit.
    """
    if task.fixed is not None:
        _check_listed(task, tokenizer, max_tokens, problems)
    drawn: dict[Split, TokenPairs] = {}
    for split in SPLITS if task.fixed is None or not problems.found else ():
        count = DRAWN if task.fixed is None else len(task.fixed[split])
        try:
            drawn[split] = task.pairs(tokenizer, split, count, max_tokens=max_tokens)
        except TaskFileError as error:
            problems.found += error.problems
        except TaskError as error:
            problems.add(Place(), str(error).replace("\n", " "))
    problems.refuse()
    return Checked(
        pairs=drawn,
        templates={split: len(set(pairs.templates)) for split, pairs in drawn.items()},
        longest=1 + max(int(pairs.last.max()) for pairs in drawn.values()),
        last_token=last_token_share(drawn["train"], drawn["heldout"]),
    )


def _check_listed(task: Task, tokenizer: TextTokenizer, max_tokens: int, problems: Problems) -> None:
    """Every pair of a list."""
    assert task.fixed is not None
    texts = [pair for split in SPLITS for pair in task.fixed.get(split, ())]
    filler = tokenizer.text(0)
    for pair, found in zip(texts, resolve(task, tokenizer, texts, max_tokens), strict=True):
        for side, prompt in (("left", pair.left), ("right", pair.right)):
            if _filled(prompt, filler):
                reason = f"padding: {side} begins or ends with {filler!r}, the token of id 0, over and over"
                problems.add(pair.place or Place(), reason)
        if isinstance(found, Misfit):
            problems.found += found.problems()


def _filled(prompt: str, filler: str) -> bool:
    """Whether a prompt was made longer with the token of id 0."""
    if not filler.strip():
        return False
    often = filler * (2 if len(filler) == 1 else 1)
    return prompt.startswith(often) or prompt.endswith(often)


def last_token_share(train: TokenPairs, heldout: TokenPairs) -> float:
    """The share of held-out prompts that the last token alone gets right; half for one where it cannot tell.

    Of a prompt with one candidate its other side counts as the second.
    """
    follows: Counter[tuple[int, int]] = Counter()
    for last, right, _ in _rows(train):
        follows[last, right] += 1
    points = 0.0
    rows = _rows(heldout)
    for last, right, wrong in rows:
        more = follows[last, right] - follows[last, wrong]
        points += 0.5 if more == 0 else float(more > 0)
    return points / len(rows)


def _rows(pairs: TokenPairs) -> list[tuple[int, int, int]]:
    """Of every prompt its last token and the right and the wrong candidate (-1: anything else)."""
    lasts = pairs.tokens.gather(1, pairs.last[:, None]).flatten().tolist()
    return list(zip(lasts, pairs.target.tolist(), pairs.other.tolist(), strict=True))
