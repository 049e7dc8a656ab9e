"""From masks to a circuit: bisect for the fewest nodes that reach the target, then clean up (§A.5).

Nodes are sorted by τ; the smallest prefix whose loss reaches the target is found by bisection,
first among the nodes that the mask run kept, then, if those do not suffice, beyond them. The
clean-up, our addition, does what the authors did by hand: it tries to remove nodes, several at once
and then singly, and keeps every removal that leaves the loss within the target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from sparsecircuits.model import Node

#: Whether the circuit with exactly these nodes holds a target loss.
Reaches = Callable[[frozenset[Node], float], bool]


def bisect_size(
    ranked: Sequence[Node], start: int, reaches: Reaches, target: float
) -> frozenset[Node] | None:
    """The smallest prefix of ``ranked`` that reaches ``target``, assuming that more nodes never hurt.

    Args:
        ranked: all nodes, the most important first.
        start: the first size that is tried.
        reaches: whether a set of nodes holds a target.
        target: in nats.

    Returns:
        The nodes, or None where even all of ``ranked`` miss the target.
    """

    def enough(size: int) -> bool:
        return reaches(frozenset(ranked[:size]), target)

    low, high = 0, max(1, min(start, len(ranked)))
    while not enough(high):  # grow until the target is reached
        if high == len(ranked):
            return None
        low, high = high, min(len(ranked), max(high + 1, int(1.5 * high)))
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return frozenset(ranked[:high])


def clean_up(
    nodes: frozenset[Node],
    worth: Callable[[frozenset[Node]], Mapping[Node, float]],
    reaches: Reaches,
    target: float,
) -> frozenset[Node]:
    """Remove what is not needed for the target.

    The nodes that are estimated to matter least are tried first: a quarter of all at once, half as many
    after a trial that fails and twice as many after one that succeeds, in the end single nodes.
    Estimates are made anew after every success, so that a node whose stand-in has gone is not taken
    too.

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
            size *= 2
            continue
        before = nodes
        for node in order:
            if reaches(nodes - {node}, target):
                nodes = nodes - {node}
        if nodes == before:
            break
    return nodes


def ranking(nodes: Sequence[Node], tau: torch.Tensor) -> list[Node]:
    """Nodes from the largest τ to the smallest; equal ones in node order."""
    order = torch.sort(tau, descending=True, stable=True).indices
    return [nodes[index] for index in order.tolist()]
