"""From masks to a circuit: bisect for the fewest nodes that reach the target, then clean up (§A.5).

Nodes are sorted by τ; the smallest prefix whose loss reaches the target is found by bisection among
the nodes that the mask run kept; if those do not suffice, others are added. The clean-up, our
addition, does what the authors did by hand: it tries to remove nodes, several at once and then
singly, and keeps every removal that leaves the loss within the target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch

from sparsecircuits.model import Node

#: Whether the circuit with exactly these nodes holds a target loss.
Reaches = Callable[[frozenset[Node], float], bool]
#: Of a circuit, how much each node of the model is estimated to lower its loss by being live.
Worth = Callable[[frozenset[Node]], Mapping[Node, float]]
#: Each time that added nodes are not enough, so many times as many more are.
GROWTH = 1.3
#: So many other nodes are tried in place of each.
RIVALS = 2
#: Of those that are estimated to be worth at least this share of it.
RIVALRY = 0.5
#: One takes a node's place if the loss is lower than so many times what it was.
BETTER = 0.95


def bisect_size(ranked: Sequence[Node], reaches: Reaches, target: float) -> frozenset[Node] | None:
    """The smallest prefix of ``ranked`` that reaches ``target``, assuming that more nodes never hurt.

    Args:
        ranked: nodes, the most important first.
        reaches: whether a set of nodes holds a target.
        target: in nats.

    Returns:
        The nodes, or None where even all of ``ranked`` miss the target.
    """
    if not reaches(frozenset(ranked), target):
        return None
    low, high = 0, len(ranked)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(frozenset(ranked[:middle]), target) else (middle, high)
    return frozenset(ranked[:high])


def grow(
    nodes: frozenset[Node], worth: Worth, reaches: Reaches, target: float, most: int | None = None
) -> frozenset[Node] | None:
    """Add the nodes that are estimated to help most until the target is reached.

    One at a time to begin with, then more and more at once. (By rank would be in arbitrary order: what a
    mask run has turned off lies wherever it came to rest.)

    Args:
        nodes: a circuit that misses the target.
        worth: of a set of nodes, what each node of the model is estimated to lower the loss by.
        reaches: whether a set of nodes holds a target.
        target: in nats.
        most: a circuit of so many nodes is not grown further; None: any is.

    Returns:
        A superset of ``nodes``, or None where the whole model misses the target, or ``most`` nodes do.
    """
    step = 1.0
    while most is None or len(nodes) < most:
        by_worth = worth(nodes)
        others = sorted(by_worth.keys() - nodes, key=lambda node: (-by_worth[node], node))
        if not others:
            return None
        nodes = nodes | frozenset(others[: int(step)])
        if reaches(nodes, target):
            return nodes
        step *= GROWTH
    return None


def clean_up(
    nodes: frozenset[Node],
    worth: Worth,
    reaches: Reaches,
    target: float,
) -> frozenset[Node]:
    """Remove what is not needed for the target.

    The nodes that are estimated to matter least are tried first: a quarter of all at once, then half
    as many for as long as the trial fails, down to single nodes. Estimates are made anew after every
    success, so that a node whose stand-in has gone is not taken too.

    Args:
        nodes: the circuit.
        worth: of a set of nodes, the estimated rise in loss when each of them is removed.
        reaches: whether a set of nodes holds a target.
        target: in nats.

    Returns:
        A subset of ``nodes`` from which no single node can be taken without missing the target (as long
        as ``reaches`` answers).
    """
    size = max(1, len(nodes) // 4)
    while nodes:
        rise = worth(nodes)
        order = sorted(nodes, key=lambda node: (rise[node], node))
        size = min(size, len(order))
        while size > 1 and not reaches(nodes - frozenset(order[:size]), target):
            size //= 2
        if size > 1:
            nodes = nodes - frozenset(order[:size])
            continue
        before = nodes
        for node in order:
            if reaches(nodes - {node}, target):
                nodes = nodes - {node}
        if nodes == before:
            break
    return nodes


def whittle(nodes: frozenset[Node], worth: Worth, reaches: Reaches, target: float) -> frozenset[Node]:
    """Remove most of many nodes, where estimates say little about which.

    The nodes are lined up, those that are estimated to matter least first, and cut into quarters, of which
    each is taken away that can be; then what is left is lined up anew and cut into parts half as large, and
    so on down to pairs.

    Args:
        nodes: the circuit, such as the whole model.
        worth: of a set of nodes, how much each of them matters.
        reaches: whether a set of nodes holds a target.
        target: in nats.

    Returns:
        A subset of ``nodes``.
    """
    size = len(nodes) // 4
    while size > 1:
        matters = worth(nodes)
        order = sorted(nodes, key=lambda node: (matters[node], node))
        for start in range(0, len(order), size):
            part = frozenset(order[start : start + size])
            if reaches(nodes - part, target):
                nodes = nodes - part
        size = min(size // 2, len(nodes) // 4)
    return nodes


def exchange(
    nodes: frozenset[Node], worth: Worth, loss: Callable[[frozenset[Node], float], float]
) -> frozenset[Node]:
    """Replace a node by another of its site where that lowers the loss: of two that do the same, the truer.

    Args:
        nodes: the circuit.
        worth: of a set of nodes, what each node of the model is estimated to lower the loss by. Only those
            that are worth nearly as much as the node that they would replace are tried.
        loss: of a set of nodes; anything above the given limit where it is above it.

    Returns:
        As many nodes, at the same sites.
    """
    lowest = loss(nodes, math.inf)
    for node in sorted(nodes):
        without = nodes - {node}
        by_worth = worth(without)
        enough = RIVALRY * by_worth[node]
        others = [
            other
            for other in by_worth.keys() - nodes
            if other.at == node.at and by_worth[other] > max(0.0, enough)
        ]
        for rival in sorted(others, key=lambda other: (-by_worth[other], other))[:RIVALS]:
            swapped = without | {rival}
            if (found := loss(swapped, BETTER * lowest)) < BETTER * lowest:
                nodes, lowest = swapped, found
                break
    return nodes


def ranking(nodes: Sequence[Node], tau: torch.Tensor) -> list[Node]:
    """Nodes from the largest τ to the smallest; equal ones in node order."""
    order = torch.sort(tau, descending=True, stable=True).indices
    return [nodes[index] for index in order.tolist()]
