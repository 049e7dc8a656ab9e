"""Prompts at one location of the dense model, pushed along a direction; and directions to push along.

What is pushed is what the sublayer there reads, for nodes that read, or the stream, for nodes that write.

All directions have the length of the bridge's own, and are scaled by the same coefficients: by how much the
node differs between the prompts, token by token. They differ in where they come from:

* *random*: drawn evenly from the sphere;
* *means*: by how much the dense model's own reads differ between the prompts of reference pairs, per unit of
  the node's difference (least squares over tokens);
* *gradient*: found by gradient ascent on the reference prompts, from several starts: the most that any one
  direction at this location is known to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.bridges.asked import answered, asked
from sparsecircuits.bridges.mapping import Place, batches, real
from sparsecircuits.bridges.sides import Ours, Side, sublayers, until
from sparsecircuits.errors import ConfigError
from sparsecircuits.tasks.pairs import TokenPairs

#: Steps of gradient ascent from each start, prompts in each, and the rate of its Adam, which falls to 0.
STEPS, ROWS, RATE = 100, 64, 0.1


class Here(NamedTuple):
    """Prompts at one place; [n] of each."""

    x: Tensor
    """[n, pos, d_model] the dense model's residual stream."""
    change: Tensor
    """[n, pos, nodes] the sparse model's nodes on the other prompt minus on the own; 0 at padding."""
    tokens: Tensor
    last: Tensor
    own: Tensor
    other: Tensor

    def rows(self, index: Tensor) -> Here:
        """Some of the prompts."""
        return Here(*(part[index] for part in self))

    def split(self, rows: int) -> Iterator[Here]:
        """So many after the other."""
        return (Here(*parts) for parts in zip(*(part.split(rows) for part in self), strict=True))


@torch.no_grad()
def here(
    dense: Side, sparse: Side, pairs: TokenPairs, place: Place, channels: Tensor, *, rows: int = 256
) -> Here:
    """The prompts that can be steered, at ``place``, with the changes of ``channels`` [n] of its nodes."""
    found = []
    for part in batches(pairs, rows):
        ask = asked(part)
        values = values_at(sparse, part.tokens, place)[..., channels]
        change = (values[ask.partner] - values[ask.rows]) * real(part)[ask.rows, :, None]
        tokens = part.tokens[ask.rows]
        found.append(
            Here(
                until(dense, tokens, place.location), change, tokens, part.last[ask.rows], ask.own, ask.other
            )
        )
    # Batches hold left prompts, then right ones; so shall the whole.
    joined = Here(*map(torch.cat, zip(*found, strict=True)))
    if pairs.form == "one_against_all":
        return joined
    halves = [len(batch.last) // 2 for batch in found]
    left = torch.cat([torch.arange(2 * half) < half for half in halves])
    return joined.rows(torch.argsort(~left, stable=True).to(joined.last.device))


def values_at(side: Side, tokens: Tensor, place: Place) -> Tensor:
    """[batch, pos, d_model] what a model's sublayer reads there, or what the one before wrote."""
    if place.kind == "read":
        return side.read(until(side, tokens, place.location), place.location)
    assert isinstance(side, Ours)
    return side.written(until(side, tokens, place.location - 1), place.location - 1)


def pushed(dense: Side, at: Here, place: Place, push: Tensor, node: int = 0) -> Tensor:
    """[n, vocab] logits at the prompts' ends once the node's change times ``push`` [d] is added."""
    added = at.change[..., node, None] * push
    index, x = place.location, at.x
    if place.kind == "read":
        x, index = dense.sublayer(x, index, added), index + 1
    else:
        x = x + added
    for later in range(index, sublayers(dense)):
        x = dense.sublayer(x, later)
    return answered(dense, x, at.tokens, at.last)


def random_directions(count: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """[count, d] of the length of ``like`` [d]."""
    drawn = torch.randn(count, len(like), generator=generator).to(like)
    return like.norm() * drawn / drawn.norm(dim=1, keepdim=True)


@torch.no_grad()
def means_direction(
    dense: Side, sparse: Side, reference: TokenPairs, place: Place, channel: int, *, rows: int = 256
) -> Tensor:
    """[d] the v of least squares in ``change of the dense model = change of the node * v``, over all tokens.

    The dense model's change is that of what its sublayer reads there, or of its stream behind a write.

    Raises:
        ConfigError: the node is the same on both prompts of every pair.
    """
    above, below = torch.zeros(dense.d_model, device=reference.tokens.device), 0.0
    for part in batches(reference, rows):
        n, counted = len(part), real(part)[: len(part)]
        theirs = until(dense, part.tokens, place.location)
        theirs = dense.read(theirs, place.location) if place.kind == "read" else theirs
        values = values_at(sparse, part.tokens, place)[..., channel]
        change = (values[n:] - values[:n]) * counted  # from right to left both signs turn: the same again
        above += torch.einsum("bt,btd->d", change, theirs[n:] - theirs[:n])
        below += float(change.square().sum())
    if not below:
        raise ConfigError(
            f"{place.site}.{channel} is the same on both prompts of all "
            f"{len(reference)} reference pairs: there is no difference to steer by"
        )
    return above / below


def log_chance(dense: Side, at: Here, place: Place, push: Tensor) -> Tensor:
    """The mean over prompts of log P(other answer), over the vocabulary."""
    logits = pushed(dense, at, place, push).float()
    return logits.log_softmax(-1).gather(1, at.other[:, None]).mean()


def gradient_direction(
    dense: Side,
    at: Here,
    place: Place,
    starts: Tensor,
    generator: torch.Generator,
    *,
    steps: int = STEPS,
    rows: int = 256,
) -> Tensor:
    """[d] of the length of the starts, for which P(other answer) is largest at strength 1.

    Args:
        dense: the model.
        at: the reference prompts; each step is on :data:`ROWS` of them, the choice is on all.
        place: of the push.
        starts: [n, d] of one length. They are in the choice too.
        generator: which prompts.
        steps: from each start.
        rows: so many prompts run together.
    """
    norm, width = starts[0].norm(), starts.shape[1]
    found = list(starts)
    for start in starts:
        w = (width**0.5 * start / norm).clone().requires_grad_()  # entries of about 1
        adam = torch.optim.Adam([w], lr=RATE)
        for step in range(steps):
            some = torch.randperm(len(at.last), generator=generator)[:ROWS].to(at.last.device)
            adam.param_groups[0]["lr"] = RATE * (1 - step / steps)
            with torch.enable_grad():
                gain = log_chance(dense, at.rows(some), place, norm * w / w.norm())
                (grad,) = torch.autograd.grad(gain, [w])
            w.grad = -grad
            adam.step()
            with torch.no_grad():
                w.mul_(width**0.5 / w.norm())
        found.append((norm * w / w.norm()).detach())
    with torch.no_grad():
        scores = [
            sum(float(log_chance(dense, some, place, push)) * len(some.last) for some in at.split(rows))
            for push in found
        ]
    return found[scores.index(max(scores))]
