"""The authors' family: shapes counted weight by weight, densities, and what cannot be."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.recipes.family import EXPANSIONS, FRACTIONS, Member, family, members
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.schedules import Densities


def count(e: int) -> int:
    """By hand: d = 256 e, 8 layers."""
    d, vocab = 256 * e, 2048
    matrices = 3 * d * d + d * d + 4 * d * d + 4 * d * d
    vectors = (3 * d + d) + (4 * d + d) + 2 * d + d // 16  # biases, two norms, sinks
    return 8 * (matrices + vectors) + d + 2 * vocab * d + 1024 * d + vocab * vocab


@pytest.mark.parametrize(
    ("e", "millions"), [(1, "11.8"), (2, "32.0"), (4, "110.2"), (8, "417.5"), (16, "1636.1")]
)
def test_every_parameter_is_counted(e: int, millions: str) -> None:
    with torch.device("meta"):  # no memory
        model = SparseGPT(family(f"paper/{e}x").model)
    total = sum(parameter.numel() for parameter in model.parameters())
    assert total == count(e)
    assert f"{total / 1e6:.1f}" == millions


def test_the_scripts_example() -> None:
    recipe = family("paper/4x").train
    assert family("paper/4x") == family("paper/4x-1.9M")
    assert (recipe.density, recipe.embed_density) == (1 / 64, 1 / 16)
    assert (recipe.steps, recipe.rows, recipe.context, recipe.eps, recipe.lr) == (
        244140,
        512,
        256,
        0.1,
        0.0128,
    )
    assert recipe.steps * 512 * 256 == pytest.approx(32e9, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "density", "embeddings"),
    [
        ("paper/1x-7.4M", 1.0, 1.0),
        ("paper/2x-14.8M", 1 / 2, 1.0),  # p / e = 1
        ("paper/8x-0.9M", 1 / 512, 1 / 64),
        ("paper/16x-14.8M", 1 / 128, 1 / 8),
    ],
)
def test_densities(name: str, density: float, embeddings: float) -> None:
    recipe = family(name).train
    assert (recipe.density, recipe.embed_density) == (density, embeddings)


@pytest.mark.parametrize("e", [2, 4, 8, 16])
def test_l0_is_the_same_at_every_width(e: int) -> None:
    # p x (8 x 12 x 256² + 2 x 2048 x 256 + 1024 x 256) = 7,602,176 p, nominally 7.424M p.
    recipe = family(f"paper/{e}x-3.7M").train
    assert recipe.embed_density is not None
    with torch.device("meta"):
        model = SparseGPT(family(f"paper/{e}x-3.7M").model)
    densities = Densities(recipe.density, recipe.embed_density)
    assert sum(matrix.budget(densities) for matrix in sparse_matrices(model, 4)) == 3_801_088


def test_what_cannot_be_says_why_and_what_can() -> None:
    with pytest.raises(ConfigError, match=r"need e at most 256 p / 4 = 8; at 16x there are 1.9M, 3.7M, 7.4M"):
        family("paper/16x-0.9M")
    with pytest.raises(ConfigError, match=r"p = 2 is above e² = 1; at 1x there are 0.9M, 1.9M, 3.7M, 7.4M$"):
        family("paper/1x-14.8M")
    assert len(list(members())) == 5 * 5 - 2


@pytest.mark.parametrize("name", ["paper/3x", "paper/4x-5M", "paper/4", "paper/", "paper/x-0.9M"])
def test_an_unknown_one_says_what_the_family_is(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown preset '{name}'; the family is paper/EXPANSIONx-L0M"):
        family(name)


def test_names_lead_back() -> None:
    for member in members():
        assert family(member.name) == member.preset()
    assert Member(4, "3.7").name == "paper/4x-3.7M"
    assert (tuple(FRACTIONS.values()), EXPANSIONS) == ((1 / 8, 1 / 4, 1 / 2, 1, 2), (1, 2, 4, 8, 16))
