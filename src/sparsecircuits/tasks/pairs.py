"""A task: pairs of prompts that differ in one place, each with its right next token.

Text goes in, tensors come out, in these steps (Gao et al. 2025, §2.2 and Table 1):

1. :attr:`Task.generate` draws a :class:`TextPair`: two prompts and the text that rightly follows each;
2. the tokenizer at hand encodes each prompt, alone and with its answer; the first token of an answer is
   its *candidate*. With the usual split pattern a closing token at the end of a line absorbs the newline,
   so a candidate is often ``")⏎`` where one would write ``")``;
3. a pair fits if the prompts are equally long, end in the same token, do not change when the answer is
   appended, and have different candidates, and the tokenizer keeps their text. Others are drawn again. A
   template that never fits this tokenizer is left out and named in the result. Where both answers begin with
   the same spaces, which some tokenizers spell one by one, these go to the prompts;
4. when most templates never fit, or too few pairs do, all are drawn anew and *fitted* to the tokenizer: a
   statement of the task's surroundings is put before the first difference on each side, so long that the
   prompts come out equally long; whatever tokens both answers begin with go to the prompts; white space at a
   prompt's end that melts with the answer's goes to the answer. What does not fit even so ends in a
   :class:`TaskError` that shows the tokens of both sides;
5. all left prompts and then all right ones become the rows of :class:`TokenPairs`, each behind
   ``<|endoftext|>``.

Prompts have from :data:`MIN_TOKENS` to ``max_tokens`` tokens, each length about equally likely as far as a
split's surroundings allow. Pairs are a pure function of (task, split, count, seed, max_tokens, tokenizer).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import Place, Problem, TaskError, TaskFileError, near_misses
from sparsecircuits.model import Prompts
from sparsecircuits.tasks.fitting import Misfit, Resolved, evened, resolve

Form = Literal["contrast", "one_against_all"]

MIN_TOKENS = 20
"""Shortest prompt of the built-in tasks, ``<|endoftext|>`` included."""
_DRAWS = 12
"""Misfitting pairs are drawn again until there have been so many draws for each pair wanted."""
_HOPELESS = 12
"""Where none fits, as many draws as for so many pairs are enough."""
_PROBES = 48
"""So many texts tell how many characters a token has."""
_LONGEST = 16
"""Characters of a token, on average, at most: one that drops nearly everything must end in an error."""
_ROOM = (60, 180)
"""Characters of a prompt that no tokenizer has seen."""
_NEVER = 4
"""A template that misfits so often and never fits is left out."""


@dataclass(frozen=True)
class Definition:
    """The file that a user's task was read from, as it was then."""

    file: str
    """Its path."""
    text: str
    """What it says, its lines ended by ``\\n``."""

    @property
    def sha256(self) -> str:
        """Tells one version of a task from another."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class TextPair:
    """Two prompts, without ``<|endoftext|>``, and the text that rightly follows each.

    An answer must be long enough to hold its first token whole: ``'")\\n'``, not ``'"'``.
    """

    left: str
    right: str
    left_answer: str
    right_answer: str
    template: str = ""
    """What it was made of; results count pairs by it."""
    words: frozenset[str] = frozenset()
    """Those in the template's slots, which no line around it may use."""
    place: Place | None = None
    """Where in a user's file it is written."""


@dataclass(frozen=True)
class TokenPairs:
    """Prompt pairs as tensors; rows ``0 .. n-1`` are the left prompts, ``n .. 2n-1`` their right partners."""

    tokens: Tensor
    """``LongTensor[rows, pos]``: ``<|endoftext|>``, the prompt, ``<|endoftext|>`` again as padding."""
    last: Tensor
    """``LongTensor[rows]``: the position of the prompt's last token, where logits are read."""
    target: Tensor
    """``LongTensor[rows]``: the right next token; -1 on right rows of ``one_against_all``."""
    other: Tensor
    """``LongTensor[rows]``: the wrong candidate; -1 on left rows of ``one_against_all``."""
    form: Form
    texts: tuple[TextPair, ...]
    """The text of every pair."""
    task: str
    split: Split
    seed: int
    left_out: tuple[str, ...] = ()
    """Templates that never fit this tokenizer, at most as many as there are others."""
    fitted: bool = False
    """Whether the pairs had to be fitted to this tokenizer, as step 4 above says."""

    def __len__(self) -> int:
        """The number of pairs, half the number of rows."""
        return len(self.texts)

    @property
    def templates(self) -> tuple[str, ...]:
        """The template of every pair."""
        return tuple(pair.template for pair in self.texts)

    @property
    def marked(self) -> Tensor:
        """``BoolTensor[pairs, pos]``: where the two prompts of a pair differ."""
        return self.tokens[: len(self)] != self.tokens[len(self) :]

    @property
    def hash(self) -> str:
        """SHA-256 of the tensors: equal hashes mean the same prompts and answers."""
        digest = hashlib.sha256(self.form.encode())
        for tensor in (self.tokens, self.last, self.target, self.other):
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.cpu().numpy().tobytes())
        return digest.hexdigest()

    @functools.cached_property
    def prompts(self) -> Prompts:
        """Both sides as :class:`~sparsecircuits.model.Prompts`, row by row."""
        return Prompts.of(self.tokens, self.last)

    def first(self, count: int) -> TokenPairs:
        """The first ``count`` pairs, or all; found once."""
        if count >= len(self):
            return self
        if count not in self._firsts:
            self._firsts[count] = self.rows(slice(count))
        return self._firsts[count]

    @functools.cached_property
    def _firsts(self) -> dict[int, TokenPairs]:
        return {}

    def rows(self, index: slice | Sequence[int] | Tensor) -> TokenPairs:
        """The pairs at ``index`` (of pairs, not of rows), both sides of each, in that order."""
        n = len(self)
        chosen = torch.arange(n, device=self.tokens.device)[
            index if isinstance(index, slice) else torch.as_tensor(index)
        ]
        both = torch.cat([chosen, chosen + n])
        return dataclasses.replace(
            self,
            tokens=self.tokens[both],
            last=self.last[both],
            target=self.target[both],
            other=self.other[both],
            texts=tuple(self.texts[i] for i in chosen.tolist()),
        )

    def to(self, device: torch.device | str) -> TokenPairs:
        """The same pairs on another device."""
        moved = {name: getattr(self, name).to(device) for name in ("tokens", "last", "target", "other")}
        return dataclasses.replace(self, **moved)


#: ``generate(rng, split, room)``: a pair of about ``room`` characters a prompt.
Generate = Callable[[random.Random, Split, int], TextPair]
#: ``line(rng, split, taken)``: a statement beside the point, with its line end and without the words taken.
Line = Callable[[random.Random, Split, frozenset[str]], str]


def listed_only(rng: random.Random, split: Split, room: int) -> TextPair:
    """The ``generate`` of a task whose pairs are a fixed list; it is not asked."""
    raise AssertionError("the pairs of this task are a fixed list")


@dataclass(frozen=True)
class Task:
    """A distribution of prompt pairs. Most are written as templates: see :func:`template_task`."""

    name: str
    """How it is called; a variant's is ``TASK:VARIANT``."""
    about: str
    """One line: what the model must choose, and from what."""
    form: Form
    generate: Generate
    same_last: bool = True
    """Whether the two prompts of a pair must end in the same token (all of the paper's but ``else_elif``)."""
    min_tokens: int = 1
    """Shortest prompt, with its ``<|endoftext|>``."""
    suite: str = "yours"
    """Which collection it belongs to: ``python``, ``stories``, or a user's own."""
    fixed: Mapping[Split, Sequence[TextPair]] | None = None
    """Where the pairs are a list of a user's: all there are. ``generate`` is not asked then."""
    line: Line | None = None
    """What evens out prompts that this or that tokenizer makes unequally long; None: nothing does."""
    strict: bool = False
    """Whether pairs are taken as they are written: each answer is one token, every template must fit."""
    definition: Definition | None = None
    """The user's file that it was read from; None: it was made in Python."""

    @property
    def base(self) -> str:
        """The name of the task that this is a variant of, or its own."""
        return self.name.partition(":")[0]

    def texts(self, split: Split, count: int, *, seed: int = 0) -> list[TextPair]:
        """The first ``count`` draws as text, before any tokenizer has seen them (fewer of a fixed list)."""
        rng = self._rng(split, seed)
        if self.fixed is not None:
            return self._dealt(rng, split, count)
        return [self.generate(rng, split, rng.randint(*_ROOM)) for _ in range(count)]

    def pairs(
        self, tokenizer: TextTokenizer, split: Split, count: int, *, seed: int = 0, max_tokens: int = 64
    ) -> TokenPairs:
        """Draw ``count`` pairs and resolve their candidates.

        Args:
            tokenizer: the model's own.
            split: whose templates, names and lengths to use.
            count: number of pairs; the result has twice as many rows. A fixed list gives what it has.
            seed: another seed, other pairs.
            max_tokens: longest prompt with its ``<|endoftext|>``, usually the model's context.

        Raises:
            TaskError: an unknown split, a count below 1, too many misfits, or more templates that never fit
                than that do; the message shows one misfit.
        """
        if split not in SPLITS:
            raise TaskError(f"task {self.name}: unknown split {split!r}; {near_misses(split, SPLITS)}")
        if count < 1:
            raise TaskError(f"task {self.name}: count is {count}; at least one pair is needed")
        if max_tokens <= self.min_tokens:
            raise TaskError(
                f"task {self.name}: its prompts have at least {self.min_tokens} tokens; "
                f"max_tokens is {max_tokens}"
            )
        if self.fixed is not None:
            return self._listed(tokenizer, split, count, seed, max_tokens)
        drawn = self._drawn(tokenizer, split, count, seed, max_tokens, fit=False)
        if not drawn.enough and not self.strict:
            drawn = self._drawn(tokenizer, split, count, seed, max_tokens, fit=True)
        if not drawn.enough:
            if self.definition is not None:
                raise TaskFileError(self.definition.file, drawn.problems())
            shown = next(iter(drawn.never or drawn.misfits))
            raise TaskError(
                f"task {self.name} ({split}): {len(drawn.kept)} of {count} pairs fit this tokenizer "
                f"({tokenizer.vocab_size} entries) within {max_tokens} tokens, "
                f"{'none' if drawn.never else 'some'} of the template {shown!r}:\n{drawn.misfits[shown][0]}"
            )
        pairs = _collate(self, split, seed, drawn.kept, tokenizer.eot_id)
        return dataclasses.replace(pairs, left_out=tuple(drawn.never), fitted=drawn.fitted)

    def _drawn(
        self, tokenizer: TextTokenizer, split: Split, count: int, seed: int, max_tokens: int, *, fit: bool
    ) -> _Drawn:
        """Draw until ``count`` pairs fit or there have been too many draws."""
        rng, lines = self._rng(split, seed), random.Random(f"{self.name} {split} {seed} lines")
        per_token = self._chars_per_token(tokenizer, split)
        kept: list[Resolved] = []
        misfits: dict[str, list[Misfit]] = {}
        draws = 0
        while len(kept) < count and draws < _DRAWS * (count + _DRAWS if kept else _HOPELESS):
            rooms = [
                round(rng.uniform(self.min_tokens, max_tokens) * per_token) for _ in range(count - len(kept))
            ]
            draws += len(rooms)
            drawn = [self.generate(rng, split, room) for room in rooms]
            if fit and self.line is not None:
                drawn = evened(self.line, tokenizer, lines, split, drawn)
            for pair, resolved in zip(drawn, resolve(self, tokenizer, drawn, max_tokens, fit), strict=True):
                if isinstance(resolved, Misfit):
                    misfits.setdefault(pair.template, []).append(resolved)
                else:
                    kept.append(resolved)
        fitting = {pair.text.template for pair in kept}
        never = [t for t, reasons in misfits.items() if t not in fitting and len(reasons) >= _NEVER]
        enough = len(kept) == count and len(never) <= (0 if self.strict else len(fitting))
        return _Drawn(kept, misfits, never, enough, fitted=fit)

    def _listed(
        self, tokenizer: TextTokenizer, split: Split, count: int, seed: int, max_tokens: int
    ) -> TokenPairs:
        """The pairs of a fixed list, every one of which must fit."""
        drawn = self._dealt(self._rng(split, seed), split, count)
        if not drawn:
            raise TaskError(f"task {self.name}: no pairs for the split {split!r}")
        kept: list[Resolved] = []
        misfits: list[Problem] = []
        for pair, resolved in zip(drawn, resolve(self, tokenizer, drawn, max_tokens), strict=True):
            if isinstance(resolved, Resolved):
                kept.append(resolved)
            elif self.definition is None or pair.place is None:
                raise TaskError(f"task {self.name} ({split}), {pair.template}:\n{resolved}")
            else:
                misfits += resolved.problems()
        if misfits and self.definition is not None:
            raise TaskFileError(self.definition.file, misfits)
        return _collate(self, split, seed, kept, tokenizer.eot_id)

    def _dealt(self, rng: random.Random, split: Split, count: int) -> list[TextPair]:
        assert self.fixed is not None
        listed = list(self.fixed.get(split, ()))
        rng.shuffle(listed)
        return listed[:count]

    def _chars_per_token(self, tokenizer: TextTokenizer, split: Split) -> float:
        """How many characters a token of this task's prompts has with this tokenizer."""
        rng = self._rng(split, 0)
        probes = [self.generate(rng, split, rng.randint(*_ROOM)).left for _ in range(_PROBES)]
        tokens = sum(map(len, tokenizer.encode_batch(probes)))
        return min(_LONGEST, sum(map(len, probes)) / max(1, tokens))

    def _rng(self, split: Split, seed: int) -> random.Random:
        return random.Random(f"{self.name} {split} {seed}")


@dataclass(frozen=True)
class _Drawn:
    kept: list[Resolved]
    misfits: dict[str, list[Misfit]]
    """Template -> the reasons why pairs of it do not fit."""
    never: list[str]
    """Templates of which no pair fits."""
    enough: bool
    fitted: bool

    def problems(self) -> list[Problem]:
        """What is wrong with one pair of each template that never fits, or else of each that seldom does."""
        return [
            problem
            for template in self.never or self.misfits
            for problem in self.misfits[template][0].problems()
        ]


def _collate(task: Task, split: Split, seed: int, kept: Sequence[Resolved], eot: int) -> TokenPairs:
    """Stack left prompts and then right ones, padded on the right to the longest."""
    prompts = [pair.left for pair in kept] + [pair.right for pair in kept]
    width = 1 + max(map(len, prompts))
    left = torch.tensor([pair.left_candidate for pair in kept])
    right = torch.tensor([pair.right_candidate for pair in kept])
    none = torch.full_like(left, -1)
    alone = task.form == "one_against_all"
    return TokenPairs(
        tokens=torch.tensor([[eot, *prompt, *[eot] * (width - 1 - len(prompt))] for prompt in prompts]),
        last=torch.tensor([len(prompt) for prompt in prompts]),
        target=torch.cat([left, none if alone else right]),
        other=torch.cat([none if alone else right, left]),
        form=task.form,
        texts=tuple(pair.text for pair in kept),
        task=task.name,
        split=split,
        seed=seed,
    )
