"""The words that stories and their tasks are made of.

As for the idioms (:mod:`sparsecircuits.data.idioms.names`) every pool has three parts, one for each split of
a task's prompts; the corpus uses all three. A *slot* is ``$`` and one letter: :data:`STORY_SLOTS` says which
pool fills it, in stories as in prompts. Endings are written behind a slot: ``$as`` is several animals,
``$ved`` and ``$vs`` are a verb in the past and in the present, so animals, things and verbs are regular.
"""

from __future__ import annotations

from collections.abc import Mapping

from sparsecircuits.data.idioms.names import SPLITS, Pool

__all__ = [
    "ADJECTIVES",
    "ANIMALS",
    "BOYS",
    "FEELINGS",
    "FRIENDS",
    "GIRLS",
    "PEOPLE",
    "PLACES",
    "STORY_SLOTS",
    "THINGS",
]


def _pool(words: str) -> Pool:
    """The parts for train, validation and heldout, with bars between."""
    return {split: tuple(part.split()) for split, part in zip(SPLITS, words.split("|"), strict=True)}


BOYS = _pool("Tom Ben | Sam Max | Jack Leo")
GIRLS = _pool("Anna Lily | Mia Sue | Emma Kate")
PEOPLE: Pool = {split: BOYS[split] + GIRLS[split] for split in SPLITS}
FRIENDS = _pool("Bob Amy | Dan Ivy | Tim Zoe")
"""A boy and a girl each; only one scene of a story has them, in which one gives something to the other: from
a few million tokens, and without positions, a small model learns to tell apart few names, not many."""
ANIMALS = _pool("dog cat bird | frog bear pig | cow duck goat")
THINGS = _pool("ball book kite | cup hat drum | cake bell boat")
PLACES = _pool("park garden house | farm school forest | barn shop field")
ADJECTIVES = _pool("big red new | soft blue nice | small green good")
FEELINGS = _pool("happy sad | tired glad | hungry sleepy")
VERBS = _pool("play jump walk | talk work stay | wait rest help")

STORY_SLOTS: Mapping[str, Pool] = {
    "p": PEOPLE,
    **dict.fromkeys("mn", FRIENDS),
    **dict.fromkeys("bc", BOYS),
    **dict.fromkeys("gk", GIRLS),
    **dict.fromkeys("ad", ANIMALS),
    **dict.fromkeys("ot", THINGS),
    "l": PLACES,
    "h": ADJECTIVES,
    "f": FEELINGS,
    "v": VERBS,
}
