"""Pictures of what training costs: dots and lines stand where the numbers say."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from sparsecircuits.viz.speed_charts import HEADROOM, arms_figure, price_figure

ARMS = [
    {
        "title": "one",
        "rows": [
            {"name": "exact", "equal": "tokens", "seconds": 10.0, "losses": [2.0, 2.1]},
            {"name": "M = 10", "equal": "tokens", "seconds": 4.0, "losses": [2.2]},
            {"name": "M = 10", "equal": "time", "seconds": 10.0, "losses": [1.9]},
            {"name": "M = 20", "equal": "tokens", "seconds": 3.0, "losses": []},
        ],
    },
    {"title": "two", "rows": [{"name": "M = 10", "equal": "tokens", "seconds": 1.0, "losses": [3.0]}]},
]
PRICES = [
    {
        "title": "one",
        "unit": "seconds",
        "sparse": {"exact": [(10.0, 2.0), (20.0, 1.8)], "M = 10": [(5.0, 2.1)]},
        "dense": [(1.0, 2.5), (2.0, 1.7), (1.5, 9.0)],
        "frontier": [(1.0, 2.5), (2.0, 1.7)],
    }
]


def dots(figure: Figure, panel: int) -> list[tuple[float, float, str, bool]]:
    """Where each stands, its colour, and whether it is hollow."""
    return [
        (x, y, str(line.get_color()), line.get_markerfacecolor() == "none")
        for line in figure.axes[panel].lines
        if line.get_marker() == "o"
        for x, y in np.asarray(line.get_xydata()).tolist()
    ]


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_dot_a_seed_and_one_colour_a_way_to_train() -> None:
    figure = arms_figure(ARMS)
    first, second = dots(figure, 0), dots(figure, 1)
    assert [dot[:2] for dot in first] == [(10.0, 2.0), (10.0, 2.1), (4.0, 2.2), (10.0, 1.9)]
    assert [dot[3] for dot in first] == [False, False, False, True]
    assert first[2][2] == first[3][2] == second[0][2]
    assert first[0][2] != first[2][2]
    assert legend(figure) == ["exact", "M = 10", "M = 10, equal time"]
    bars = [line for line in figure.axes[0].lines if line.get_marker() == "None"]
    assert np.asarray(bars[0].get_ydata()).tolist() == [2.05, 2.05]


def test_sparse_and_dense_on_a_logarithmic_axis() -> None:
    figure = price_figure(PRICES)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    drawn = [np.asarray(line.get_xydata()).tolist() for line in axes.lines]
    assert drawn == [
        [[1.0, 2.5], [2.0, 1.7], [1.5, 9.0]],
        [[1.0, 2.5], [2.0, 1.7]],
        [[10.0, 2.0], [20.0, 1.8]],
        [[5.0, 2.1]],
    ]
    bottom, top = axes.get_ylim()
    assert bottom < 1.7
    assert top == bottom + HEADROOM * (2.1 - bottom)  # the dense one of 9 nats is cut off
    assert legend(figure) == ["dense, each length's best rate", "dense, the best", "exact", "M = 10"]


def test_a_curve_has_the_same_look_in_each_panel() -> None:
    second = {**PRICES[0], "sparse": {"M = 10": [(5.0, 2.1)], "exact, not annealed": [(4.0, 2.2)]}}
    one, two = price_figure([*PRICES, second]).axes
    assert [line.get_color() for line in one.lines[3:]] == [two.lines[2].get_color()]
    assert one.lines[2].get_color() == two.lines[3].get_color()  # told apart by its dashes
    assert (one.lines[2].get_linestyle(), two.lines[3].get_linestyle()) == ("-", "--")
