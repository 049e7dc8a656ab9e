"""Prompts of which only the answer is wanted, with every beginning that several share kept once.

The two prompts of a pair agree up to the token in which they differ, and many pairs begin alike. What a
causal model makes of a token depends on it and on those before it. So a beginning that is shared is worked
out once, padding not at all, and what the last block writes at the last tokens alone. A forward over such
prompts (:meth:`~sparsecircuits.model.SparseGPT.answers`) gives what one over all tokens does, up to rounding,
for less than half of the work.

Several *sets* of prompts may go together, for interventions that differ from set to set: activations are then
[sets, kept, width].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Prompts:
    """Token sequences, each distinct beginning once.

    Attributes:
        tokens: [sets, kept] the last token of each distinct beginning.
        position: [sets, kept] how many tokens are before it.
        where: [rows, pos] which of the kept tokens, counted through all sets, stands at each place; behind a
            prompt's end its last one.
        place: [sets * kept] a place, counted through all rows, where each kept token stands.
        last: [sets, rows of a set] which of the kept tokens is each prompt's last.
    """

    tokens: Tensor
    position: Tensor
    where: Tensor
    place: Tensor
    last: Tensor

    @classmethod
    def of(cls, tokens: Tensor, last: Tensor) -> Prompts:
        """One set.

        Args:
            tokens: [rows, pos] ids.
            last: [rows] positions of the prompts' last tokens.
        """
        tokens = tokens[:, : int(last.max()) + 1]
        rows, length = tokens.shape
        at = torch.arange(length, device=tokens.device)
        real = torch.minimum(at, last[:, None])
        beginnings = ((tokens + 1) * _factors(length).to(tokens.device)).cumsum(1).gather(1, real)
        _, where = torch.unique(beginnings, return_inverse=True)
        count = int(where.max()) + 1
        places = torch.arange(rows * length, device=tokens.device)
        place = places.new_full((count,), rows * length).scatter_reduce(0, where.flatten(), places, "amin")
        kept, position = tokens.flatten()[place], place % length
        if not _same(
            tokens, real, where, kept, position, place
        ):  # two beginnings with one sum: keep them all
            where = (torch.arange(rows, device=tokens.device) * length)[:, None] + real
            place, kept, position = places, tokens.flatten(), at.repeat(rows)
        return cls(kept[None], position[None], where, place, where[:, -1][None])

    @classmethod
    def stacked(cls, parts: Sequence[Prompts]) -> Prompts:
        """Several, of equally many rows, as sets of one."""
        if len(parts) == 1:
            return parts[0]
        kept = max(part.tokens.shape[1] for part in parts)
        length = max(part.where.shape[1] for part in parts)
        tokens, positions, wheres, places, lasts = [], [], [], [], []
        rows = 0
        for index, part in enumerate(parts):
            more, longer = kept - part.tokens.shape[1], length - part.where.shape[1]
            tokens.append(F.pad(part.tokens[0], (0, more), value=int(part.tokens[0, 0])))
            positions.append(F.pad(part.position[0], (0, more), value=int(part.position[0, 0])))
            ends = part.where[:, -1:].expand(-1, longer)
            wheres.append(torch.cat([part.where, ends], 1) + index * kept)
            before = part.where.shape[1]
            place = (rows + part.place // before) * length + part.place % before
            places.append(F.pad(place, (0, more), value=int(place[0])))
            lasts.append(part.last[0] + index * kept)
            rows += part.where.shape[0]
        return cls(
            torch.stack(tokens),
            torch.stack(positions),
            torch.cat(wheres),
            torch.cat(places),
            torch.stack(lasts),
        )

    def spread(self, x: Tensor) -> Tensor:
        """[sets, kept, width] to [rows, pos, width]: each token at all of its places."""
        return F.embedding(self.where, x.flatten(0, 1))

    def gathered(self, x: Tensor) -> Tensor:
        """[rows, pos, width] to [sets, kept, width]: of each token one place."""
        return F.embedding(self.place.view(self.tokens.shape), x.flatten(0, 1))

    def ends(self, x: Tensor) -> Tensor:
        """[sets, kept, width] to [sets, rows of a set, width]: the prompts' last tokens."""
        return F.embedding(self.last, x.flatten(0, 1))


def _factors(length: int) -> Tensor:
    """[length] large random numbers: sums of their multiples tell beginnings apart."""
    generator = torch.Generator().manual_seed(length)
    return torch.randint(-(2**62), 2**62, (length,), generator=generator)


def _same(tokens: Tensor, real: Tensor, where: Tensor, kept: Tensor, position: Tensor, place: Tensor) -> bool:
    """Whether each place's token, position and beginning are those of the kept token that stands for it."""
    ends = torch.equal(kept[where], tokens.gather(1, real)) and torch.equal(position[where], real)
    before = where.flatten()[(place - 1).clamp(min=0)]  # of a kept token, the one before it
    back = where.gather(1, (real - 1).clamp(min=0))
    return ends and bool(((before[where] == back) | (real == 0)).all())
