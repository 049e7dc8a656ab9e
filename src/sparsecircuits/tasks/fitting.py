"""Whether a pair of prompts fits a tokenizer, and what can be done where it does not.

In go text pairs and a tokenizer; out comes, for each pair, its tokens and candidates (:class:`Resolved`), or
the reasons why it cannot be used, with the tokens of both sides (:class:`Misfit`). What fits is said in steps
2 to 4 of :mod:`sparsecircuits.tasks.pairs`.
"""

from __future__ import annotations

import dataclasses
import random
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sparsecircuits.data.idioms.names import Split
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import Place, Problem

if TYPE_CHECKING:
    from sparsecircuits.tasks.pairs import Line, Task, TextPair

_LINES = 24
"""So many statements are drawn to find two that even out a pair."""
_FEW = 6
"""So many tokens show where two prompts part."""


@dataclass(frozen=True)
class Resolved:
    """A pair that fits: the tokens of its prompts, without ``<|endoftext|>``, and its candidates."""

    text: TextPair
    left: list[int]
    right: list[int]
    left_candidate: int
    right_candidate: int


@dataclass(frozen=True)
class Misfit:
    """A pair that does not fit."""

    text: TextPair
    reasons: tuple[str, ...]
    shown: str
    """The tokens of both sides, a line each."""

    def problems(self) -> list[Problem]:
        """The same at its place in a user's file."""
        return [Problem(self.text.place or Place(), reason) for reason in self.reasons]

    def __str__(self) -> str:
        return f"  {self.reasons[0]}\n{self.shown}"


def evened(
    line: Line, tokenizer: TextTokenizer, rng: random.Random, split: Split, drawn: Sequence[TextPair]
) -> list[TextPair]:
    """Each pair with a statement more on either side, so long that the prompts come out equally long.

    A pair stays as it is where no two of :data:`_LINES` statements do that.
    """
    sides = tokenizer.encode_batch([text for pair in drawn for text in (pair.left, pair.right)])
    gaps = [_gap(pair) for pair in drawn]
    taken = [pair.words for pair in drawn]
    lines = [[line(rng, split, words) for _ in range(_LINES)] for words in taken]
    asked = [f"\n{gap.indent}{text}" for gap, texts in zip(gaps, lines, strict=True) for text in texts]
    lengths = list(map(len, tokenizer.encode_batch(asked)))
    found = []
    for i, (pair, gap, texts) in enumerate(zip(drawn, gaps, lines, strict=True)):
        longer = len(sides[2 * i + 1]) - len(sides[2 * i])  # how much shorter the left prompt is
        of = lengths[_LINES * i : _LINES * (i + 1)]
        two = next(
            (
                (left, right)
                for left, a in zip(texts, of, strict=True)
                for right, b in zip(texts, of, strict=True)
                if a - b == longer and left != right
            ),
            None,
        )
        found.append(gap.put(pair, *two) if two else pair)
    return found


@dataclass(frozen=True)
class _Gap:
    """Where a statement can stand before the first difference of two prompts, and how far indented."""

    at: int
    indent: str

    def put(self, pair: TextPair, left: str, right: str) -> TextPair:
        """The pair with a statement more on either side."""
        return dataclasses.replace(
            pair,
            left=pair.left[: self.at] + self.indent + left + pair.left[self.at :],
            right=pair.right[: self.at] + self.indent + right + pair.right[self.at :],
        )


def _gap(pair: TextPair) -> _Gap:
    """Before the line of the first difference, in the block of the line before it; above decorators."""
    at = pair.left.rfind("\n", 0, _common(pair.left, pair.right)) + 1
    before = pair.left[:at].splitlines(keepends=True)
    while before and before[-1].lstrip().startswith("@"):
        at -= len(before.pop())
    opens = before and before[-1].endswith(":\n")
    beside = (pair.left[at:], pair.right[at:]) if opens else before[-1:]
    return _Gap(at, " " * max((len(text) - len(text.lstrip(" ")) for text in beside), default=0))


def _common(one: Sequence[object], other: Sequence[object]) -> int:
    """How many elements two sequences begin with in common."""
    differ = (i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def resolve(
    task: Task, tokenizer: TextTokenizer, drawn: Sequence[TextPair], max_tokens: int, fit: bool = False
) -> list[Resolved | Misfit]:
    """Each pair with its tokens, or the reason why it does not fit."""
    prompts = [text for pair in drawn for text in (pair.left, pair.right)]
    answers = [text for pair in drawn for text in (pair.left_answer, pair.right_answer)]
    alone = tokenizer.encode_batch(prompts)
    whole = tokenizer.encode_batch([prompt + answer for prompt, answer in zip(prompts, answers, strict=True)])
    results: list[Resolved | Misfit] = []
    for i, pair in enumerate(drawn):
        (left, right), (left_whole, right_whole) = alone[2 * i : 2 * i + 2], whole[2 * i : 2 * i + 2]
        if fit:
            left, right = _unmelted(tokenizer, left, left_whole), _unmelted(tokenizer, right, right_whole)
        if shared := _shared(tokenizer, left, right, left_whole, right_whole, spaces_only=not fit):
            left, right = left_whole[: len(left) + shared], right_whole[: len(right) + shared]
        reasons = [
            *_lost(task, tokenizer, pair, left_whole, right_whole),
            *_misfits(task, tokenizer, left, right, left_whole, right_whole, max_tokens),
        ]
        if reasons:
            sides = (("left", left, left_whole), ("right", right, right_whole))
            shown = "\n".join(
                f"  {name:5} {show_tokens(tokenizer, prompt)} {_answer(tokenizer, prompt, with_answer)}"
                for name, prompt, with_answer in sides
            )
            results.append(Misfit(pair, tuple(reasons), shown))
        else:
            results.append(Resolved(pair, left, right, left_whole[len(left)], right_whole[len(right)]))
    return results


def _answer(tokenizer: TextTokenizer, prompt: list[int], whole: list[int]) -> str:
    """The tokens of the answer, or of prompt and answer where the prompt's own change."""
    if whole[: len(prompt)] == prompt:
        return f"=> {show_tokens(tokenizer, whole[len(prompt) :])}"
    return f"becomes {show_tokens(tokenizer, whole)}"


def _unmelted(tokenizer: TextTokenizer, prompt: list[int], whole: list[int]) -> list[int]:
    """The prompt without the white space at its end, where that melts into one token with the answer's."""
    kept = _common(prompt, whole)
    return prompt[:kept] if tokenizer.decode(prompt[kept:]).isspace() else prompt


def _shared(
    tokenizer: TextTokenizer,
    left: list[int],
    right: list[int],
    left_whole: list[int],
    right_whole: list[int],
    *,
    spaces_only: bool,
) -> int:
    """How many tokens both answers begin with before they differ, all of them or those of white space."""
    if left_whole[: len(left)] != left or right_whole[: len(right)] != right:
        return 0
    answer, other = left_whole[len(left) :], right_whole[len(right) :]
    shared = _common(answer, other)
    if shared == min(len(answer), len(other)):
        return 0
    spaces = [tokenizer.text(token).isspace() for token in answer[:shared]]
    return [*spaces, False].index(False) if spaces_only else shared


def _lost(
    task: Task, tokenizer: TextTokenizer, pair: TextPair, left: Sequence[int], right: Sequence[int]
) -> Iterator[str]:
    """Why a text is not what its tokens say. Some tokenizers put a space in front of every text.

    In code, case and white space are part of what is asked; in other texts they need not survive.
    """
    for text, ids in ((pair.left + pair.left_answer, left), (pair.right + pair.right_answer, right)):
        read = tokenizer.decode(ids)
        same = read in (text, " " + text) if task.suite == "python" else _letters(read) == _letters(text)
        if not same:
            yield f"the tokenizer does not keep the text; it reads {read!r}"


def _letters(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def _misfits(
    task: Task,
    tokenizer: TextTokenizer,
    left: list[int],
    right: list[int],
    left_whole: list[int],
    right_whole: list[int],
    max_tokens: int,
) -> Iterator[str]:
    """Why a pair cannot be used; its length comes last, as another draw may mend it."""
    if not left or not right:
        yield "an empty prompt"
        return
    if len(left) != len(right):
        at = _common(left, right)
        sides = " and ".join(_first_few(tokenizer, prompt[at:]) for prompt in (left, right))
        yield f"the prompts have {len(left)} and {len(right)} tokens; from where they part: {sides}"
    if left == right:
        yield "the two prompts are equal"
    elif task.same_last and left[-1] != right[-1]:
        ends = " and ".join(show_tokens(tokenizer, prompt[-1:]) for prompt in (left, right))
        yield f"the prompts end in different tokens, {ends}"
    changed = False
    for side, prompt, whole in (("left", left, left_whole), ("right", right, right_whole)):
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            changed = True
            at = _common(prompt, whole)
            before, after = (_first_few(tokenizer, ids[at:]) for ids in (prompt, whole))
            yield f"the {side} prompt's tokens change when its answer follows: {before} becomes {after}"
            continue
        answer = whole[len(prompt) :]
        if task.strict and len(answer) > 1 and (side == "left" or task.form == "contrast"):
            tokens = show_tokens(tokenizer, answer)
            yield f"the {side} answer is {len(answer)} tokens, {tokens}; an answer is one token"
    if not changed and left_whole[len(left)] == right_whole[len(right)]:
        yield "both answers begin with the same token"
    length = 1 + max(len(left), len(right))
    if length > max_tokens:
        yield f"longer than the context: {length} tokens with <|endoftext|>, above {max_tokens}"
    if length < task.min_tokens:
        yield f"{length} tokens with <|endoftext|>, below {task.min_tokens}"


def show_tokens(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    """Each token's text in quotes."""
    return " ".join(repr(tokenizer.text(i)) for i in ids)


def _first_few(tokenizer: TextTokenizer, ids: Sequence[int]) -> str:
    """The first tokens, as many as one reads."""
    shown = show_tokens(tokenizer, ids[:_FEW]) or "nothing"
    return shown if len(ids) <= _FEW else f"{shown} …"
