"""An endless source of simple, repetitive Python: the text that small models learn the tasks from.

In the spirit of the simple part of the paper's data (Gao et al. 2025, §A.2) and of TinyStories: few words,
few constructions, each so frequent that a transformer of two layers learns it within a million tokens.
The constructions of the twenty tasks are among them: ordinary text must have taught a model what a task asks.

How a document comes about:

1. it draws its words: five nouns, two verbs, two letters, ... All its statements use these and no others,
   so that looking back pays, as it does in real code;
2. it draws two to eleven *items*: statements, blocks (a header and indented statements), gathering idioms
   (``x = set()`` ... ``x.add``), functions, a class. Each shuffles the document's nouns over its slots. In
   some documents the first items have no strings, so that one is not always at hand to look back to;
3. the items are written one below the other.

Everything is a function of the ``random.Random`` that is handed in.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Iterator, Sequence
from itertools import accumulate, permutations

from sparsecircuits.data.idioms import names as pools
from sparsecircuits.data.idioms import statements as idioms
from sparsecircuits.data.idioms.names import compile_template, words

__all__ = ["endless_idioms", "idiom_document"]

_INDENTS = ("", "    ", "        ", "            ")
_NOUN_SLOTS = "abcdw"
_ORDERS = tuple(permutations(range(5)))
_MIXED_QUOTES = 0.25
"""Share of documents in which each item chooses its own quotation mark."""
_LATE_STRINGS = 0.4
"""Share of documents with no string among their first statements: a first one may stand far down."""


class _Choice:
    """Weighted choice among templates, each compiled at four depths of indentation."""

    def __init__(self, templates: Sequence[str], weights: Sequence[float] | None = None) -> None:
        self._bounds = list(accumulate(weights or [1.0] * len(templates)))
        self._levels = [
            [compile_template("".join(pad + line + "\n" for line in text.split("\n"))) for text in templates]
            for pad in _INDENTS
        ]

    @classmethod
    def of(cls, table: idioms.Table) -> _Choice:
        rows = [(text, weight / len(texts)) for weight, texts in table.values() for text in texts]
        return cls([text for text, _ in rows], [weight for _, weight in rows])

    def __call__(self, random_: float, depth: int) -> str:
        return self._levels[depth][bisect(self._bounds, random_ * self._bounds[-1])]


def _without_strings(table: idioms.Table) -> idioms.Table:
    kept = {
        name: (weight, [t for t in texts if "$q" not in t and '"' not in t])
        for name, (weight, texts) in table.items()
    }
    return {name: (weight, tuple(texts)) for name, (weight, texts) in kept.items() if texts}


_STATEMENT = _Choice.of(idioms.STATEMENTS)
_HEADER = _Choice.of(idioms.HEADERS)
_STRINGLESS_STATEMENT = _Choice.of(_without_strings(idioms.STATEMENTS))
_STRINGLESS_HEADER = _Choice.of(_without_strings(idioms.HEADERS))
_NOTED_FOR = _Choice(idioms.HEADERS["for, noted"][1])
_NOTED = _Choice(idioms.STATEMENTS["notes"][1])
_BODY = _Choice(idioms.BODIES)
_GATHER = _Choice.of(idioms.GATHERS)
_DEFINITION = _Choice.of(idioms.DEFINITIONS)
_SWAP = _Choice(idioms.SWAPS)
_RETURN = _Choice(idioms.RETURNS)
_HANDLER = _Choice(idioms.HANDLERS)
_GENERATOR, _EARLY_RETURN = _Choice(idioms.GENERATORS), _Choice(idioms.EARLY_RETURNS)
_NOUNS, _VERBS, _LETTERS = words(pools.NOUNS), words(pools.VERBS), words(pools.LETTERS)
_NAMES = words(pools.NAMES)
_ADJECTIVES, _CLASSES = words(pools.ADJECTIVES), words(pools.CLASSES)
_READ, _WRITE = words(pools.READ_FILES), words(pools.WRITE_FILES)


class _Writer:
    """One document in the making: its words and what is written so far."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.draw = rng.random
        self.nouns = rng.sample(_NOUNS, 5)
        verbs, letters = rng.sample(_VERBS, 2), rng.sample(_LETTERS, 2)
        self.mixed = self.draw() < _MIXED_QUOTES
        self.strings = True
        self.words = {"f": verbs[0], "g": verbs[1], "q": "'\""[self.draw() < 0.5]}
        self.words.update(zip("xy", letters, strict=True))
        self.words.update(
            h=self.one(_ADJECTIVES), k=self.one(_CLASSES), r=self.one(_READ), o=self.one(_WRITE)
        )
        self.shuffle()

    def one(self, items: Sequence[str]) -> str:
        return items[int(self.draw() * len(items))]

    def shuffle(self) -> None:
        """Deal the document's words anew to the slots, as every item does."""
        words_, nouns = self.words, self.nouns
        for slot, index in zip(_NOUN_SLOTS, _ORDERS[int(self.draw() * 120)], strict=True):
            words_[slot] = nouns[index]
        words_["t"] = nouns[int(self.draw() * 5)]
        luck = self.draw()
        if luck < 0.3:
            words_["f"], words_["g"] = words_["g"], words_["f"]
        elif luck < 0.6:
            words_["x"], words_["y"] = words_["y"], words_["x"]
        if self.mixed:
            words_["q"] = "'\""[self.draw() < 0.5]

    def statement(self, depth: int) -> str:
        self.shuffle()
        choice = _STATEMENT if self.strings else _STRINGLESS_STATEMENT
        return choice(self.draw(), depth) % self.words

    def body(self, depth: int) -> str:
        """One or two statements inside a block."""
        first = _BODY(self.draw(), depth) % self.words if self.draw() < 0.6 else self.statement(depth)
        return first + self.statement(depth) if self.draw() < 0.35 else first

    def block(self, depth: int) -> str:
        """A header and its body; after an ``if``, often ``elif`` and ``else``; after ``try`` a handler."""
        self.shuffle()
        choice = _HEADER if self.strings else _STRINGLESS_HEADER
        text = choice(self.draw(), depth) % self.words
        is_if, pad = text.lstrip().startswith("if "), _INDENTS[depth]
        is_try = text.lstrip().startswith("try:")
        text += self.body(depth + 1)
        if is_try:
            text += _HANDLER(self.draw(), depth) % self.words + self.body(depth + 1)
        if is_if and self.draw() < 0.4:
            left, right = self.one(self.nouns), self.one(self.nouns)
            text += f"{pad}elif {left} == {right}:\n" + self.body(depth + 1)
        if is_if and self.draw() < 0.6:
            text += f"{pad}else:\n" + self.body(depth + 1)
        return text

    def gather(self, depth: int) -> str:
        self.shuffle()
        if self.draw() < 0.5:
            self.words["a"] = "current"
        return _GATHER(self.draw(), depth) % self.words

    def item(self, depth: int) -> str:
        luck = self.draw()
        if luck < 0.44:
            return self.statement(depth)
        if luck < 0.83:
            return self.block(depth)
        return self.gather(depth) if luck < 0.95 else self.swap(depth)

    def swap(self, depth: int) -> str:
        """Two names change places: any two, or two of the document's."""
        self.words["u"], self.words["v"] = self.rng.sample(_NAMES if self.draw() < 0.7 else self.nouns, 2)
        return _SWAP(self.draw(), depth) % self.words

    def function(self) -> str:
        self.shuffle()
        text = _DEFINITION(self.draw(), 0) % self.words
        self.shuffle()
        for _ in range(int(self.draw() * 3.6)):
            luck = self.draw()
            if luck < 0.15:
                text += _NOTED_FOR(self.draw(), 1) % self.words + self.body(2)
            elif luck < 0.25:
                text += _NOTED(self.draw(), 1) % self.words
            elif luck < 0.32:
                text += _EARLY_RETURN(self.draw(), 1) % self.words
            else:
                text += self.item(1)
            self.shuffle()
        if self.draw() < 0.15:
            return text + _GENERATOR(self.draw(), 1) % self.words
        return text + _RETURN(self.draw(), 1) % self.words

    def record(self) -> str:
        """A class whose first method copies its arguments to attributes of their names."""
        self.shuffle()
        names = self.rng.sample(_NOUNS if self.draw() < 0.7 else self.nouns, 2 + int(self.draw() * 3))
        head = self.one(idioms.CLASS_HEADS).replace("$1", ", ".join(names))
        text = compile_template(head) % self.words + "\n"
        if self.draw() < 0.5:
            self.rng.shuffle(names)
        return text + "".join(f"        self.{name} = {name}\n" for name in names)


def idiom_document(rng: random.Random) -> str:
    """One small Python file, a pure function of the generator's state: some 20 to 250 tokens.

    >>> idiom_document(random.Random(0)) == idiom_document(random.Random(0))
    True
    """
    writer = _Writer(rng)
    text = ""
    items = 2 + int(writer.draw() ** 1.5 * 10)
    stringless = int(writer.draw() * items) if writer.draw() < _LATE_STRINGS else 0
    for number in range(items):
        writer.strings = number >= stringless
        luck = writer.draw()
        if luck < 0.70:
            text += writer.item(0)
        elif luck < 0.78:
            text += writer.swap(0)
        else:
            text += writer.function() if luck < 0.92 else writer.record()
    return text


def endless_idioms(seed: int) -> Iterator[str]:
    """Documents without end; the same seed gives the same ones."""
    rng = random.Random(f"idioms {seed}")
    while True:
        yield idiom_document(rng)
