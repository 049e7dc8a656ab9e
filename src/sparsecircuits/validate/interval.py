"""95% intervals of means over prompts, by a bootstrap that draws whole templates.

Prompts of one template resemble each other, so that as many independent prompts would promise too narrow an
interval: templates are drawn with replacement, each with all of its prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.tasks.pairs import TokenPairs

#: Bootstrap draws.
DRAWS = 1000


class Interval(NamedTuple):
    """The middle 95% of what other templates could have given."""

    low: float
    high: float


def clustered_interval(values: Tensor, clusters: Sequence[str], *, seed: int = 0) -> Interval:
    """The interval of the mean of ``values``.

    Args:
        values: [rows] one number each.
        clusters: the cluster of each row, such as its template.
        seed: of the draws.

    Raises:
        ValueError: not as many clusters as values, or none.

    >>> clustered_interval(torch.ones(4), ["a", "a", "b", "b"])
    Interval(low=1.0, high=1.0)
    """
    if len(values) != len(clusters) or not clusters:
        raise ValueError(f"{len(values)} values and {len(clusters)} clusters; one each, and at least one")
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    of = torch.tensor([names[name] for name in clusters], device=values.device)
    sums = torch.zeros(len(names), dtype=torch.double).index_add_(0, of, values.double())
    sizes = torch.bincount(of, minlength=len(names)).double()
    drawn = _drawn(len(names), seed)
    return middle(sums[drawn].sum(1) / sizes[drawn].sum(1))


def drawn_weights(clusters: Sequence[str], *, seed: int = 0) -> Tensor:
    """[draws, rows] what each row counts in each draw of the bootstrap; a draw's weights sum to 1.

    For statistics that are no mean: work them out under each draw's weights, and take the :func:`middle`.

    >>> drawn_weights(["a", "a", "b", "b"]).unique()
    tensor([0.0000, 0.2500, 0.5000], dtype=torch.float64)
    """
    names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    of = torch.tensor([names[name] for name in clusters])
    drawn = _drawn(len(names), seed)
    times = torch.zeros(drawn.shape, dtype=torch.double)
    weights = times.scatter_add_(1, drawn, torch.ones_like(times))[:, of]
    return weights / weights.sum(1, keepdim=True)


def middle(values: Tensor) -> Interval:
    """The interval that holds 95% of ``values`` [draws]."""
    low, high = values.quantile(torch.tensor([0.025, 0.975], dtype=torch.double)).tolist()
    return Interval(low, high)


def _drawn(clusters: int, seed: int) -> Tensor:
    """[draws, clusters] which clusters each draw consists of."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(clusters, (DRAWS, clusters), generator=generator)


def ratio_rows(above: Tensor, below: Tensor) -> Tensor:
    """[rows] whose mean is ``above.mean() / below.mean()``, and which vary over prompts as that does.

    A ratio of means to first order in each prompt, so that an interval of a mean can be taken of it.

    >>> ratio_rows(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0]))
    tensor([1., 3.])
    """
    ratio = above.mean() / below.mean()
    return ratio + (above - ratio * below) / below.mean()


def templates_of_rows(pairs: TokenPairs) -> tuple[str, ...]:
    """The template of every row: left prompts, then right ones. Where there is only one, the pair instead."""
    if len(set(pairs.templates)) == 1:
        return tuple(str(pair) for pair in range(len(pairs))) * 2
    return pairs.templates * 2
