"""An endless source of simple children's stories: what the idioms are for Python, in plain English.

In the spirit of TinyStories: few words, few constructions, each so frequent that a transformer of two layers
learns it within five million tokens. Those that the tasks of :mod:`sparsecircuits.tasks.stories` ask for are
among them.

How a story comes about:

1. it draws its words: two people, two animals, two things, a place, ... All its sentences use these and no
   others. A person keeps being he or she;
2. it draws whether it is told in the past or in the present, and its quotation mark. Sentences with a word
   of time (yesterday, today) go by that word, whatever the story is told in;
3. it draws four to nine constructions, half of them its favourite one, so that runs of like sentences occur.
   Each deals the people, animals and things anew to its slots; exactly one of them is a scene in which two
   friends come by and one gives something to the other;
4. the sentences are written one to a line.

Everything is a function of the ``random.Random`` that is handed in.
"""

from __future__ import annotations

import random
import re
from bisect import bisect
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Literal, get_args

from sparsecircuits.data.idioms.names import compile_template, words
from sparsecircuits.data.stories import lexicon
from sparsecircuits.data.stories.sentences import GIVING, SENTENCES

__all__ = ["Tense", "endless_stories", "in_tense", "story_document"]

Tense = Literal["past", "present"]

_MIXED_QUOTES = 0.25
"""Share of stories in which each construction chooses its own quotation mark."""
_FAVOURITE = 0.5
"""Share of a story's sentences that are of its favourite construction, whatever that one's weight."""
_VERB = re.compile(r"\{([^{}|]*)\|([^{}|]*)\}")


def in_tense(text: str, tense: Tense) -> str:
    """The text with its verbs in the past or in the present.

    >>> in_tense("Tom {was|is} sad.", "past")
    'Tom was sad.'
    """
    return _VERB.sub(r"\1" if tense == "past" else r"\2", text)


def _told(texts: Iterable[str]) -> dict[Tense, list[str]]:
    """Templates that ``%`` fills, one line each or more, in either tense."""
    texts = tuple(texts)
    return {
        tense: [compile_template(in_tense(text, tense)) + "\n" for text in texts] for tense in get_args(Tense)
    }


_ROWS = [(text, weight / len(texts)) for weight, texts in SENTENCES.values() for text in texts]
_BOUNDS = list(accumulate(weight for _, weight in _ROWS))
_SENTENCES = _told(text for text, _ in _ROWS)
_ENDS = list(accumulate(len(texts) for _, texts in SENTENCES.values()))
_CONSTRUCTIONS = [
    range(end - len(texts), end) for end, (_, texts) in zip(_ENDS, SENTENCES.values(), strict=True)
]
"""Which of the sentences belong together."""
_SCENES = _told(GIVING)
_BOYS, _GIRLS = words(lexicon.BOYS), words(lexicon.GIRLS)
_OTHERS = {
    slots: words(lexicon.STORY_SLOTS[slots[0]]) for slots in (("a", "d"), ("o", "t"), ("h",), ("f",), ("v",))
}
_FRIENDS = words(lexicon.FRIENDS)
_PLACES = words(lexicon.PLACES)


class _Person:
    """A name with the words that stand for it."""

    def __init__(self, name: str) -> None:
        boy = name in _BOYS
        self.name = name
        self.he, self.he_first = ("he", "He") if boy else ("she", "She")
        self.his = "his" if boy else "her"
        self.kind = "boy" if boy else "girl"


_PEOPLE = {name: _Person(name) for name in _BOYS + _GIRLS}
_NAMES = _BOYS + _GIRLS


def story_document(rng: random.Random) -> str:
    """One story, a pure function of the generator's state: some 30 to 150 tokens.

    >>> story_document(random.Random(0)) == story_document(random.Random(0))
    True
    """
    draw = rng.random
    people = [_PEOPLE[name] for name in rng.sample(_NAMES, 2)]
    stock = {slots: rng.sample(pool, 2) for slots, pool in _OTHERS.items()}
    tense: Tense = "past" if draw() < 0.5 else "present"
    mixed = draw() < _MIXED_QUOTES
    filled = {"l": rng.choice(_PLACES), "u": "'\""[draw() < 0.5]}
    filled["m"], filled["n"] = rng.sample(_FRIENDS, 2)
    text = ""
    count = 4 + int(draw() * 6)
    scene = int(draw() * count)
    favourite = rng.choice(_CONSTRUCTIONS)
    for turn in range(count):
        first, second = people if draw() < 0.5 else people[::-1]
        filled.update(p=first.name, w=first.he, x=first.he_first, r=first.his, j=first.kind)
        filled["q"] = second.name
        for slots, pair in stock.items():
            start = draw() < 0.5
            for slot in slots:
                filled[slot] = pair[start]
                start = not start
        if mixed:
            filled["u"] = "'\""[draw() < 0.5]
        if turn == scene:
            template = rng.choice(_SCENES[tense])
        elif draw() < _FAVOURITE:
            template = _SENTENCES[tense][rng.choice(favourite)]
        else:
            template = _SENTENCES[tense][bisect(_BOUNDS, draw() * _BOUNDS[-1])]
        text += template % filled
    return text


def endless_stories(seed: int) -> Iterator[str]:
    """Stories without end; the same seed gives the same ones."""
    rng = random.Random(f"stories {seed}")
    while True:
        yield story_document(rng)
