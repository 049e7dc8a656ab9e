"""Words in templates: ``$noun`` is one of the split's nouns, ``$noun2`` another, the same wherever it stands.

A slot is ``$`` and the name of a pool, with a digit where a template needs several words of one pool;
braces part it from what follows (``${noun}s``), and ``$$`` is a dollar. Every pool has other words in each
split.

| pools | words |
|---|---|
| ``noun verb letter name adjective class read_file write_file`` | names in the built-in tasks' Python code |
| ``person boy girl animal thing place quality feeling doing`` | words of their plain English |
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from sparsecircuits.data.idioms import names
from sparsecircuits.data.idioms.names import SPLITS, Pool, Split
from sparsecircuits.data.stories import lexicon
from sparsecircuits.errors import Place, near_misses
from sparsecircuits.tasks.own.problems import Problems
from sparsecircuits.tasks.own.source import Located
from sparsecircuits.tasks.own.splits import turns
from sparsecircuits.tasks.own.values import split_of, texts_of

POOLS: Mapping[str, Pool] = {
    "noun": names.NOUNS,
    "verb": names.VERBS,
    "letter": names.LETTERS,
    "name": names.NAMES,
    "adjective": names.ADJECTIVES,
    "class": names.CLASSES,
    "read_file": names.READ_FILES,
    "write_file": names.WRITE_FILES,
    "person": lexicon.PEOPLE,
    "boy": lexicon.BOYS,
    "girl": lexicon.GIRLS,
    "animal": lexicon.ANIMALS,
    "thing": lexicon.THINGS,
    "place": lexicon.PLACES,
    "quality": lexicon.ADJECTIVES,
    "feeling": lexicon.FEELINGS,
    "doing": lexicon.VERBS,
}
"""The pools that are there without a line in ``slots:``."""

POOL_NAME = re.compile(r"[a-z][a-z_]*")
SLOT = re.compile(r"\$(?:\$|\{([a-z][a-z_]*)(\d?)\}|([a-z][a-z_]*)(\d?))")
"""A slot, or ``$$``: the pool's name and the digit, in braces or without."""


def slots_in(text: str) -> dict[str, str]:
    """The slots of a text, each with its pool.

    >>> slots_in("$noun = ${noun2}s + $verb($noun) # $$")
    {'noun': 'noun', 'noun2': 'noun', 'verb': 'verb'}
    """
    found = (match for match in SLOT.finditer(text) if match[0] != "$$")
    return {(m[1] or m[3]) + (m[2] or m[4] or ""): m[1] or m[3] for m in found}


def filled(text: str, words: Mapping[str, str]) -> str:
    """The text with its words in place.

    >>> filled("${noun}s cost $$5", {"noun": "item"})
    'items cost $5'
    """

    def word(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else words[(match[1] or match[3]) + (match[2] or match[4] or "")]

    return SLOT.sub(word, text)


def drawn(
    rng: random.Random, slots: Mapping[str, str], pools: Mapping[str, Pool], split: Split
) -> dict[str, str]:
    """A word for every slot, none of them twice.

    Args:
        rng: chooses.
        slots: from :func:`slots_in`.
        pools: by name, with words enough (:func:`check_slots`).
        split: whose words.
    """
    words: dict[str, str] = {}
    # The smallest pools first: words of theirs may be in larger ones too.
    for slot, pool in sorted(slots.items(), key=lambda entry: len(pools[entry[1]][split])):
        free = [word for word in pools[pool][split] if word not in words.values()]
        words[slot] = rng.choice(free or pools[pool][split])
    return words


def check_slots(
    text: str, pools: Mapping[str, Pool], splits: Sequence[Split], place: Place, problems: Problems
) -> bool:
    """Whether every slot has a pool, and every pool has words enough."""
    found = slots_in(text)
    unknown = [pool for pool in dict.fromkeys(found.values()) if pool not in pools]
    for pool in unknown:
        problems.add(place, f"unknown slot ${pool}; {near_misses(pool, pools)}")
    short = False
    for pool in dict.fromkeys(found.values()):
        wanted = list(found.values()).count(pool)
        for split in splits:
            if pool in pools and len(pools[pool][split]) < wanted:
                short = True
                has = len(pools[pool][split])
                problems.add(place, f"{wanted} words of ${pool} are needed, and {split} has {has}")
    return not unknown and not short


def read_pools(located: Located | None, problems: Problems) -> dict[str, Pool]:
    """The built-in pools and those of a file's ``slots:``: lists that are dealt, or lists for each split."""
    if located is None:
        return dict(POOLS)
    value, place = located
    if not isinstance(value, Mapping):
        problems.add(place, "slots: a mapping is needed, from a slot's name to its words")
        return dict(POOLS)
    pools = dict(POOLS)
    for name, words in value.items():
        if not POOL_NAME.fullmatch(name):
            problems.add(place, f"slots: {name!r} cannot be a slot's name; letters a to z and _ can")
            continue
        pool = _by_split(name, words, place, problems) if isinstance(words, Mapping) else None
        pools[name] = pool or _dealt_words(name, words, place, problems)
    return pools


def _dealt_words(name: str, words: object, place: Place, problems: Problems) -> Pool:
    """One list, divided among the splits."""
    dealt: dict[Split, list[str]] = {split: [] for split in SPLITS}
    if not isinstance(words, Mapping):
        texts = texts_of(words, place, f"slots: {name}", problems)
        if 0 < len(texts) < len(SPLITS):
            problems.add(
                place, f"slots: {name} has {len(texts)} words; each of three splits needs words of its own"
            )
        for word, split in zip(texts, turns(), strict=False):
            dealt[split].append(word)
    return {split: tuple(texts) for split, texts in dealt.items()}


def _by_split(name: str, words: Mapping[str, object], place: Place, problems: Problems) -> Pool | None:
    """A list for each split, none of whose words is in another."""
    known = [split_of(split, place, problems) for split in words]
    missing = [split for split in SPLITS if split not in words]
    if missing:
        problems.add(place, f"slots: {name} has no words for {' and '.join(missing)}")
    if missing or not all(known):
        return None
    pool: Pool = {
        split: tuple(texts_of(words[split], place, f"slots: {name}: {split}", problems)) for split in SPLITS
    }
    first: dict[str, Split] = {}
    for split in SPLITS:
        for word in pool[split]:
            if first.setdefault(word, split) != split:
                problems.add(place, f"leakage: slots: {name}: {word!r} is in {first[word]} and in {split}")
    return pool
