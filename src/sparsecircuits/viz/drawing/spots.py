"""Names of what is drawn: spots, each something at a token, and hops between them."""

from __future__ import annotations

from dataclasses import dataclass

from sparsecircuits.model import Node

#: Sources that are no nodes, and the end.
TOKEN, POSITION, BIGRAM, BIAS, ANSWER = "token", "position", "bigram", "bias", "answer"
_HEAD = "head "


@dataclass(frozen=True, order=True)
class Spot:
    """Something at a token: a node, ``token``, ``position``, ``bigram``, ``bias``, ``answer``, a head."""

    what: str
    position: int

    @property
    def node(self) -> Node | None:
        """The node, if it is one."""
        none = self.what in (TOKEN, POSITION, BIGRAM, BIAS, ANSWER) or self.what.startswith(_HEAD)
        return None if none else Node.parse(self.what)

    @property
    def head(self) -> tuple[int, int] | None:
        """Layer and head, where it is what a head's frozen values add."""
        if not self.what.startswith(_HEAD):
            return None
        layer, head = self.what.removeprefix(_HEAD).split(".")
        return int(layer), int(head)

    def __str__(self) -> str:
        return f"{self.what} @ {self.position}"


@dataclass(frozen=True)
class Hop:
    """What ``source`` adds to ``target``.

    Attributes:
        weight: the matrix entry between them; 1 along the residual stream.
        attention: how much the target's token attends to the source's, where a head lies between; of frozen
            values, to all tokens together.
    """

    source: Spot
    target: Spot
    contribution: float
    weight: float
    attention: float | None = None


def head_spot(layer: int, head: int, position: int) -> Spot:
    """What a head's frozen values add, at the token that attends."""
    return Spot(f"{_HEAD}{layer}.{head}", position)
