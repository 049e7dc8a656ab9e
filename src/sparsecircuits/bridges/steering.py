"""Steer a dense model by a node of a sparse one (Gao et al. 2025, §A.4, Fig 9).

1. On both prompts of a pair, the sparse model's node is recorded; its *coefficient* at every token is its
   value on the other prompt minus that on the own.
2. The coefficient times the node's row of the bridge (:mod:`~sparsecircuits.bridges.mapping`) times a
   strength from 0 to 1 is added to what the dense model reads at the same location; or to its stream, for a
   node that writes to the sparse one's (the paper steers reads alone).
3. Measured is what the dense model answers then, on held-out prompts, with intervals over templates.
4. The same is done along other directions of equal length (:mod:`~sparsecircuits.bridges.directions`).

Which prompts are steered, and towards what, see :mod:`~sparsecircuits.bridges.asked`: none is left out for
being answered wrongly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.bridges.asked import Chances, Whose, asked, chances, of_side
from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.directions import (
    STEPS,
    Here,
    gradient_direction,
    here,
    means_direction,
    pushed,
    random_directions,
)
from sparsecircuits.bridges.mapping import (
    Place,
    mapped_rows,
    place_of,
    places,
    require_pair,
    size_ratios,
    stream_nodes,
    written_rows,
)
from sparsecircuits.bridges.sides import Side
from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.interval import clustered_interval, templates_of_rows

#: From nothing to the whole difference.
STRENGTHS = tuple(tenth / 10 for tenth in range(11))
#: Random directions, over which one curve is the mean.
DRAWS = 16


@dataclass(frozen=True, kw_only=True)
class Curve(Config):
    """What the dense model answers, by strength: means over prompts, and their 95% intervals."""

    name: str
    p_other: tuple[float, ...]
    """Probability of the other answer over the vocabulary."""
    p_other_low: tuple[float, ...]
    p_other_high: tuple[float, ...]
    pair: tuple[float, ...]
    """Probability of the other answer among the two (one token against all: as ``p_other``)."""
    pair_low: tuple[float, ...]
    pair_high: tuple[float, ...]
    p_own: tuple[float, ...]
    """Probability of the own answer over the vocabulary."""
    p_own_low: tuple[float, ...]
    p_own_high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Steering(Config):
    """One node's steering; ``to_dict`` is its JSON."""

    format: Literal["sparsecircuits.steering"] = "sparsecircuits.steering"
    version: Literal[1] = 1
    task: str
    node: str
    location: int
    """Which residual location it reads, from 0, or which one it has just been written to."""
    side: Whose = "both"
    """Whose prompts are steered."""
    split: str
    """Of the pairs."""
    prompts: int
    """How many are steered."""
    pairs: int
    """How many they are of."""
    seed: int
    """Of random directions, gradient ascent and intervals."""
    strengths: tuple[float, ...]
    norm: float
    """Length of what is added for a coefficient of 1 at strength 1, along every direction."""
    ratio: float
    """Sparse size by dense size at the location, the mean over reference tokens; 1 for a node that writes."""
    right: float
    """Share of prompts that the dense model answers rightly when it is not steered."""
    directions: tuple[Curve, ...]
    """``bridge``, ``random``, ``means``, ``gradient``."""
    sides: dict[str, Curve]
    """The bridge's curve for prompts of either side: ``left`` (steered to be right ones) and ``right``."""
    circuit_sha256: str | None = None
    """Of the circuit that the node was said to be of, if any."""
    ranking: tuple[tuple[str, float], ...] | None = None
    """Nodes by mean P(other answer) on reference pairs, if they were compared."""


class Ranked(NamedTuple):
    """A node, and the mean P(other answer) on the reference prompts when it steers at strength 1."""

    node: Node
    p_other: float


@torch.no_grad()
def steer(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    node: Node,
    pairs: TokenPairs,
    reference: TokenPairs,
    *,
    strengths: Sequence[float] = STRENGTHS,
    draws: int = DRAWS,
    steps: int = STEPS,
    seed: int = 0,
    side: Whose = "both",
    circuit: Circuit | None = None,
    ranking: Sequence[Ranked] | None = None,
    rows: int = 256,
) -> Steering:
    """Steer the dense model by ``node``.

    Args:
        dense, sparse, bridge: a bridged pair.
        node: of the sparse model; it reads the residual stream, or writes to it.
        pairs: held-out pairs, on which all is measured.
        reference: train pairs: sizes, means and gradients are of them.
        strengths: factors on what is added.
        draws: random directions.
        steps: of gradient ascent from each start.
        seed: of all that is drawn.
        side: whose prompts are steered, as in Fig 9, which makes double quotes single. A node may say of one
            answer alone that it is due.
        circuit: that ``node`` is of: the result has its hash, where it cannot be steered others are named.
        ranking: of :func:`best_node`, to be kept with the result.
        rows: so many prompts run together.

    Raises:
        ConfigError: the parts do not belong together, the node does not touch the residual stream, it does
            not differ between the prompts of reference pairs, or the bridge does not carry it.
    """
    if draws < 1:
        raise ConfigError(f"draws is {draws}; at least one random direction is needed")
    require_pair(dense, sparse, bridge, pairs, reference)
    place = place_of(node, sparse, circuit)
    channels = torch.tensor([node.index], device=pairs.tokens.device)
    ratio = 1.0
    if place.kind == "read":
        ratio = float(size_ratios(dense, sparse, reference, rows=rows)[place.location])
    row = _rows(dense, sparse, bridge, place, channels, ratio)[0]
    if not float(row.norm()):
        raise ConfigError(f"{node} has no effect through the bridge: its norm's gain or its row there is 0")
    known = here(dense, sparse, reference, place, channels, rows=rows).rows(of_side(reference, side))
    means = means_direction(dense, sparse, reference, place, node.index, rows=rows)
    pushes = _pushes(dense, known, place, row, means, draws=draws, steps=steps, seed=seed, rows=rows)
    chosen = of_side(pairs, side)
    at = here(dense, sparse, pairs, place, channels, rows=rows).rows(chosen)
    found = {
        name: _mean([_measured(dense, at, place, push, strengths, rows) for push in some])
        for name, some in pushes.items()
    }
    plain = _measured(dense, at, place, row, [0.0], rows)
    which, clusters = asked(pairs).rows[chosen].tolist(), templates_of_rows(pairs)
    of_row = [clusters[index] for index in which]
    return Steering(
        task=pairs.task,
        node=str(node),
        location=place.location,
        side=side,
        split=pairs.split,
        prompts=len(which),
        pairs=len(pairs),
        seed=seed,
        strengths=tuple(map(float, strengths)),
        norm=float(row.norm()),
        ratio=ratio,
        right=float((plain.pair[0] < 0.5).double().mean()),
        directions=tuple(_curve(name, some, of_row, seed) for name, some in found.items()),
        sides=_by_side(found["bridge"], [index < len(pairs) for index in which], of_row, seed),
        circuit_sha256=None if circuit is None else circuit_hash(circuit),
        ranking=None if ranking is None else tuple((str(one.node), one.p_other) for one in ranking),
    )


@torch.no_grad()
def best_node(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    reference: TokenPairs,
    *,
    circuit: Circuit | None = None,
    side: Whose = "both",
    rows: int = 256,
) -> list[Ranked]:
    """Nodes by how much they steer the reference prompts at strength 1, the best first.

    Args:
        dense, sparse, bridge: a bridged pair.
        reference: train pairs; never those that :func:`steer` measures on.
        circuit: its nodes that read the residual stream or write to it are tried; None: all that ever differ
            between the prompts, of which there may be thousands: one run of the dense model's rest for each.
        side: whose prompts are steered.
        rows: so many prompts run together.

    Raises:
        ConfigError: the parts do not belong together, or there is no node to try.
    """
    require_pair(dense, sparse, bridge, reference)
    device = reference.tokens.device
    ratios = size_ratios(dense, sparse, reference, rows=rows)
    tried = None if circuit is None else stream_nodes(circuit.nodes, sparse)
    if tried is not None and not tried:
        raise ConfigError(f"the circuit for {reference.task} has no node that touches the residual stream")
    ranked = []
    for place in places(sparse):
        channels = torch.arange(sparse.d_model, device=device)
        if tried is not None:
            channels = torch.tensor(
                [node.index for node in tried if node.at == place.site], device=device
            ).long()
        if not len(channels):
            continue
        at = here(dense, sparse, reference, place, channels, rows=rows).rows(of_side(reference, side))
        ratio = float(ratios[place.location]) if place.kind == "read" else 1.0
        pushes = _rows(dense, sparse, bridge, place, channels, ratio)
        for index, channel in enumerate(channels.tolist()):
            if not bool(at.change[..., index].any()) or not bool(pushes[index].any()):
                continue  # it cannot steer
            p_other = _measured(dense, at, place, pushes[index], [1.0], rows, index).other.mean()
            ranked.append(Ranked(Node(place.site, channel), float(p_other)))
    if not ranked:
        raise ConfigError(f"no node differs between the prompts of the {len(reference)} pairs")
    return sorted(ranked, key=lambda one: -one.p_other)


def _pushes(
    dense: Side,
    known: Here,
    place: Place,
    row: Tensor,
    means: Tensor,
    *,
    draws: int,
    steps: int,
    seed: int,
    rows: int,
) -> dict[str, Sequence[Tensor]]:
    """What is added for a unit of change along each direction, as long as ``row`` [d]; several random ones.

    Args:
        dense: the model.
        known: the reference prompts.
        place: of the node.
        row: the bridge's.
        means: [d] the dense model's own, of any length.
        draws: random ones.
        steps: of gradient ascent.
        seed: of what is drawn.
        rows: so many prompts run together.
    """
    generator = torch.Generator().manual_seed(seed)
    means = row.norm() * means / means.norm()
    random = random_directions(draws, row, generator)
    starts = torch.stack([row, means, random_directions(1, row, generator)[0]])
    best = gradient_direction(dense, known, place, starts, generator, steps=steps, rows=rows)
    return {"bridge": [row], "random": list(random), "means": [means], "gradient": [best]}


def _by_side(found: Chances, left: Sequence[bool], clusters: Sequence[str], seed: int) -> dict[str, Curve]:
    """The bridge's curve of left prompts and of right ones, where there are some."""
    halves = {
        name: [i for i, is_left in enumerate(left) if is_left == (name == "left")]
        for name in ("left", "right")
    }
    return {
        name: _curve("bridge", Chances(*(part[:, some] for part in found)), [clusters[i] for i in some], seed)
        for name, some in halves.items()
        if some
    }


def _rows(dense: Side, sparse: Side, bridge: Bridge, place: Place, channels: Tensor, ratio: float) -> Tensor:
    """[n, dense d_model] what a unit of each node's change adds."""
    if place.kind == "write":
        return written_rows(bridge, place.location, channels)
    return mapped_rows(dense, sparse, bridge, place.location, channels, ratio)


def _measured(
    dense: Side, at: Here, place: Place, push: Tensor, strengths: Sequence[float], rows: int, node: int = 0
) -> Chances:
    """[strengths, n] of each."""
    by_strength = []
    for strength in strengths:
        parts = [
            chances(pushed(dense, some, place, strength * push, node), some.own, some.other)
            for some in at.split(rows)
        ]
        by_strength.append([torch.cat(column) for column in zip(*parts, strict=True)])
    return Chances(*(torch.stack(column).cpu() for column in zip(*by_strength, strict=True)))


def _mean(some: Sequence[Chances]) -> Chances:
    return Chances(*(torch.stack(column).mean(0) for column in zip(*some, strict=True)))


def _curve(name: str, found: Chances, clusters: Sequence[str], seed: int) -> Curve:
    columns: dict[str, tuple[float, ...]] = {}
    for key, values in (("p_other", found.other), ("pair", found.pair), ("p_own", found.own)):
        between = [clustered_interval(one, clusters, seed=seed) for one in values]
        columns[key] = tuple(values.double().mean(1).tolist())
        columns[f"{key}_low"] = tuple(one.low for one in between)
        columns[f"{key}_high"] = tuple(one.high for one in between)
    return Curve.from_dict({"name": name, **columns})
