"""What a layout holds, in pixels, y downward, and how it is told to the page."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsecircuits.viz.tokens import Chip

Point = tuple[float, float]


@dataclass(frozen=True)
class Row:
    """One row: ``key`` is "in", "out" or "LAYER.SITEROW"; ``layer`` is None for the token rows.

    ``y`` is its middle; ``height`` is from its first line of nodes to its last, 0 where all stand in one.
    """

    key: str
    label: str
    layer: int | None
    y: float
    height: float = 0.0


@dataclass(frozen=True)
class Box:
    """The frame around the channels of one head."""

    layer: int
    head: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Lane:
    """Where a node's token links run together, past the rows between it and the tokens."""

    node: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class TokenLink:
    """From chip to node or lane ("in"), or from node or lane to chip ("out"); points lead downward."""

    chip: int
    node: str
    weight: float
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Stream:
    """The residual stream from a write to a later read of the same channel."""

    source: str
    target: str
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Layout:
    """All positions. ``nodes``: name -> (x, y, width) of the centre; edges join their nodes directly."""

    width: float
    height: float
    compact: bool
    node_height: float
    rows: tuple[Row, ...]
    nodes: dict[str, tuple[float, float, float]]
    boxes: tuple[Box, ...]
    chips: tuple[Chip, ...]
    token_links: tuple[TokenLink, ...]
    lanes: tuple[Lane, ...]
    streams: tuple[Stream, ...]
    numbers: tuple[Point, ...]  # where each edge's weight is printed; empty where there are too many

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the page, rounded to a tenth of a pixel, and short, as there may be many.

        A node is ``[x, y, width]`` in the order of the circuit's nodes; a token link is ``[chip, node's
        number, weight, points]``; of the residual stream only the bends are told, in the order of the
        circuit's streams, and nothing where no stream bends.
        """
        number = {name: i for i, name in enumerate(self.nodes)}
        bends = [stream.points[1:-1] for stream in self.streams]
        return {
            "width": _short(self.width),
            "height": _short(self.height),
            "compact": self.compact,
            "node_height": self.node_height,
            "rows": _short([dataclasses.asdict(row) for row in self.rows]),
            "nodes": _short(list(self.nodes.values())),
            "boxes": _short([dataclasses.asdict(box) for box in self.boxes]),
            "chips": _short([{**dataclasses.asdict(chip), "width": chip.width} for chip in self.chips]),
            "token_links": [
                [link.chip, number[link.node], round(link.weight, 4), _short(link.points)]
                for link in self.token_links
            ],
            "lanes": _short([dataclasses.asdict(lane) for lane in self.lanes]),
            "bends": _short(bends) if any(bends) else [],
            "numbers": _short(self.numbers),
        }


def _short(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 1)
    if isinstance(value, Mapping):
        return {key: _short(item) for key, item in value.items()}
    return [_short(item) for item in value] if isinstance(value, (list, tuple)) else value
