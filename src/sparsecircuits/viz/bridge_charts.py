"""Pictures of a bridge: what its hybrids lose, the dense model steered through it, a circuit carried over.

Pure functions of the plain data that ``sparsecircuits bridge`` writes into ``RUN/bridge``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure

from sparsecircuits.viz.style import (
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    LINE,
    OCHRE,
    ORANGE,
    PAPER,
    PURPLE,
    SOFT,
    new_figure,
    plain_axes,
)

#: Below the worse model's loss, at it, above it.
_MAP = LinearSegmentedColormap.from_list("excess", [BLUE, "#8db8da", PAPER, "#e3a06a", ORANGE])
#: Colours reach their ends at the goal for the worst crossing, nats a token, or where the figures end.
_END = 0.1
#: Letters of a task's name that fit above a panel.
_LONGEST = 44
#: Direction -> what it is called, colour, dashes.
DIRECTIONS: dict[str, tuple[str, str, str]] = {
    "gradient": ("best direction by gradient", PURPLE, "--"),
    "means": ("the dense model's own means", OCHRE, "-."),
    "bridge": ("the node, through the bridge", BLUE, "-"),
    "random": ("random directions", GREY, ":"),
}
#: What is carried -> its words and colour, from the top.
CARRIED: dict[str, tuple[str, str]] = {
    "own": ("the dense model's own reads", FAINT),
    "all": ("all channels of the bridge", GREEN),
    "circuit": ("the circuit's nodes", BLUE),
    "rest": ("all other channels", OCHRE),
    "random": ("as many random nodes", GREY),
}


def crossings_figure(report: Mapping[str, Any]) -> Figure:
    """A heat map of hybrids' losses by crossing, what the maps miss there, and random mixtures.

    Args:
        report: ``RUN/bridge/report.json``.
    """
    names = [location_words(name) for name in report["locations"]]
    figure = new_figure(11.5, 2.1 + 0.36 * len(names), _title(report))
    heat, missed, mixed = figure.subplots(1, 3, width_ratios=(1.5, 1.5, 1.2))
    _heat_map(heat, report, names)
    _missed(missed, report, len(names))
    _mixtures(mixed, report)
    return figure


def location_words(name: str) -> str:
    """A residual location, for people.

    >>> location_words("0.resid_in"), location_words("1.resid_mid"), location_words("final_resid")
    ('before attention 0', 'before MLP 1', 'before the unembedding')
    """
    layer, _, half = name.partition(".")
    if half not in ("resid_in", "resid_mid"):
        return "before the unembedding"
    return f"before {'attention' if half == 'resid_in' else 'MLP'} {layer}"


def _title(report: Mapping[str, Any]) -> str:
    alone = "" if report["unbridged"] is None else f" ({report['unbridged']:.3f} trained alone)"
    return (
        f"Hybrids with one crossing: {report['mean_excess']:+.3f} nats/token above the worse model on "
        f"average, {report['largest_excess']:+.3f} at worst\n"
        f"Loss of the dense model {report['dense']:.3f}, of the sparse one {report['sparse']:.3f}{alone}"
    )


def _heat_map(panel: Axes, report: Mapping[str, Any], names: Sequence[str]) -> None:
    ways = {"to_sparse": "dense, then sparse", "to_dense": "sparse, then dense"}
    cells = [[report[way][row] - report["worse"] for way in ways] for row in range(len(names))]
    end = max(_END, max(abs(cell) for row in cells for cell in row))
    panel.imshow(cells, cmap=_MAP, norm=TwoSlopeNorm(0, -end, end), aspect="auto")
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            colour = PAPER if abs(value) > 0.6 * end else INK
            panel.text(column, row, f"{value:+.3f}", ha="center", va="center", color=colour, fontsize=9)
    panel.set_xticks(range(len(ways)), list(ways.values()), color=INK)
    panel.set_yticks(range(len(names)), names, color=INK)
    panel.tick_params(length=0, top=False, labelsize=9)
    for side in panel.spines.values():
        side.set_visible(False)
    panel.set_title("loss above the worse model", fontsize=9, color=SOFT, loc="left")


def _missed(panel: Axes, report: Mapping[str, Any], count: int) -> None:
    plain_axes(panel, "x")
    for key, shift, colour, words in (
        ("encode", -0.19, BLUE, "encoder, of the sparse stream"),
        ("decode", 0.19, OCHRE, "decoder, of the dense stream"),
    ):
        panel.barh([row + shift for row in range(count)], report[key], height=0.34, color=colour, label=words)
        for row, value in enumerate(report[key]):
            panel.text(value, row + shift, f" {value:.0%}", va="center", fontsize=8, color=SOFT)
    panel.set_ylim(count - 0.5, -0.5)
    panel.set_yticks([])
    panel.set_xlim(0, 1.25 * max(0.05, *report["encode"], *report["decode"]))
    panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    panel.set_title("variance that is missed", fontsize=9, color=SOFT, loc="left")
    panel.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _mixtures(panel: Axes, report: Mapping[str, Any]) -> None:
    plain_axes(panel, "y")
    excess = [loss - report["worse"] for loss in report["mixtures"]]
    panel.axhline(0, color=FAINT, lw=1)
    panel.plot(report["crossings"], excess, "o", ms=5, mfc="none", mec=PURPLE)
    panel.set_xticks(range(1, max(report["crossings"], default=1) + 1))
    panel.set_xlabel("crossings", color=INK, fontsize=9)
    panel.set_title("random mixtures, above the worse model", fontsize=9, color=SOFT, loc="left")


def steering_figure(found: Sequence[Mapping[str, Any]]) -> Figure:
    """P(other answer) against strength, a column for each task, with 95% bands (Fig 9).

    Below it the same of the two answers alone; a task of one token against all has no such two.

    Args:
        found: what ``bridge steer`` wrote for some tasks.
    """
    figure = new_figure(1.2 + 3.6 * len(found), 5.9)
    panels = figure.subplots(2, len(found), sharex=True, sharey=True, squeeze=False)
    for column, one in enumerate(found):
        for row, (key, words) in enumerate((("p_other", "of all tokens"), ("pair", "of the two answers"))):
            panel = panels[row][column]
            plain_axes(panel, "both")
            if key == "pair" and not _has_two_answers(one):
                _empty(panel, "one token against all:\nno second answer to compare")
                continue
            for curve in one["directions"]:
                _curve(panel, one["strengths"], curve, key)
            panel.set_ylim(0, 1)
            panel.set_xlim(0, max(one["strengths"]))
            if column == 0:
                panel.set_ylabel(f"P(other answer)\n{words}", color=INK, fontsize=9)
            if row == 0:
                _head(panel, one["task"], f"{one['node']}, {_prompts(one)}")
        panels[1][column].set_xlabel("strength", color=INK, fontsize=9)
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK
    )
    return figure


def _has_two_answers(one: Mapping[str, Any]) -> bool:
    """Whether the task is a contrast: of one token against all, ``pair`` repeats ``p_other``."""
    return any(curve["pair"] != curve["p_other"] for curve in one["directions"])


def _empty(panel: Axes, why: str) -> None:
    panel.grid(False)
    panel.text(0.5, 0.5, why, transform=panel.transAxes, ha="center", va="center", fontsize=9, color=SOFT)


def _head(panel: Axes, task: str, about: str) -> None:
    """Two lines above a panel; a name that would reach into the next one is cut."""
    name = task if len(task) <= _LONGEST else f"{task[: _LONGEST - 1]}…"
    panel.set_title(f"{name}\n{about}", fontsize=9, color=INK, loc="left", parse_math=False)


def _prompts(one: Mapping[str, Any]) -> str:
    side = "" if one.get("side", "both") == "both" else f"{one['side']} "
    return f"{one['prompts']:,} {side}prompts"


def _curve(panel: Axes, strengths: Sequence[float], curve: Mapping[str, Any], key: str) -> None:
    words, colour, dashes = DIRECTIONS[curve["name"]]
    low, high = curve[f"{key}_low"], curve[f"{key}_high"]
    panel.fill_between(strengths, low, high, color=colour, alpha=0.13, lw=0)
    width = 2.2 if curve["name"] == "bridge" else 1.4
    panel.plot(strengths, curve[key], dashes, color=colour, lw=width, label=words, zorder=3)


def transfer_figure(found: Sequence[Mapping[str, Any]]) -> Figure:
    """How much of the dense model's change of mind is given, a panel for each task.

    Args:
        found: what ``bridge transfer`` wrote for some tasks.
    """
    figure = new_figure(2.6 + 3.4 * len(found), 2.9)
    panels = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[0]
    shares = [share for one in found for share in one["share"].values()]
    least, most = min(0.0, *map(_least, shares)), max(1.0, *map(_most, shares))
    for panel, one in zip(panels, found, strict=True):
        plain_axes(panel, "x")
        panel.axvline(0, color=FAINT, lw=1)
        panel.axvline(1, color=LINE, lw=1)
        for row, (name, (_, colour)) in enumerate(CARRIED.items()):
            share = one["share"].get(name)
            if share is None:
                continue
            value = share["estimate"]
            panel.barh(row, value, height=0.62, color=colour, alpha=0.85)
            panel.plot([share["low"], share["high"]], [row, row], color=INK, lw=1.2)
            if share.get("per_draw"):
                panel.plot(share["per_draw"], [row] * len(share["per_draw"]), ".", ms=4, color=INK)
            words = f"  {round(100 * value)}%"  # rounded first: no "-0%"
            panel.text(max(0.0, _most(share)), row, words, va="center", fontsize=9, color=INK)
        panel.set_xlim(least - 0.05 * (most - least), most + 0.3 * (most - least))
        panel.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        count = f"{len(one['nodes'])} nodes that read the stream, {one['prompts']:,} prompts"
        _head(panel, one["task"], count)
        panel.set_xlabel("share of the dense model's change of mind", fontsize=9, color=INK)
    panels[0].set_yticks(range(len(CARRIED)), [words for words, _ in CARRIED.values()], color=INK)
    panels[0].set_ylim(len(CARRIED) - 0.4, -0.6)
    for panel in panels:
        panel.tick_params(length=0, labelsize=9)
    return figure


def _least(share: Mapping[str, Any]) -> float:
    return min(share["estimate"], share["low"], *(share.get("per_draw") or ()))


def _most(share: Mapping[str, Any]) -> float:
    return max(share["estimate"], share["high"], *(share.get("per_draw") or ()))
