"""Pictures of a circuit of steps and of a circuit on ordinary text (Gao et al. 2025, Fig 34, 39).

Pure functions of what :mod:`sparsecircuits.validate` measured; each returns a matplotlib figure. A row is a
node, the largest effects on top; where there are too many, the smallest are left out and counted below.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from sparsecircuits.viz.style import BLUE, GREEN, INK, LINE, ORANGE, SOFT, new_figure, plain_axes

if TYPE_CHECKING:
    from sparsecircuits.validate.binarise import Binarised
    from sparsecircuits.validate.distribution import Change, Distribution, NodeUse

#: Nodes in a picture.
MOST_ROWS = 40
#: The three things done to a node: field, name, colour, marker, and how far above its row it is drawn.
_MARKS = (
    ("frozen", "at its pretraining mean", BLUE, "o", 0.22),
    ("constant", "at its mean on the task", ORANGE, "D", 0.0),
    ("stepped", "a step", GREEN, "s", -0.22),
)


def binarise_chart(result: Binarised, title: str = "") -> Figure:
    """What each node costs as a step alone, and all together on the way to steps.

    Args:
        result: losses in nats.
        title: such as the task's name.
    """
    effects = sorted(result.effects, key=lambda one: (-one.change, one.node))
    shown = effects[:MOST_ROWS]
    figure = _figure(len(shown), title)
    alone, together = figure.subplots(1, 2, width_ratios=(1.3, 1))
    rows = range(len(shown))
    changes = [one.change for one in shown]
    taken = set(result.taken)
    colours = [BLUE if one.node in taken else ORANGE for one in shown]
    spread = [
        [max(0.0, one.change - one.interval.low) for one in shown],
        [max(0.0, one.interval.high - one.change) for one in shown],
    ]
    alone.barh(rows, changes, color=colours, height=0.66, zorder=2)
    alone.errorbar(changes, rows, xerr=spread, fmt="none", ecolor=INK, elinewidth=0.9, zorder=3)
    _rows(alone, [str(one.node) for one in shown])
    _below(alone, "change of the loss, one node a step (nats)", len(effects) - len(shown) + result.left_out)
    for colour, name in ((BLUE, "a step together with the others"), (ORANGE, "stays live then")):
        if colour in colours:
            alone.barh([0], [0], color=colour, label=name)
    _legend(alone, 2)

    together.plot(*zip(*result.curve, strict=True), color=BLUE, marker="o", lw=1.8, ms=5, zorder=3)
    lines = (
        (result.plain, "as it is", "-"),
        (result.limit, "limit", "--"),
        (result.refitted, "steps refitted", ":"),
    )
    for height, name, style in lines:
        together.axhline(height, color=SOFT, lw=1, ls=style, zorder=1, label=f"{name}: {height:.3g}")
    together.set_ylim(0, 1.12 * max(result.limit, *(loss for _, loss in result.curve)))
    together.set_xlim(-0.03, 1.03)
    within = f"{len(result.taken)} of {len(result.effects)} nodes stay within the limit together"
    accuracy = f"right answers: {result.plain_accuracy:.1%} as it is, {result.accuracy:.1%} all in steps"
    together.set_xlabel(f"progress from activations to steps\n{within}\n{accuracy}", color=INK)
    together.set_ylabel("task loss, all nodes (nats)", color=INK)
    _legend(together, 3)
    plain_axes(together, "y")
    return figure


def distribution_chart(result: Distribution, title: str = "") -> Figure:
    """What each node's replacement costs on ordinary text, and how many of its edges the circuit uses.

    Args:
        result: changes in nats a token. They lie far apart, so the axis is linear about 0 and logarithmic
            beyond; bars are standard errors.
        title: such as the task's name.
    """
    uses = sorted(result.nodes, key=lambda use: (-_largest(use), use.node))
    shown = uses[:MOST_ROWS]
    figure = _figure(len(shown), title)
    cost, edges = figure.subplots(1, 2, width_ratios=(1.7, 1), sharey=True)
    rows = range(len(shown))
    values: list[float] = []
    for field, name, colour, marker, above in _MARKS:
        points = [(row, getattr(use, field)) for row, use in enumerate(shown) if getattr(use, field)]
        if not points:
            continue
        means = [change.mean for _, change in points]
        values += means
        cost.errorbar(
            means,
            [row - above for row, _ in points],
            xerr=[_error(change) for _, change in points],
            color=colour, marker=marker, ms=4.5, ls="none", elinewidth=0.9, label=name, zorder=3,
        )  # fmt: skip
    cost.axvline(0, color=SOFT, lw=0.8, zorder=1)
    _symlog(cost, values)
    _rows(cost, [str(use.node) for use in shown])
    whole = f"without the whole circuit {result.removed.mean:+.3g}"
    if result.random_removed is not None:
        whole += f", without a random one {result.random_removed.mean:+.3g}"
    label = f"change of the full model's loss (nats a token)\n{whole}"
    _below(cost, label, len(uses) - len(shown) + result.left_out)
    _legend(cost, 3)

    edges.barh(
        rows, [use.all_edges for use in shown], color=LINE, height=0.66, zorder=2, label="in the model"
    )
    edges.barh(
        rows, [use.used_edges for use in shown], color=BLUE, height=0.66, zorder=3, label="in the circuit"
    )
    for row, use in enumerate(shown):
        edges.annotate(
            f"{use.used_edges} / {use.all_edges}",
            (use.all_edges, row), (4, 0), textcoords="offset points", va="center", size=7.5, color=SOFT,
        )  # fmt: skip
    edges.set_xlim(0, 1.22 * max([1, *(use.all_edges for use in shown)]))
    edges.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    edges.set_xlabel(f"edges; {result.edges} of {result.component_edges} in all", color=INK)
    _legend(edges, 2)
    plain_axes(edges, "x")
    edges.tick_params(axis="y", length=0, labelleft=False)
    return figure


def _largest(use: NodeUse) -> float:
    return max(abs(change.mean) for change in (use.frozen, use.constant, use.stepped) if change is not None)


def _error(change: Change) -> float:
    return change.error if math.isfinite(change.error) else 0.0


def _figure(rows: int, title: str) -> Figure:
    return new_figure(10.5, 1.9 + 0.21 * max(8, rows), title)


def _rows(axes: Any, names: Sequence[str]) -> None:
    """One row a node, the first on top."""
    axes.set_yticks(range(len(names)), names, size=7.5)
    axes.set_ylim(max(1, len(names)) - 0.4, -0.6)
    plain_axes(axes, "x")
    axes.tick_params(axis="y", length=0)


def _legend(axes: Any, columns: int) -> None:
    """Above the axes, where nothing is drawn."""
    place = {"loc": "lower left", "bbox_to_anchor": (0, 1.0), "ncols": columns}
    axes.legend(fontsize=8, frameon=False, labelcolor=INK, **place)


def _below(axes: Any, label: str, left_out: int) -> None:
    more = f"\n({left_out} more nodes are not shown)" if left_out else ""
    axes.set_xlabel(label + more, color=INK)


def _symlog(axes: Any, values: Sequence[float]) -> None:
    """Linear below a hundredth of the largest value, logarithmic beyond, ticks at powers of ten."""
    top = max((abs(value) for value in values), default=0.0)
    power = math.ceil(math.log10(top)) if top > 0 else 0
    linear = 10.0 ** (power - 2)
    axes.set_xscale("symlog", linthresh=linear, linscale=0.8)
    ticks = [linear * 10**step for step in range(3)]
    negative = [-tick for tick in ticks if min(values, default=0.0) < -tick / 3]
    axes.xaxis.set_major_locator(FixedLocator([*sorted(negative), 0, *ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:+.2g}" if value else "0"))
