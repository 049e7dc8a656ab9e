"""What stands around a task's own lines: more code, about other things, in lengths of the split's own.

In go a prompt (its marks still in it) and how many characters it may have; out comes the prompt with lines
in front of it, or between it and the block that it stands in:

1. the number of lines follows from the room that is left, and belongs to the split: a held-out prompt
   never has as many lines around it as a training prompt (:func:`lines_for`);
2. the lines are statements and blocks from the split's own templates;
3. their words are a few of the split's own that the prompt itself does not use, as a document keeps to a few
   names.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sparsecircuits.data.idioms.names import SLOT, SPLITS, Pool, Split
from sparsecircuits.errors import TaskError

Templates = Mapping[Split, Sequence[str]]

_LINE_COUNTS: Mapping[Split, tuple[int, int]] = {"train": (1, 2), "validation": (4, 4), "heldout": (2, 4)}
"""Smallest number of lines, and step: 1, 3, 5, ... for train; 4, 8, ...; 2, 6, 10, ..."""
_STOCK = 5
"""So many words of a pool are used around one prompt."""

#: A first line that opens a block into which more statements can go.
_OPENER = re.compile(r"(?:if|for|while|def) [^\n<]*:\n( +)(?!def |class )")

PLAIN: Templates = {
    "train": ("$a = $b + $c\n", "$f($a, $b)\n", "$a.$b = $c\n", "$a.$f()\n", "$a = $f($b)\n"),
    "validation": ("$a = $b - $c\n", "$f($a)\n", "$a.$b = $f($c)\n", "$a.$f($b, $c)\n", "$a = $f()\n"),
    "heldout": ("$a = $b * $c\n", "$f()\n", "$a = $b.$c\n", "$a = $b.$f($c)\n", "$a = $f($b, $c)\n"),
}
"""Statements that have nothing to do with any task: in each split an operator, a call, an attribute, a
method, and a call whose value is kept."""

IFS: Templates = {
    "train": ("if $a:\n    $f()\n", "if $a == $b:\n    $a = $c\n"),
    "validation": ("if $a:\n    $a.$f($b)\n", "if $a == $b:\n    $a = $f($c)\n"),
    "heldout": ("if $a:\n    $a.$b = $c\n", "if $a == $b:\n    $f($a, $b)\n"),
}
LOOPS: Templates = {
    "train": ("for $x in $a:\n    $f($x)\n", "while $a:\n    $a.$b = $c\n"),
    "validation": ("for $x in $a:\n    $a.$b = $x\n", "while $a:\n    $f($a)\n"),
    "heldout": ("for $x in $a:\n    $b = $f($x)\n", "while $a:\n    $a.$f()\n"),
}
FUNCTIONS: Templates = {
    "train": ("def $f($a):\n    $a.$g($b)\n",),
    "validation": ("def $f():\n    $a = $b\n",),
    "heldout": ("def $f($a, $b):\n    $a = $c\n",),
}

#: Statements of many lengths, the same in every split: where a tokenizer makes the prompts of a pair
#: unequally long, two of these or of the split's own even them out.
EVENING = (
    "$f()\n",
    "$a = $b\n",
    "$f($a)\n",
    "$a.$b = $c\n",
    "$a = $f($b)\n",
    "$a.$f($b)\n",
    "$a = $b.$c\n",
    "$a = $b + $c.$d\n",
)


def lines_for(split: Split, wanted: float) -> int:
    """The number of lines that is nearest to ``wanted`` of those that the split may have.

    >>> [[lines_for(split, wanted) for wanted in (0, 3, 6, 9)] for split in SPLITS]
    [[1, 3, 5, 9], [4, 4, 4, 8], [2, 2, 6, 10]]
    """
    smallest, step = _LINE_COUNTS[split]
    return smallest + step * max(0, round((wanted - smallest) / step))


@dataclass(frozen=True)
class Surroundings:
    """Lines to choose from.

    Attributes:
        lines: for every split statements, each with its line end; a block has several lines.
        evening: statements of any split that even out a pair's lengths, besides those of ``lines``.

    Raises:
        TaskError: a split without a statement of one line, so that not every number of lines can be reached.
    """

    lines: Templates
    evening: Sequence[str] = ()

    def __post_init__(self) -> None:
        for split in SPLITS:
            if not any(text.count("\n") == 1 for text in self.lines.get(split, ())):
                raise TaskError(f"surroundings: the split {split!r} has no statement of one line")

    @classmethod
    def of(cls, *kinds: Templates, evening: Sequence[str] = ()) -> Surroundings:
        """The lines of several tables."""
        lines: Templates = {split: tuple(text for kind in kinds for text in kind[split]) for split in SPLITS}
        return cls(lines, tuple(evening))

    def without(self, pattern: str) -> Surroundings:
        """Those lines in which ``pattern``, a regular expression, is not found."""

        def kept(texts: Sequence[str]) -> tuple[str, ...]:
            return tuple(text for text in texts if not re.search(pattern, text))

        lines: Templates = {split: kept(self.lines[split]) for split in SPLITS}
        return Surroundings(lines, kept(self.evening))

    def statements(self, split: Split) -> tuple[str, ...]:
        """What may even out a pair of the split: its lines that are no blocks, and ``evening``."""
        return (*(text for text in self.lines[split] if text.count("\n") == 1), *self.evening)

    @cached_property
    def _line_chars(self) -> float:
        """Characters of a line, roughly, once its slots are filled."""
        texts = [SLOT.sub("abcd", text) for split in SPLITS for text in self.lines[split]]
        return sum(map(len, texts)) / sum(text.count("\n") for text in texts)

    def put(
        self,
        rng: random.Random,
        split: Split,
        prompt: str,
        room: int,
        slots: Mapping[str, Pool],
        taken: frozenset[str],
    ) -> str:
        """The prompt with lines in front of it, or inside the block that it begins with.

        Args:
            rng: chooses.
            split: whose lines, words and numbers of lines.
            prompt: what they go around.
            room: characters that the whole should have, roughly.
            slots: which pool fills which slot.
            taken: words that the surroundings must not use.
        """
        left = lines_for(split, (room - len(prompt)) / self._line_chars)
        pools = {pool[split]: None for pool in slots.values()}
        stocks = {words: _stock(rng, words, taken) for words in pools}
        stock = {slot: stocks[pool[split]] for slot, pool in slots.items()}
        choices, inside = self.lines[split], _OPENER.match(prompt)
        front = nested = ""
        while left > 0:
            text = rng.choice(choices)
            height = text.count("\n")
            if height > left:
                continue
            left -= height
            text = fill(text, draw_words(rng, text, stock))
            if inside and rng.random() < 0.5:
                nested += "".join(inside[1] + line for line in text.splitlines(keepends=True))
            else:
                front += text
        if not inside:
            return front + prompt
        head = prompt.index("\n") + 1
        return front + prompt[:head] + nested + prompt[head:]


def _stock(rng: random.Random, words: Sequence[str], taken: frozenset[str]) -> list[str]:
    """A few of the words, none that is taken as long as there are others."""
    free = [word for word in words if word not in taken]
    return rng.sample(free, min(_STOCK, len(free))) if len(free) > 2 else list(words)


def draw_words(rng: random.Random, text: str, stock: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """A word for every slot of a text, no word twice as long as its slot's stock has others."""
    values: dict[str, str] = {}
    for slot in SLOT.findall(text):
        if slot not in values:
            used = values.values()
            values[slot] = rng.choice([w for w in stock[slot] if w not in used] or stock[slot])
    return values


def fill(template: str, values: Mapping[str, str]) -> str:
    """Put the words into the slots."""
    return SLOT.sub(lambda match: values[match[1]], template)


#: Statements and blocks of every kind.
EVERYTHING = Surroundings.of(PLAIN, IFS, LOOPS, FUNCTIONS, evening=EVENING)
