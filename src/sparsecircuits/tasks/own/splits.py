"""Dealing what belongs together over train, validation and heldout, so that the splits share nothing.

What two rows share (a prompt, a template) makes them one group, and a group goes to one split as a whole. Of
every four groups the first and the last go to ``train``, the second to ``validation``, the third to
``heldout``.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

from sparsecircuits.data.idioms.names import Split

TURNS: tuple[Split, ...] = ("train", "validation", "heldout", "train")
"""Whose turn it is; three things are enough for one to each split."""


def turns() -> Iterator[Split]:
    """``train``, ``validation``, ``heldout``, ``train``, and again."""
    while True:
        yield from TURNS


def groups(keys: Sequence[Sequence[Hashable]]) -> list[int]:
    """For each row, the number of its group.

    Args:
        keys: what each row has; rows that share a key, directly or by way of others, are one group.

    >>> groups([["a", "b"], ["c"], ["d", "b"], ["d"]])
    [0, 1, 0, 0]
    """
    parent = list(range(len(keys)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    first: dict[Hashable, int] = {}
    for row, shared in enumerate(keys):
        for key in shared:
            one, other = sorted((root(row), root(first.setdefault(key, row))))
            parent[other] = one
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(row), len(numbers)) for row in range(len(keys))]
