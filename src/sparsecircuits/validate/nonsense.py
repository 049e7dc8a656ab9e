"""Nonsense tasks: a task's own prompts, other answers. (T8; Drori 2026.)

Pruning can find small circuits for things that the model does not do. How large those are is measured on
tasks that nothing in the training text taught:

============  =============================================================================================
``pair``      every answer is exchanged for a random token of its own, such as ``]`` for `` when`` and
              ``]]`` for `` is``; where the task asks for one token against all, "any other" has one too
``wrong``     the two prompts of a pair exchange their answers; one token against all: right and wrong
              prompts change places
``constant``  one random token against the right answer, on every prompt; where that is no token (one against
              all), against the token that is asked for
============  =============================================================================================

Random tokens are drawn from those that stand for text and with which no answer of the task begins. They
depend on task, seed and tokenizer alone, so that all splits and prunings of a map ask for the same ones.
"""

from __future__ import annotations

import dataclasses
import random
from dataclasses import dataclass
from typing import Literal, NamedTuple, Self, get_args

import torch
from torch import Tensor

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import ConfigError, TaskError
from sparsecircuits.tasks.pairs import Task, TextPair, TokenPairs

Kind = Literal["pair", "wrong", "constant"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class Map(NamedTuple):
    """Which nonsense: a kind, and a seed of its tokens."""

    kind: Kind
    seed: int = 0

    def __str__(self) -> str:
        return f"nonsense-{self.kind}-{self.seed}"


#: The five maps of T8, in the order in which they are run.
MAPS = (Map("pair", 0), Map("wrong"), Map("constant"), Map("pair", 1), Map("pair", 2))
#: So many texts of each split tell with which tokens answers begin.
_PROBES = 128
#: Stands for "any token but the one asked for".
_ANY_OTHER = -1


@dataclass(frozen=True, kw_only=True)
class NonsenseTask(Task):
    """A task's prompts with answers that nothing taught the model."""

    of: Task
    """The real task."""
    map: Map
    """What becomes of its answers."""

    @classmethod
    def make(cls, task: Task, map: Map) -> Self:
        """The nonsense of a real task, called ``TASK:nonsense-KIND-SEED``."""
        fields = {field.name: getattr(task, field.name) for field in dataclasses.fields(Task)}
        fields |= {"name": f"{task.name}:{map}", "about": f"{task.about}: nonsense"}
        if map.kind != "wrong":
            fields["form"] = "contrast"
        return cls(**fields, of=task, map=map)

    def texts(self, split: Split, count: int, *, seed: int = 0) -> list[TextPair]:
        """The real task's prompts and answers: without a tokenizer there are no others."""
        return self.of.texts(split, count, seed=seed)

    def pairs(
        self, tokenizer: TextTokenizer, split: Split, count: int, *, seed: int = 0, max_tokens: int = 64
    ) -> TokenPairs:
        """The real task's pairs with other answers; arguments and errors as :meth:`Task.pairs` has them."""
        real = self.of.pairs(tokenizer, split, count, seed=seed, max_tokens=max_tokens)
        if self.map.kind == "wrong":
            mapped = _exchanged(real)
        else:
            tokens = _Tokens.of(self.of, self.map, tokenizer)
            mapped = tokens.instead(real) if self.map.kind == "pair" else tokens.against(real)
        return dataclasses.replace(mapped, task=self.name)


def nonsense_tasks(task: Task, count: int = len(MAPS)) -> list[NonsenseTask]:
    """The first ``count`` of :data:`MAPS` on a task.

    Raises:
        ConfigError: a count below 1 or above their number.
    """
    if not 1 <= count <= len(MAPS):
        raise ConfigError(f"{count} nonsense tasks; there are 1 to {len(MAPS)}")
    return [NonsenseTask.make(task, map) for map in MAPS[:count]]


def _exchanged(real: TokenPairs) -> TokenPairs:
    """Every prompt with the other prompt's answer."""
    if real.form == "contrast":
        texts = tuple(
            dataclasses.replace(pair, left_answer=pair.right_answer, right_answer=pair.left_answer)
            for pair in real.texts
        )
        return dataclasses.replace(real, target=real.other, other=real.target, texts=texts)
    texts = tuple(dataclasses.replace(pair, left=pair.right, right=pair.left) for pair in real.texts)
    n = len(real)
    turned = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    return dataclasses.replace(real, tokens=real.tokens[turned], last=real.last[turned], texts=texts)


@dataclass(frozen=True)
class _Tokens:
    """Random tokens for answers.

    Attributes:
        known: what the task's answers begin with, and :data:`_ANY_OTHER`.
        drawn: other tokens in random order; the first ones are the known answers'.
    """

    known: tuple[int, ...]
    drawn: tuple[int, ...]
    tokenizer: TextTokenizer

    @classmethod
    def of(cls, task: Task, map: Map, tokenizer: TextTokenizer) -> Self:
        """Draw them.

        Raises:
            TaskError: fewer of them than answers.
        """
        texts = [pair for split in SPLITS for pair in task.texts(split, _PROBES)]
        answers = {answer for pair in texts for answer in (pair.left_answer, pair.right_answer)}
        answers |= {answer.lstrip() for answer in answers}
        begun = {ids[0] for ids in tokenizer.encode_batch(sorted(answers)) if ids}
        known = (_ANY_OTHER, *sorted(begun))
        free = [id for id in range(tokenizer.vocab_size) if id not in begun and _is_text(tokenizer, id)]
        if len(free) <= len(known):
            raise TaskError(
                f"task {task.name}: {len(known)} answers, and {len(free)} other tokens of this tokenizer; "
                f"nonsense needs more"
            )
        random.Random(f"{task.name} {map}").shuffle(free)
        return cls(known, tuple(free), tokenizer)

    def instead(self, real: TokenPairs) -> TokenPairs:
        """Each answer's own token in its place."""
        target, other = (
            torch.tensor([self._own(answer) for answer in ids.tolist()]) for ids in (real.target, real.other)
        )
        return self._contrast(real, target, other)

    def against(self, real: TokenPairs) -> TokenPairs:
        """One token against the right answer, or where that is no token, against the one asked for."""
        right = torch.where(real.target == _ANY_OTHER, real.other, real.target)
        return self._contrast(real, torch.full_like(right, self.drawn[0]), right)

    def _own(self, answer: int) -> int:
        """An answer's token; of one that no probe had, some token that no known answer has."""
        if answer in self.known:
            return self.drawn[self.known.index(answer)]
        return self.drawn[len(self.known) + answer % (len(self.drawn) - len(self.known))]

    def _contrast(self, real: TokenPairs, target: Tensor, other: Tensor) -> TokenPairs:
        n = len(real)
        spelled = [self.tokenizer.text(id) for id in target.tolist()]
        texts = tuple(
            dataclasses.replace(pair, left_answer=left, right_answer=right)
            for pair, left, right in zip(real.texts, spelled[:n], spelled[n:], strict=True)
        )
        return dataclasses.replace(real, target=target, other=other, form="contrast", texts=texts)


def _is_text(tokenizer: TextTokenizer, id: int) -> bool:
    """Whether a token is whole characters, and not white space alone."""
    text = "" if id == tokenizer.eot_id else tokenizer.text(id)
    return text.strip().isprintable() and bool(text.strip()) and "\\x" not in text
