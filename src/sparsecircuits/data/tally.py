"""Which tokens go to which split, and how much of which source is in it: the books of a build."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from sparsecircuits.data.manifest import Amount, SourceRecord
from sparsecircuits.data.mix import Draw, Split


class Tally:
    """Takes documents in order until every split has its tokens.

    A document goes to the split that it was drawn for, as far as there is room, and is dropped where there is
    none; where the training split takes all there is, what the validation split has no room for goes there.

    Attributes:
        tokens: split to count, so far.
    """

    def __init__(self, limits: Mapping[Split, int | None]) -> None:
        """Begin with nothing; a limit of None is none."""
        self.tokens: dict[Split, int] = dict.fromkeys(limits, 0)
        self._limits = dict(limits)
        self._amounts: dict[tuple[str, Split], Amount] = {}
        self._texts: dict[str, hashlib.blake2b] = {}

    @property
    def total(self) -> int | None:
        """Tokens of all splits, if each has a limit."""
        limits = [limit for limit in self._limits.values() if limit is not None]
        return sum(limits) if len(limits) == len(self._limits) else None

    @property
    def full(self) -> bool:
        """Whether every split has its tokens."""
        return all(self._room(split) == 0 for split in self._limits)

    def count(self, draws: Sequence[Draw], lengths: Sequence[int]) -> list[tuple[Split, int]]:
        """Enter documents of so many tokens each; for each its split, and how many tokens that takes."""
        return [self._enter(draw, length) for draw, length in zip(draws, lengths, strict=True)]

    def divide(self, draws: Sequence[Draw], ids: np.ndarray, lengths: Sequence[int]) -> dict[Split, bytes]:
        """:meth:`count`, and the bytes for each split; ``ids`` has the documents one after the other."""
        taken: dict[Split, list[np.ndarray]] = {split: [] for split in self._limits}
        start = 0
        for (split, kept), length in zip(self.count(draws, lengths), lengths, strict=True):
            taken[split].append(ids[start : start + kept])
            start += length
        return {split: b"".join(piece.tobytes() for piece in pieces) for split, pieces in taken.items()}

    def of(self, source: str, record: SourceRecord) -> SourceRecord:
        """The record, with what is in each split."""
        texts = self._texts.get(source)
        return record.replace(
            train=self._amounts.get((source, "train"), Amount()),
            val=self._amounts.get((source, "val"), Amount()),
            hash=texts.hexdigest() if texts is not None else "",
        )

    def _enter(self, draw: Draw, length: int) -> tuple[Split, int]:
        split = draw.split
        if self._room(split) == 0 and self._limits["train"] is None:
            split = "train"
        room = self._room(split)
        kept = length if room is None else min(length, room)
        if kept:
            self.tokens[split] += kept
            before = self._amounts.get((draw.source, split), Amount())
            self._amounts[draw.source, split] = Amount(
                documents=before.documents + 1,
                chars=before.chars + len(draw.document.text),
                tokens=before.tokens + kept,
            )
            self._texts.setdefault(draw.source, hashlib.blake2b(digest_size=16)).update(draw.digest)
        return split, kept

    def _room(self, split: Split) -> int | None:
        limit = self._limits[split]
        return None if limit is None else limit - self.tokens[split]
