"""Lines and numbers of a placed drawing: what comes through a head on tracks, all else from row to row.

A value goes up, along its track, and up into what attention writes at its own or a later token. Of those
left of what they write the leftmost has the highest track and ends leftmost, of those right of it the
rightmost, so that tracks into one node do not cross. The key's channel that makes a head look goes up to the
value's track from the early token, the query's from the late one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sparsecircuits.viz.drawing.active_path import ActivePath, Look
from sparsecircuits.viz.drawing.pills import SMALL
from sparsecircuits.viz.drawing.place import TRACK, Placed, Point, row_key, through_heads
from sparsecircuits.viz.drawing.spots import Hop, Spot
from sparsecircuits.viz.pen import signed

#: Where along its line a number may stand, best first.
_PLACES = (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.12, 0.88)
_TALL = 13.0


@dataclass(frozen=True)
class Label:
    """A number on a line; x and y are its middle."""

    text: str
    x: float
    y: float
    soft: bool = False

    @property
    def width(self) -> float:
        """Pixels."""
        return len(self.text) * SMALL + 4

    def covers(self, x: float, y: float, width: float, height: float) -> float:
        """Square pixels that it shares with a box around (x, y)."""
        across = (self.width + width) / 2 - abs(self.x - x)
        down = (_TALL + height) / 2 - abs(self.y - y)
        return max(0.0, across) * max(0.0, down)


@dataclass(frozen=True)
class Line:
    """One line: ``bent`` runs along the axes, others curve from row to row.

    Attributes:
        number: what it adds; its sign gives colour and dashes.
        share: of the largest into the same target; gives the width.
        score: whether it is a channel that makes a head look.
    """

    points: tuple[Point, ...]
    number: float
    share: float
    bent: bool = False
    score: bool = False


@dataclass(frozen=True)
class Wiring:
    """All lines, their numbers, and the dots where a query or key meets a value's track."""

    lines: tuple[Line, ...]
    labels: tuple[Label, ...]
    joints: tuple[Point, ...]


def wire(path: ActivePath, placed: Placed) -> Wiring:
    """Draw every hop of a placed path, and why heads look."""
    return _Wires(path, placed).wiring()


class _Wires:
    def __init__(self, path: ActivePath, placed: Placed) -> None:
        self.path, self.placed, self.pills = path, placed, placed.pills
        self.largest: dict[Spot, float] = {}
        for hop in path.hops:
            self.largest[hop.target] = max(self.largest.get(hop.target, 0.0), abs(hop.contribution))
        self.lines: list[Line] = []
        self.labels: list[Label] = []
        self.joints: list[Point] = []
        self.tracks = self._tracks()

    def wiring(self) -> Wiring:
        """Tracks first, since their numbers have one place; then what may give way."""
        waiting: list[tuple[str, tuple[Point, ...], bool, bool]] = []
        for hop, points in self.tracks.items():
            self._line(points, hop, bent=True)
            text = f"{signed(hop.contribution)} (att. {hop.attention:.2f})"
            width, (start, y), (end, _) = Label(text, 0, 0).width, points[1], points[2]
            column = next(c for c in self.placed.columns if c.position == hop.target.position)
            x = min(column.left, end) - width / 2 - 6
            if hop.source.position != hop.target.position:
                self.labels.append(Label(text, max(x, start + width / 2 + 8), y))
            elif abs(end - start) > width + 14:
                self.labels.append(Label(text, (start + end) / 2, y))
            else:
                waiting.append((text, points[:2], True, False))
        for look in self.path.looks:
            waiting += self._join(look)
        for hop in self.path.hops:
            if hop not in self.tracks:
                points = self._upward(hop)
                self._line(points, hop)
                waiting.append((signed(hop.contribution), points, False, False))
        for text, points, bent, soft in waiting:
            self.labels.append(self._label(text, points, bent, soft))
        return Wiring(tuple(self.lines), tuple(self.labels), tuple(self.joints))

    def _line(self, points: tuple[Point, ...], hop: Hop, *, bent: bool = False) -> None:
        largest = self.largest[hop.target] or 1.0
        self.lines.append(Line(points, hop.contribution, abs(hop.contribution) / largest, bent))

    def _tracks(self) -> dict[Hop, tuple[Point, ...]]:
        """The way of every hop through a head."""
        found: dict[Hop, tuple[Point, ...]] = {}
        hops = sorted(through_heads(self.path), key=lambda hop: self.pills[hop.source].x)
        for key in dict.fromkeys(row_key(hop.target) for hop in hops):
            some = [hop for hop in hops if row_key(hop.target) == key]
            row = self.placed.row(some[0].target)
            floor = row.y - max(self.pills[hop.target].height for hop in some) / 2
            for number, hop in enumerate(sorted(some, key=self._height)):
                source, target = self.pills[hop.source], self.pills[hop.target]
                y = floor - 16 - TRACK * number
                start = source.x + self._port(hop, [other for other in some if other.source == hop.source])
                end = target.x + self._port(hop, [other for other in some if other.target == hop.target])
                foot, top = source.y + source.height / 2, target.y - target.height / 2
                found[hop] = ((start, foot), (start, y), (end, y), (end, top))
        return found

    def _height(self, hop: Hop) -> tuple[bool, float]:
        """Sorts tracks from the highest down."""
        source, target = self.pills[hop.source].x, self.pills[hop.target].x
        return (source > target, -source if source > target else source)

    def _port(self, hop: Hop, beside: Sequence[Hop]) -> float:
        """How far from the middle of a pill a hop leaves or comes in, of several side by side."""
        return 9.0 * (beside.index(hop) - (len(beside) - 1) / 2)

    def _join(self, look: Look) -> Iterable[tuple[str, tuple[Point, ...], bool, bool]]:
        """Lines from channels of query and key to the lowest track of their look."""
        ways = [points for hop, points in self.tracks.items() if self._through(hop, look)]
        (start, y), (end, _) = min(ways, key=lambda points: points[1][1])[1:3]
        for spot, part in look.parts:
            pill = self.pills[spot]
            x = min(max(pill.x, min(start, end)), max(start, end))
            points = ((pill.x, pill.y + pill.height / 2), (pill.x, y), (x, y))
            self.joints.append((x, y))
            self.lines.append(Line(points[: 3 if x != pill.x else 2], part, 0.0, bent=True, score=True))
            yield f"score {signed(part)}", points[:2], True, True

    def _through(self, hop: Hop, look: Look) -> bool:
        """Whether a hop goes through a look's head between its tokens."""
        if hop.source.head is not None:
            return hop.source.head == (look.layer, look.head) and hop.target.position == look.at
        between = (hop.target.position, hop.source.position) == (look.at, look.to)
        return (
            hop.attention is not None
            and between
            and self.pills[hop.source].head == f"{look.layer}.{look.head}"
        )

    def _upward(self, hop: Hop) -> tuple[Point, ...]:
        source, target = self.pills[hop.source], self.pills[hop.target]
        start, end = (source.x, source.y + source.height / 2), (target.x, target.y - target.height / 2)
        return start, *self.placed.bends[hop.source, hop.target], end

    def _label(self, text: str, points: Sequence[Point], bent: bool, soft: bool) -> Label:
        """At the first place along the line where it covers nothing, or the one where it covers least."""
        places = [
            Label(text, *_along(start, end, share, bent), soft)
            for share in _PLACES
            for start, end in sorted(zip(points, points[1:], strict=False), key=_shortness)
        ]
        return min(places, key=self._covered)

    def _covered(self, label: Label) -> float:
        boxes = [(pill.x, pill.y, pill.width, pill.height) for pill in self.pills.values()]
        boxes += [(other.x, other.y, other.width, _TALL) for other in self.labels]
        return sum(label.covers(*box) for box in boxes)


def _along(start: Point, end: Point, share: float, bent: bool) -> Point:
    """The point at ``share`` of a straight line, or of a curve that is vertical at its ends."""
    (x0, y0), (x1, y1) = start, end
    a, b, c, d = (1 - share) ** 3, 3 * (1 - share) ** 2 * share, 3 * (1 - share) * share**2, share**3
    if bent:
        return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    middle = (y0 + y1) / 2
    return (a + b) * x0 + (c + d) * x1, a * y0 + (b + c) * middle + d * y1


def _shortness(ends: tuple[Point, Point]) -> float:
    return -abs(ends[1][1] - ends[0][1])
