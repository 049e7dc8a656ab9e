"""Pictures of many report cards: which circuit passes what, and how large controls are.

Pure functions of cards as plain data (:meth:`~sparsecircuits.validate.card.Card.to_dict`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsecircuits.validate.catalogue import KINDS
from sparsecircuits.viz.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    LINE,
    OCHRE,
    ORANGE,
    PINK,
    PURPLE,
    SOFT,
    new_figure,
    plain_axes,
)

_PASS, _FAIL = BLUE, ORANGE

#: Word of an outcome -> marker, colour, whether filled.
_MARKS = {
    "pass": ("o", _PASS, True),
    "FAIL": ("X", _FAIL, True),
    "open": ("o", SOFT, False),
    "n/a": ("_", FAINT, True),
}
_STATES = {"yes": "pass", "no": "FAIL", "open": "open"}


def cards_figure(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """A mark for every circuit and test, then for every verdict; one panel a group, side by side.

    Args:
        groups: title -> cards; circuits of the same task stand on the same line.
    """
    tasks = list(dict.fromkeys(card["task"] for cards in groups.values() for card in cards))
    tests = [test for test in KINDS if any(_word(card, test) for cards in groups.values() for card in cards)]
    verdicts = [verdict["name"] for cards in groups.values() for verdict in cards[0]["verdicts"]][:5]
    height = 1.6 + 0.24 * len(tasks)
    figure = new_figure(2.2 + 5.2 * len(groups), height)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for panel, (title, cards) in zip(panels, groups.items(), strict=True):
        for card in cards:
            row = tasks.index(card["task"])
            words = [_word(card, test) for test in tests]
            states = {verdict["name"]: _STATES[verdict["state"]] for verdict in card["verdicts"]}
            words += ["", *[states[name] for name in verdicts]]
            for column, word in enumerate(words):
                if word:
                    marker, colour, full = _MARKS[word]
                    face = colour if full else "none"
                    panel.plot(column, row, marker, ms=6, mec=colour, mfc=face, mew=1, zorder=3)
        _prepare(panel, title, [*tests, "", *verdicts], tasks)
    figure.legend(
        handles=_keys(panels[0]),
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    return figure


def _word(card: Mapping[str, Any], test: str) -> str:
    return next((one["word"] for one in card["tests"] if one["test"] == test), "")


def _prepare(panel: Axes, title: str, columns: Sequence[str], rows: Sequence[str]) -> None:
    plain_axes(panel, "y", frame=False)
    panel.set_title(title, loc="left", fontsize=11, color=INK, pad=8)
    panel.set_xticks(range(len(columns)), columns, rotation=60, ha="left", fontsize=8, color=SOFT)
    panel.xaxis.tick_top()
    panel.set_yticks(range(len(rows)), rows, fontsize=9, color=INK)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(-0.6, len(columns) - 0.4)
    panel.tick_params(length=0)


def _keys(panel: Axes) -> list[Any]:
    words = {"pass": "passes", "FAIL": "fails", "open": "not judged", "n/a": "does not apply"}
    keys = []
    for word, label in words.items():
        marker, colour, full = _MARKS[word]
        face = colour if full else "none"
        keys += panel.plot([], [], marker, ms=6, mec=colour, mfc=face, mew=1, label=label)
    return keys


def restored_figure(groups: Mapping[str, Sequence[Mapping[str, Any]]], target: float = 0.15) -> Figure:
    """T1 and T4 of every circuit: its plain loss, the mean and the worst while deleted nodes come back."""
    tasks = list(dict.fromkeys(card["task"] for cards in groups.values() for card in cards))
    figure = new_figure(9.5, 1.4 + 0.26 * len(tasks))
    panels = figure.subplots(1, len(groups), sharey=True, sharex=True, squeeze=False)[0]
    for panel, (title, cards) in zip(panels, groups.items(), strict=True):
        for card in cards:
            tests = {test["test"]: test for test in card["tests"]}
            if "T1" not in tests or "T4" not in tests:
                continue
            row = tasks.index(card["task"])
            plain, mean = tests["T1"]["estimate"], tests["T4"]["estimate"]
            worst = tests["T4"]["figures"]["worst"]
            panel.plot([plain, worst], [row, row], color=FAINT, lw=1.5, zorder=1)
            panel.plot(plain, row, "o", ms=5, mec=INK, mfc="white", zorder=3)
            panel.plot(mean, row, "o", ms=6, color=_PASS, zorder=3)
            panel.plot(worst, row, "|", ms=9, mew=2, color=_FAIL, zorder=3)
        plain_axes(panel, "y", frame=False)
        panel.axvline(target, color=SOFT, lw=1, ls=":")
        panel.set_title(title, loc="left", fontsize=11, color=INK)
        panel.set_xscale("symlog", linthresh=0.1)
        panel.set_xlabel("task loss, nats", color=INK)
        panel.set_yticks(range(len(tasks)), tasks, fontsize=9, color=INK)
        panel.set_ylim(len(tasks) - 0.5, -0.5)
        panel.set_xticks([0, 0.05, 0.15, 0.69, 2, 5], ["0", "0.05", "0.15", "ln 2", "2", "5"], fontsize=8)
        panel.minorticks_off()
        panel.tick_params(length=0)
    keys = [
        *panels[0].plot([], [], "o", ms=5, mec=INK, mfc="white", label="the circuit alone (T1)"),
        *panels[0].plot([], [], "o", ms=6, color=_PASS, label="nodes come back, mean of 64 draws (T4)"),
        *panels[0].plot([], [], "|", ms=9, mew=2, color=_FAIL, label="worst of them"),
    ]
    figure.legend(handles=keys, loc="outside lower left", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def controls_figure(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Nodes of the real circuit and of its controls, task by task.

    Args:
        rows: with ``task``, ``kind`` (``real`` or a control's), ``nodes`` (None: out of reach; 0 is drawn at
            one half).
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    kinds = [kind for kind in dict.fromkeys(row["kind"] for row in rows) if kind != "real"]
    sizes = [max(row["nodes"], 0.5) for row in rows if row["nodes"] is not None]
    beyond = 2.5 * max(sizes, default=1)
    figure = new_figure(9, 1.6 + 0.28 * len(tasks))
    panel = figure.subplots()
    colours = (ORANGE, GREEN, PURPLE, OCHRE, PINK)
    for row in rows:
        y, found = tasks.index(row["task"]), row["nodes"] is not None
        nodes = max(row["nodes"], 0.5) if found else beyond
        if row["kind"] == "real":
            panel.plot(nodes, y, "o", ms=7, mec=_PASS, mfc=_PASS if found else "none", zorder=4)
            if found:
                panel.plot([nodes, 10 * nodes], [y, y], color=FAINT, lw=1, zorder=1)
                panel.plot(10 * nodes, y, "|", color=SOFT, ms=8, zorder=1)
        else:
            which = kinds.index(row["kind"])
            lift = 0.12 * (which - (len(kinds) - 1) / 2)
            face = colours[which] if found else "none"
            panel.plot(nodes, y + lift, "sD^vP"[which], ms=5, mec=colours[which], mfc=face, zorder=3)
    plain_axes(panel, "y", frame=False)
    panel.set_xscale("log")
    panel.axvline(beyond / 1.5, color=LINE, lw=1)
    panel.text(beyond, -0.85, "out of reach", ha="center", fontsize=8, color=SOFT)
    panel.set_xlabel("nodes of the smallest circuit found", color=INK)
    panel.set_yticks(range(len(tasks)), tasks, fontsize=9, color=INK)
    panel.set_ylim(len(tasks) - 0.5, -1.1)
    panel.tick_params(length=0)
    keys = panel.plot(
        [], [], "o", ms=7, color=_PASS, label="real task, trained weights (line: up to ten times as many)"
    )
    for which, kind in enumerate(kinds):
        keys += panel.plot([], [], "sD^vP"[which], ms=5, color=colours[which], ls="", label=kind)
    figure.legend(handles=keys, loc="outside lower left", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    return figure
