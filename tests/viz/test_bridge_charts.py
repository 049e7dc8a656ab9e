"""Pictures of a bridge say what the figures say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from sparsecircuits.viz.bridge_charts import crossings_figure, steering_figure, transfer_figure
from sparsecircuits.viz.style import save_chart


def report(layers: int) -> dict[str, Any]:
    places = [f"{layer}.resid_{half}" for layer in range(layers) for half in ("in", "mid")] + ["final_resid"]
    count = len(places)
    return {
        "format": "sparsecircuits.bridge_report", "version": 1,
        "locations": places, "dense": 1.9, "sparse": 2.0, "worse": 2.0, "unbridged": None,
        "mean_excess": 0.01, "largest_excess": 0.25, "encode": [0.1] * count, "decode": [0.3] * count,
        "to_sparse": [2.0 + 0.01 * row for row in range(count)], "to_dense": [2.25] + [1.95] * (count - 1),
        "mixtures": [2.05, 2.1], "crossings": [1, 3],
    }  # fmt: skip


def steering(task: str, pair: tuple[float, ...] = (0.0, 0.5, 0.9)) -> dict[str, Any]:
    curves = {"p_other": [0.0, 0.4, 0.9], "pair": list(pair), "p_own": [1.0, 0.5, 0.1]}
    curve = {f"{key}{end}": values for key, values in curves.items() for end in ("", "_low", "_high")}
    return {
        "format": "sparsecircuits.steering", "version": 1, "task": task,
        "node": "0.attn.act_in.3", "prompts": 256, "strengths": [0.0, 0.5, 1.0],
        "directions": [
            {"name": name, **curve} for name in ("bridge", "random", "means", "gradient")
        ],
    }  # fmt: skip


def transfer(task: str) -> dict[str, Any]:
    share = {
        name: {"estimate": value, "low": value - 0.05, "high": value + 0.05, "per_draw": None}
        for name, value in (("circuit", 0.8), ("rest", -0.1), ("all", 0.95), ("own", 1.0))
    }
    share["random"] = {"estimate": 0.02, "low": 0.0, "high": 0.04, "per_draw": [0.0, 0.04]}
    return {
        "format": "sparsecircuits.transfer", "version": 1, "task": task, "nodes": ["0.attn.act_in.3"],
        "prompts": 200, "share": share,
    }  # fmt: skip


def texts(figure: Figure) -> list[str]:
    found = [text.get_text() for axes in figure.axes for text in axes.texts]
    found += [label.get_text() for axes in figure.axes for label in axes.get_yticklabels()]
    return found + [axes.get_title(loc="left") for axes in figure.axes]


@pytest.mark.parametrize("layers", [1, 4])
def test_every_crossing_has_its_figure(layers: int, tmp_path: Path):
    figure = crossings_figure(report(layers))
    said = texts(figure)
    places = 2 * layers + 1
    for row in range(places):
        assert f"{0.01 * row:+.3f}" in said
    assert said.count("+0.250") == 1
    assert said.count("-0.050") == places - 1
    assert "before MLP 0" in said
    assert "before the unembedding" in said
    assert "+0.250 at worst" in figure.get_suptitle()
    save_chart(figure, tmp_path / "a.png", dpi=40)


def test_curves_of_several_tasks(tmp_path: Path):
    figure = steering_figure([steering("single_double_quote"), steering("while_return_true")])
    assert len(figure.axes) == 4
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "the node, through the bridge", "random directions", "the dense model's own means",
        "best direction by gradient",
    ]  # fmt: skip
    assert list(lines[0].get_ydata()) == [0.0, 0.4, 0.9]  # type: ignore[arg-type]
    assert "while_return_true\n0.attn.act_in.3, 256 prompts" in texts(figure)
    save_chart(figure, tmp_path / "a.png", dpi=40)


def test_shares_and_draws(tmp_path: Path):
    figure = transfer_figure([transfer("single_double_quote")])
    said = [text.strip() for text in texts(figure)]
    for words in ("80%", "-10%", "95%", "100%", "2%", "the circuit's nodes", "as many random nodes"):
        assert words in said
    dots = [line for line in figure.axes[0].get_lines() if line.get_marker() == "."]
    assert [list(line.get_xdata()) for line in dots] == [[0.0, 0.04]]  # type: ignore[arg-type]
    save_chart(figure, tmp_path / "a.png", dpi=40)


def test_one_token_against_all_has_no_second_answer(tmp_path: Path):
    found = [steering("single_double_quote"), steering("class_def", pair=(0.0, 0.4, 0.9))]
    upper, lower = steering_figure(found).axes[1::2]
    assert [line.get_ydata()[-1] for line in upper.get_lines()] == [0.9] * 4  # type: ignore[index]
    assert len(lower.get_lines()) == 0
    assert "one token against all" in lower.texts[0].get_text()


def test_no_share_is_drawn_outside_its_panel():
    far = transfer("single_double_quote")
    far["share"]["circuit"] = {"estimate": 1.8, "low": 1.2, "high": 2.4}
    far["share"]["random"] = {"estimate": -0.001, "low": -0.1, "high": 0.1, "per_draw": [-1.5, 1.1]}
    figure = transfer_figure([transfer("while_return_true"), far])
    for panel in figure.axes:  # one scale for both
        left, right = panel.get_xlim()
        assert left < -1.5
        assert right > 2.4
    figure.draw_without_rendering()
    for words in figure.axes[1].texts:
        assert words.get_window_extent().x1 < figure.bbox.x1
    said = [words.get_text().strip() for words in figure.axes[1].texts]
    assert said == ["100%", "95%", "180%", "-10%", "0%"]


@pytest.mark.parametrize("draw", [steering_figure, transfer_figure])
def test_a_long_name_does_not_reach_into_the_next_panel(draw: Any):
    one = (steering if draw is steering_figure else transfer)("m" * 64)
    figure = draw([one, one])
    figure.draw_without_rendering()
    name = figure.axes[0].get_title(loc="left").partition("\n")[0]
    assert name == "m" * 43 + "…"
