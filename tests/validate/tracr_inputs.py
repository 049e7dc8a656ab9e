"""The inputs of Tracr's two programs, as prompts of our tasks.

A word and its place are one token (`` x3``), so a prompt may be written in any order, and the place that is
asked comes last::

    input w x y, asked for its first place:  reverse says y, xproportion 0
    prompt  x1 y2 w0                         answers `` y`` and `` 0``

The files are those of ``benchmarks/tracr_models.py``.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from sparsecircuits.data.idioms.names import Split
from sparsecircuits.tasks.pairs import Task, TextPair

FOLDER = Path(__file__).parent.parent / "data" / "tracr"
PROGRAMS = ("reverse", "xproportion")
LETTERS, LONGEST = ("w", "x", "y"), 5
SHARES = sorted({Fraction(k, n) for n in range(1, LONGEST + 1) for k in range(n + 1)})
#: What can be right.
ANSWERS = {
    "reverse": [f" {letter}" for letter in LETTERS],
    "xproportion": [f" {share}" for share in SHARES],
}

Arrays = Mapping[str, np.ndarray]


class Words:
    """The tokenizer: a word at a place (`` x3``), or an answer (`` x``, `` 2/5``)."""

    def __init__(self) -> None:
        placed = [f" {letter}{place}" for place in range(LONGEST) for letter in LETTERS]
        answers = [f" {answer}" for answer in (*LETTERS, *SHARES)]
        self.words = (*placed, *answers, "")
        self.ids = {word: index for index, word in enumerate(self.words)}

    @property
    def vocab_size(self) -> int:
        return len(self.words)

    @property
    def eot_id(self) -> int:
        """Stands for Tracr's BOS."""
        return len(self.words) - 1

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[self.ids[word] for word in re.findall(r" \S+", text)] for text in texts]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(self.text, ids))

    def text(self, id: int) -> str:
        return self.words[id]


def prompt(letters: Sequence[str], asked: int) -> str:
    """An input, what stands at ``asked`` (from 0) last.

    >>> prompt("wxy", 0)
    ' x1 y2 w0'
    """
    order = [place for place in range(len(letters)) if place != asked] + [asked]
    return "".join(f" {letters[place]}{place}" for place in order)


def answer(program: str, letters: Sequence[str], asked: int) -> str:
    """What is right there, worked out in Python."""
    if program == "reverse":
        return f" {letters[len(letters) - 1 - asked]}"
    return f" {Fraction(list(letters[: asked + 1]).count('x'), asked + 1)}"


def every_input() -> list[tuple[tuple[str, ...], int]]:
    """Each input, at each of its places."""
    file = arrays("reverse")
    texts = [tuple(str(file["words"][token]) for token in row[1:] if token >= 0) for row in file["inputs"]]
    return [(text, asked) for text in texts for asked in range(len(text))]


@functools.cache
def arrays(program: str) -> Arrays:
    """A file's content."""
    with np.load(FOLDER / f"{program}.npz") as file:
        return dict(file)


def task(program: str) -> Task:
    """One letter of the input differs, and so does what is right.

    Each of the fifteen lengths and places is asked equally often; no split has inputs of its own.
    """

    def generate(rng: random.Random, split: Split, room: int) -> TextPair:
        length, asked = rng.choice([(n, place) for n in range(1, LONGEST + 1) for place in range(n)])
        while True:
            left, changed = [rng.choice(LETTERS) for _ in range(length)], rng.randrange(length)
            right = [*left[:changed], rng.choice(LETTERS), *left[changed + 1 :]]
            one, other = answer(program, left, asked), answer(program, right, asked)
            if one != other:
                return TextPair(prompt(left, asked), prompt(right, asked), one, other, "one letter differs")

    return Task(program, "Tracr's program", "contrast", generate, same_last=False)
