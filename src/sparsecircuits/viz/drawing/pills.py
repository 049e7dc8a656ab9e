"""What stands in a drawing: a pill for each spot, with what it says and how much room that takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sparsecircuits.model import Node
from sparsecircuits.viz.drawing.active_path import ActivePath, Rest
from sparsecircuits.viz.drawing.spots import ANSWER, BIAS, BIGRAM, POSITION, TOKEN, Spot
from sparsecircuits.viz.layout import QKV
from sparsecircuits.viz.pen import signed, unsigned

#: Pixels of a character: bold of 12 pixels, plain of 10, monospaced of 12.
BOLD, SMALL, CODE = 8.2, 6.0, 7.4
_LINE = 14.0
_MAX_NAME = 24
#: What is left out is told where it is so much of what comes in.
_WORTH = 0.1


@dataclass(frozen=True)
class Pill:
    """A box with words; x and y are its middle.

    Attributes:
        title: bold, or in a monospaced face where ``code``.
        details: smaller lines below.
        head: ``LAYER.HEAD`` of a channel of a head, else "".
    """

    title: str
    details: tuple[str, ...] = ()
    code: bool = False
    head: str = ""
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """As wide as its widest line."""
        title = len(self.title) * (CODE if self.code else BOLD)
        return max(36.0, max([title, *(len(line) * SMALL for line in self.details)]) + 16)

    @property
    def height(self) -> float:
        """Of all lines."""
        return 11.0 + _LINE * (1 + len(self.details))

    @property
    def lines(self) -> list[float]:
        """The height of each line's middle."""
        top = self.y + _LINE * len(self.details) / 2
        return [top - _LINE * line for line in range(1 + len(self.details))]

    def moved(self, x: float, y: float) -> Pill:
        """The same at another place."""
        return replace(self, x=x, y=y)


def pill_of(
    spot: Spot, path: ActivePath, texts: Sequence[str], answers: Sequence[str], names: Mapping[Node, str]
) -> Pill:
    """The pill of one spot: a node's name, its mean and its value; a token's text."""
    if spot.what == ANSWER:
        return _answer(path, answers, spot)
    if spot.what in (TOKEN, POSITION, BIGRAM, BIAS):
        words = {
            TOKEN: texts[spot.position],
            POSITION: f"position {spot.position}",
            BIGRAM: "bigram table",
            BIAS: "bias",
        }
        return Pill(words[spot.what], code=spot.what == TOKEN)
    width = path.d_head
    if (head := spot.head) is not None:
        return Pill("means", (f"of head {head[1]}",), head=f"{head[0]}.{head[1]}")
    node = spot.node
    assert node is not None
    letter = node.site.removeprefix("attn.")
    index = f"{letter} {node.index}" if node.site in QKV else str(node.index)
    value = f"{_plain(path.means[spot])} → {_plain(path.values[spot])}"
    name = names.get(node, "")
    title = name if len(name) <= _MAX_NAME else name[: _MAX_NAME - 1] + "…"
    details = (f"{index}: {value}",) if name else (value,)
    of_head = f"{node.layer}.{node.index // width}" if node.site in QKV else ""
    return Pill(title or index, details + _others(path, spot), head=of_head)


def _answer(path: ActivePath, answers: Sequence[str], spot: Spot) -> Pill:
    """What is explained, and what of it no line shows, so that lines, rest and constant make up the lead."""
    if len(answers) == 2:
        title = f"{answers[0]}  over  {answers[1]}"
        lead = f"logits {_plain(path.logits[0])} and {_plain(path.logits[1])}: {signed(path.lead)}"
    else:
        title, lead = answers[0], f"logit {_plain(path.logits[0])}: {signed(path.lead)} above the others"
    rest = path.left_out.get(spot)
    more = (_more(rest),) if rest else ()
    constant = f"constant: {signed(path.constant)}"
    return Pill(title, (lead, f"probability {path.probability:.3f}", *more, constant), code=True)


def _others(path: ActivePath, spot: Spot) -> tuple[str, ...]:
    """What is left out, where it is worth a line."""
    rest = path.left_out.get(spot)
    shown = sum(abs(hop.contribution) for hop in path.hops if hop.target == spot)
    if rest is None or abs(rest.contribution) < _WORTH * (shown + abs(rest.contribution)):
        return ()
    return (_more(rest),)


def _more(rest: Rest) -> str:
    return f"{rest.count} more: {signed(rest.contribution)}"


def _plain(number: float) -> str:
    return unsigned(number, 1 if abs(number) >= 10 else 2)
