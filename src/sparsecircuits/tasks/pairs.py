"""A task: pairs of prompts that differ in one place, each with its right next token.

Text goes in, tensors come out, in these steps (Gao et al. 2025, §2.2 and Table 1):

1. :attr:`Task.generate` draws a :class:`TextPair`: two prompts and the text that rightly follows each;
2. the tokenizer at hand encodes each prompt, alone and with its answer; the first token of an answer is
   its *candidate*. With the usual split pattern a closing token at the end of a line absorbs the newline,
   so a candidate is often ``")⏎`` where one would write ``")``;
3. a pair fits if the prompts are equally long, end in the same token, do not change when the answer is
   appended, and have different candidates. Others are drawn again. A template that never fits this tokenizer
   is left out and named in the result; when most never do, or too few pairs fit, a :class:`TaskError` shows
   the tokens of both sides. Where both answers begin with the same spaces, which some tokenizers spell one
   by one, these go to the prompts;
4. all left prompts and then all right ones become the rows of :class:`TokenPairs`, each behind
   ``<|endoftext|>``.

Prompts have from :data:`MIN_TOKENS` to ``max_tokens`` tokens, each length about equally likely as far as a
split's surroundings allow. Pairs are a pure function of (task, split, count, seed, max_tokens, tokenizer).
"""

from __future__ import annotations

import dataclasses
import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError, near_misses

Form = Literal["contrast", "one_against_all"]

MIN_TOKENS = 20
"""Shortest prompt of the built-in tasks, ``<|endoftext|>`` included."""
_DRAWS = 12
"""Misfitting pairs are drawn again until there have been so many draws for each pair wanted."""
_PROBES = 48
"""So many texts tell how many characters a token has."""
_ROOM = (60, 180)
"""Characters of a prompt that no tokenizer has seen."""
_NEVER = 4
"""A template that misfits so often and never fits is left out."""


@dataclass(frozen=True)
class TextPair:
    """Two prompts, without ``<|endoftext|>``, and the text that rightly follows each.

    An answer must be long enough to hold its first token whole: ``'")\\n'``, not ``'"'``.
    """

    left: str
    right: str
    left_answer: str
    right_answer: str
    template: str


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
        rng = self._rng(split, seed)
        if self.fixed is not None:
            return self._listed(tokenizer, split, count, seed, max_tokens)
        per_token = self._chars_per_token(tokenizer, split)
        kept: list[_Resolved] = []
        misfits: dict[str, list[str]] = {}
        draws = 0
        while len(kept) < count and draws < _DRAWS * (count + _DRAWS):
            rooms = [
                round(rng.uniform(self.min_tokens, max_tokens) * per_token) for _ in range(count - len(kept))
            ]
            draws += len(rooms)
            drawn = [self.generate(rng, split, room) for room in rooms]
            for pair, resolved in zip(drawn, _resolve(self, tokenizer, drawn, max_tokens), strict=True):
                if isinstance(resolved, str):
                    misfits.setdefault(pair.template, []).append(resolved)
                else:
                    kept.append(resolved)
        fitting = {pair.text.template for pair in kept}
        never = [t for t, reasons in misfits.items() if t not in fitting and len(reasons) >= _NEVER]
        if len(kept) < count or len(never) > len(fitting):
            shown = next(iter(never or misfits))
            raise TaskError(
                f"task {self.name} ({split}): {len(kept)} of {count} pairs fit this tokenizer "
                f"({tokenizer.vocab_size} entries) within {max_tokens} tokens, "
                f"{'none' if never else 'some'} of the template {shown!r}:\n{misfits[shown][0]}"
            )
        pairs = _collate(self, split, seed, kept, tokenizer.eot_id)
        return dataclasses.replace(pairs, left_out=tuple(never))

    def _listed(
        self, tokenizer: TextTokenizer, split: Split, count: int, seed: int, max_tokens: int
    ) -> TokenPairs:
        """The pairs of a fixed list, every one of which must fit."""
        drawn = self._dealt(self._rng(split, seed), split, count)
        if not drawn:
            raise TaskError(f"task {self.name}: no pairs for the split {split!r}")
        kept = []
        for pair, resolved in zip(drawn, _resolve(self, tokenizer, drawn, max_tokens), strict=True):
            if isinstance(resolved, str):
                raise TaskError(f"task {self.name} ({split}), {pair.template}:\n{resolved}")
            kept.append(resolved)
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
        return sum(map(len, probes)) / max(1, sum(map(len, tokenizer.encode_batch(probes))))

    def _rng(self, split: Split, seed: int) -> random.Random:
        return random.Random(f"{self.name} {split} {seed}")


@dataclass(frozen=True)
class _Resolved:
    text: TextPair
    left: list[int]
    right: list[int]
    left_candidate: int
    right_candidate: int


def _resolve(
    task: Task, tokenizer: TextTokenizer, drawn: Sequence[TextPair], max_tokens: int
) -> list[_Resolved | str]:
    """Each pair with its tokens, or the reason why it does not fit."""
    prompts = [text for pair in drawn for text in (pair.left, pair.right)]
    answers = [text for pair in drawn for text in (pair.left_answer, pair.right_answer)]
    alone = tokenizer.encode_batch(prompts)
    whole = tokenizer.encode_batch([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
    results: list[_Resolved | str] = []
    for i, pair in enumerate(drawn):
        (left, right), (left_whole, right_whole) = alone[2 * i : 2 * i + 2], whole[2 * i : 2 * i + 2]
        if shared := _shared_spaces(tokenizer, left, right, left_whole, right_whole):
            left, right = left_whole[: len(left) + shared], right_whole[: len(right) + shared]
        reason = _misfit(task, left, right, left_whole, right_whole, max_tokens)
        if reason:
            sides = (("left", left, left_whole), ("right", right, right_whole))
            shown = "\n".join(
                f"  {name:5} {_show(tokenizer, prompt)} {_answer(tokenizer, prompt, with_answer)}"
                for name, prompt, with_answer in sides
            )
            results.append(f"  {reason}\n{shown}")
        else:
            results.append(_Resolved(pair, left, right, left_whole[len(left)], right_whole[len(right)]))
    return results


def _answer(tokenizer: TextTokenizer, prompt: list[int], whole: list[int]) -> str:
    """The tokens of the answer, or of prompt and answer where the prompt's own change."""
    if whole[: len(prompt)] == prompt:
        return f"=> {_show(tokenizer, whole[len(prompt) :])}"
    return f"becomes {_show(tokenizer, whole)}"


def _shared_spaces(
    tokenizer: TextTokenizer, left: list[int], right: list[int], left_whole: list[int], right_whole: list[int]
) -> int:
    """How many tokens of white space both answers begin with."""
    if left_whole[: len(left)] != left or right_whole[: len(right)] != right:
        return 0
    shared = 0
    for one, other in zip(left_whole[len(left) :], right_whole[len(right) :], strict=False):
        if one != other or not tokenizer.text(one).isspace():
            break
        shared += 1
    return shared


def _misfit(
    task: Task,
    left: list[int],
    right: list[int],
    left_whole: list[int],
    right_whole: list[int],
    max_tokens: int,
) -> str | None:
    """Why a pair cannot be used, or None; its length comes last, as another draw may mend it."""
    if not left or not right:
        return "an empty prompt"
    if len(left) != len(right):
        return f"the prompts have {len(left)} and {len(right)} tokens"
    if left == right:
        return "the two prompts are equal"
    if task.same_last and left[-1] != right[-1]:
        return "the prompts end in different tokens"
    for side, prompt, whole in (("left", left, left_whole), ("right", right, right_whole)):
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            return f"the {side} prompt's tokens change when its answer follows"
    if left_whole[len(left)] == right_whole[len(right)]:
        return "both answers begin with the same token"
    if len(left) + 1 > max_tokens:
        return f"{len(left) + 1} tokens with <|endoftext|>, above {max_tokens}"
    if len(left) + 1 < task.min_tokens:
        return f"{len(left) + 1} tokens with <|endoftext|>, below {task.min_tokens}"
    return None


def _show(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    return " ".join(repr(tokenizer.text(i)) for i in ids)


def _collate(task: Task, split: Split, seed: int, kept: Sequence[_Resolved], eot: int) -> TokenPairs:
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
