"""The words that idioms and task prompts are made of.

Every pool is split into three parts, one for each split of a task's prompts, so that a circuit chosen on
``train`` prompts is measured on names that it was never chosen on. The corpus uses all three parts: a
model must know the words, only their combination is new to it. Words are few and short, so that a
vocabulary of 1024 entries holds each as a single token.

A *slot* is ``$`` and one letter inside a template; :data:`SLOTS` says which pool fills it. One template
never gets the same word twice from one pool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

Split = Literal["train", "validation", "heldout"]
Pool = Mapping[Split, tuple[str, ...]]

SPLITS: tuple[Split, ...] = ("train", "validation", "heldout")


def _pool(train: str, validation: str, heldout: str) -> Pool:
    return {
        "train": tuple(train.split()),
        "validation": tuple(validation.split()),
        "heldout": tuple(heldout.split()),
    }


NOUNS = _pool(
    "name item data line word user path size page code date cost",
    "node city book task room game unit rate step",
    "total value score color price point group image event",
)
VERBS = _pool("show load find save", "send push copy", "draw move test")
LETTERS = _pool("a b c x y", "i j k", "m n p u v")
NAMES: Pool = {split: (*NOUNS[split], *LETTERS[split]) for split in SPLITS}
"""What changes places in a swap: any name."""
ADJECTIVES = _pool("new old last", "next main", "first best")
CLASSES = _pool("Dog Car Box", "Map Bag", "Cat Bus")
READ_FILES = _pool("input source", "config", "sample")
WRITE_FILES = _pool("output report", "result", "backup")

SLOTS: Mapping[str, Pool] = {
    **dict.fromkeys("abcdwt", NOUNS),
    **dict.fromkeys("fg", VERBS),
    **dict.fromkeys("xy", LETTERS),
    **dict.fromkeys("lmn", NOUNS),
    **dict.fromkeys("uv", NAMES),
    "h": ADJECTIVES,
    "k": CLASSES,
    "r": READ_FILES,
    "o": WRITE_FILES,
}

SLOT = re.compile(r"\$([a-z])")


def words(pool: Pool) -> tuple[str, ...]:
    """All words of a pool, the three splits one after the other."""
    return tuple(word for split in SPLITS for word in pool[split])


def compile_template(template: str) -> str:
    """Turn ``$a`` slots into ``%(a)s``, the fastest formatting that Python has.

    >>> compile_template("$a = {$b: $c}") % {"a": "x", "b": "y", "c": "z"}
    'x = {y: z}'
    """
    return SLOT.sub(r"%(\1)s", template.replace("%", "%%"))
