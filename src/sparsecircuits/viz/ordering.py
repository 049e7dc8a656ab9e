"""Order and space the vertices of a layered graph so that its links cross little and run straight.

In: rows of vertices from top to bottom and links between neighbouring rows. Out: an order for each
row, then an x for each vertex. The steps are those of Sugiyama et al. 1981:

1. :func:`order_rows` sweeps down and up, sorting each row by the mean position of its neighbours
   (barycentre), and keeps the order with the fewest crossings.
2. :func:`place_rows` pulls each vertex towards the mean x of its neighbours; :func:`spread` gives the
   least-squares positions that keep the order and the distances (isotonic regression by pooling
   adjacent violators).

Everything is deterministic: ties keep the order that came in.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Vertex:
    """Something that takes room in a row.

    ``group`` holds vertices together (a head's channels stay side by side); ``block`` orders them
    inside the group before the barycentre does. A ``bend`` is where a long link passes through a row.
    """

    name: str
    width: float
    group: str = ""
    block: int = 0
    bend: bool = False


Rows = list[list[Vertex]]
Links = Sequence[tuple[str, str]]


def count_crossings(upper: Sequence[str], lower: Sequence[str], links: Links) -> int:
    """Crossings of straight links between two ordered rows; links to other rows are ignored.

    >>> count_crossings(["a", "b"], ["c", "d"], [("a", "d"), ("b", "c")])
    1
    """
    above = {name: i for i, name in enumerate(upper)}
    below = {name: i for i, name in enumerate(lower)}
    ends = sorted((above[s], below[t]) for s, t in links if s in above and t in below)
    seen: list[int] = []
    crossings = 0
    for _, end in ends:
        crossings += len(seen) - bisect_right(seen, end)
        insort(seen, end)
    return crossings


def order_rows(rows: Rows, links: Links, sweeps: int = 8) -> Rows:
    """The rows, reordered; groups stay together and keep the order of their blocks."""
    between = _between(rows, links)
    up, down = _neighbours([link for gap in between for link in gap])
    current = [_arrange(row, dict.fromkeys((v.name for v in row), 0.0)) for row in rows]
    best, fewest = current, _total(current, between)
    for sweep in range(sweeps):
        if fewest == 0:
            break
        current = list(current)
        downward = sweep % 2 == 0
        for i in range(len(current)) if downward else reversed(range(len(current))):
            beside = i - 1 if downward else i + 1
            if not 0 <= beside < len(current):
                continue
            reference, wish = _relative(current[beside]), _relative(current[i])
            near = up if downward else down
            for name, own in wish.items():
                wish[name] = _mean([reference[n] for n in near.get(name, ())], own)
            current[i] = _arrange(current[i], wish)
        crossings = _total(current, between)
        if crossings < fewest:
            best, fewest = current, crossings
    return best


def place_rows(rows: Rows, links: Links, gap: float, group_gap: float, sweeps: int = 30) -> dict[str, float]:
    """An x (the centre) for every vertex, at least ``gap`` apart, ``group_gap`` more between groups.

    The left end of the leftmost vertex lies at 0.
    """
    up, down = _neighbours(links)
    apart = [[_separation(a, b, gap, group_gap) for a, b in zip(row, row[1:], strict=False)] for row in rows]
    x: dict[str, float] = {}
    for row, distances in zip(rows, apart, strict=True):
        names = [v.name for v in row]
        x.update(zip(names, spread([0.0] * len(row), distances), strict=True))
    for sweep in range(sweeps):
        downward = sweep % 2 == 0
        for i in range(len(rows)) if downward else reversed(range(len(rows))):
            wishes = []
            for v in rows[i]:
                above = [x[n] for n in up.get(v.name, ())]
                below = [x[n] for n in down.get(v.name, ())]
                # Early passes follow the row they come from; later ones weigh both sides.
                near = above + below if sweep >= sweeps // 2 else (above if downward else below)
                wishes.append(_mean(near, x[v.name]))
            # Long links should run straight, so their bends yield less than nodes do.
            weights = [4.0 if v.bend else 1.0 for v in rows[i]]
            x.update(zip([v.name for v in rows[i]], spread(wishes, apart[i], weights), strict=True))
    left = min((x[v.name] - v.width / 2 for row in rows for v in row), default=0.0)
    return {name: value - left for name, value in x.items()}


def spread(
    wishes: Sequence[float], apart: Sequence[float], weights: Sequence[float] | None = None
) -> list[float]:
    """Positions nearest to the wishes (weighted least squares) with ``x[i+1] - x[i] >= apart[i]``.

    >>> spread([0.0, 0.0, 9.0], [2.0, 2.0])
    [-1.0, 1.0, 9.0]
    """
    weights = weights or [1.0] * len(wishes)
    offsets = [0.0]
    for distance in apart:
        offsets.append(offsets[-1] + distance)
    pools: list[tuple[float, float, int]] = []  # (weighted mean, weight, count)
    for wish, offset, weight in zip(wishes, offsets, weights, strict=False):
        mean, total, count = wish - offset, weight, 1
        while pools and pools[-1][0] > mean:
            other, other_weight, other_count = pools.pop()
            mean = (mean * total + other * other_weight) / (total + other_weight)
            total, count = total + other_weight, count + other_count
        pools.append((mean, total, count))
    level = [mean for mean, _, count in pools for _ in range(count)]
    return [value + offset for value, offset in zip(level, offsets, strict=False)]


def _between(rows: Rows, links: Links) -> list[list[tuple[str, str]]]:
    """The links from each row to the next one; those that go elsewhere are left out."""
    rank = {vertex.name: i for i, row in enumerate(rows) for vertex in row}
    between: list[list[tuple[str, str]]] = [[] for _ in rows[1:]]
    for source, target in links:
        if rank[target] == rank[source] + 1:
            between[rank[source]].append((source, target))
    return between


def _neighbours(links: Links) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    up: dict[str, list[str]] = {}
    down: dict[str, list[str]] = {}
    for source, target in links:
        up.setdefault(target, []).append(source)
        down.setdefault(source, []).append(target)
    return up, down


def _arrange(row: list[Vertex], wish: dict[str, float]) -> list[Vertex]:
    groups: dict[str, list[Vertex]] = {}
    for vertex in row:
        groups.setdefault(vertex.group or vertex.name, []).append(vertex)
    ordered = sorted(groups.values(), key=lambda group: _mean([wish[v.name] for v in group], 0.0))
    return [v for group in ordered for v in sorted(group, key=lambda v: (v.block, wish[v.name]))]


def _relative(row: list[Vertex]) -> dict[str, float]:
    return {v.name: (i + 0.5) / len(row) for i, v in enumerate(row)}


def _separation(a: Vertex, b: Vertex, gap: float, group_gap: float) -> float:
    between = group_gap if (a.group or b.group) and a.group != b.group else 0.0
    share = (1.0, 0.6, 0.3)[a.bend + b.bend]  # lines may pass closer to one another than nodes stand
    return (a.width + b.width) / 2 + share * gap + between


def _mean(values: Sequence[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _total(rows: Rows, between: Sequence[Links]) -> int:
    names = [[v.name for v in row] for row in rows]
    return sum(map(count_crossings, names, names[1:], between))
