"""One look: frames, saving, signs."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.viz.pen import sheet, sign_colour, sign_dashes, signed
from sparsecircuits.viz.style import COLOURS, MARKERS, new_figure, plain_axes, save_chart, series_style


def test_every_line_looks_different() -> None:
    count = len(COLOURS) * len(MARKERS)
    assert len({series_style(index) for index in range(count)}) == count
    assert series_style(0) == series_style(count)


def test_frames() -> None:
    axes = new_figure(2, 2).add_subplot()
    plain_axes(axes, "y")
    assert [side for side in axes.spines if axes.spines[side].get_visible()] == ["left", "bottom"]
    plain_axes(axes, "y", frame=False)
    assert not any(axes.spines[side].get_visible() for side in axes.spines)


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_same_figure_gives_the_same_file(tmp_path: Path, ending: str) -> None:
    for name in "ab":
        figure = new_figure(2, 2, "costs $\\frac{$")
        figure.add_subplot().plot([1, 2])
        save_chart(figure, tmp_path / "deep" / f"{name}.{ending}")
    one, other = ((tmp_path / "deep" / f"{name}.{ending}").read_bytes() for name in "ab")
    assert one == other


def test_signs_go_by_colour_and_dashes() -> None:
    assert sign_colour(-0.1) != sign_colour(0.1)
    assert sign_dashes(0.1, 2) is None
    assert sign_dashes(-0.1, 2) == (3.5, 2)
    # Two decimals, and two digits of what is smaller than these show.
    assert [signed(number) for number in (-0.254, 0, -0.001)] == ["−0.25", "+0.00", "−0.0010"]


def test_a_sheet_is_measured_in_pixels() -> None:
    figure, axes = sheet(300, 200, downward=True)
    assert figure.get_size_inches().tolist() == [3, 2]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 300), (200, 0))
