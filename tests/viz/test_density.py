"""The picture of two losses: it says what it must, shows every token, and is the same every time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.image import imread

from sparsecircuits.viz.density import density_figure, draw_density

FIRST, SECOND = np.array([0.1, 0.1, 2.0, 3.9]), np.array([0.1, 0.1, 3.0, 2.9])
NAMES = ("sparse", "dense $\\frac{$")


def figure(correlation: float | None = 0.5) -> Figure:
    return density_figure(FIRST, SECOND, names=NAMES, correlation=correlation)


def test_what_it_says() -> None:
    axes, bar = figure().axes
    assert axes.get_title(loc="left") == "4 tokens, r = 0.500"
    assert axes.get_xlabel() == "sparse: loss of a token (nats)"
    assert axes.get_ylabel() == "dense $\\frac{$: loss of a token (nats)"
    # Means by hand: 6.1 / 4 and 6.1 / 4.
    texts = [text.get_text() for text in axes.texts]
    assert texts == ["mean 1.525", "mean 1.525", "sparse is better", "dense $\\frac{$ is better"]
    assert bar.get_ylabel() == "tokens in a cell"


def test_every_token_is_in_a_cell() -> None:
    axes = figure().axes[0]
    (mesh,) = (child for child in axes.collections if isinstance(child, QuadMesh))
    counts = np.ma.filled(np.ma.asarray(mesh.get_array()), 0)
    assert sorted(counts[counts > 0]) == [1, 1, 2]
    assert axes.get_xlim() == axes.get_ylim() == (0, 4)
    # Of 120 cells along 4 nats, a loss of 2 falls into cell 60 and 3 into cell 90.
    assert counts.reshape(120, 120)[90, 60] == 1


def test_no_correlation() -> None:
    assert figure(None).axes[0].get_title(loc="left") == "4 tokens, r = undefined"


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_formats_the_same_every_time(tmp_path: Path, ending: str) -> None:
    paths = [tmp_path / "pictures" / f"{name}.{ending}" for name in ("one", "two")]
    for path in paths:
        draw_density(FIRST, SECOND, path, names=NAMES, correlation=0.5, dpi=60)
    start = paths[0].read_bytes()[:60]
    assert {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending] in start
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_picture_is_not_blank(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.exponential(2, 5000)
    draw_density(first, first + rng.normal(0, 0.1, 5000) ** 2, tmp_path / "p.png", names=NAMES, correlation=1)
    pixels = imread(tmp_path / "p.png")[..., :3]
    # Tokens are blue: much more blue than red.
    assert ((pixels[..., 2] - pixels[..., 0]) > 0.15).mean() > 0.02
    assert (pixels == 1).all(-1).mean() > 0.5
