"""Charts of cards: what is drawn is what the cards say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from sparsecircuits.viz.card_charts import cards_figure, controls_figure, restored_figure
from sparsecircuits.viz.style import save_chart


def points(panel: Axes) -> list[tuple[str, float, float]]:
    """Marker, x and y of every single point of a panel."""
    found = []
    for line in panel.get_lines():
        x, y = np.asarray(line.get_xdata()).ravel(), np.asarray(line.get_ydata()).ravel()
        if len(x) == 1:
            found.append((str(line.get_marker()), float(x[0]), float(y[0])))
    return found


VERDICTS = ("Sufficient", "Robust", "Controlled", "Faithful", "Verified")


def card(task: str, **words: str) -> dict[str, Any]:
    tests = [
        {"test": test, "word": word, "estimate": 0.1, "figures": {"worst": 0.4}}
        for test, word in words.items()
    ]
    return {
        "task": task,
        "tests": tests,
        "verdicts": [{"name": name, "state": "open", "failed": [], "missing": []} for name in VERDICTS],
    }


def test_a_mark_for_every_test_and_verdict() -> None:
    figure = cards_figure(
        {"ours": [card("a", T1="pass", T4="FAIL"), card("b", T1="n/a")], "theirs": [card("b", T4="open")]}
    )
    ours, theirs = figure.axes
    assert (ours.get_title("left"), theirs.get_title("left")) == ("ours", "theirs")
    assert [label.get_text() for label in ours.get_xticklabels()] == ["T1", "T4", "", *VERDICTS]
    drawn = {(x, y): marker for marker, x, y in points(ours)}
    assert (drawn[0, 0], drawn[1, 0], drawn[0, 1]) == ("o", "X", "_")
    assert (1, 1) not in drawn
    assert len(drawn) == 3 + 2 * 5


def test_plain_loss_mean_and_worst() -> None:
    figure = restored_figure({"ours": [card("a", T1="pass", T4="pass"), card("b", T1="pass")]})
    (panel,) = figure.axes
    drawn = [(x, marker) for marker, x, _ in points(panel)]
    assert drawn == [(0.1, "o"), (0.1, "o"), (0.4, "|")]


def test_sizes_of_controls_and_what_is_out_of_reach(tmp_path: Path) -> None:
    rows = [
        {"task": "a", "kind": "real", "nodes": 10},
        {"task": "a", "kind": "nonsense-pair", "nodes": 40},
        {"task": "a", "kind": "random-weights", "nodes": None},
        {"task": "b", "kind": "real", "nodes": 0},
    ]
    figure = controls_figure(rows)
    (panel,) = figure.axes
    drawn = [(marker, x) for marker, x, _ in points(panel)]
    assert ("s", 40) in drawn
    assert ("D", 100) in drawn  # 2.5 times the largest
    assert [x for marker, x in drawn if marker == "o"] == [10, 0.5]
    save_chart(figure, tmp_path / "controls.png")
    assert (tmp_path / "controls.png").stat().st_size > 5000
