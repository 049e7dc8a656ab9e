"""What a circuit's nodes do in the full model on ordinary text (Gao et al. 2025, §F.1, Fig 38, 39).

A node may be plain on its task and something else everywhere else. On windows of text, end to end as for the
validation loss, the full model's loss in nats a token is compared with its loss when one kept node

1. is frozen to its pretraining mean, as outside circuits;
2. is the constant that it is on the task on average: a query channel of the paper's costs +2.6e-5 so;
3. is a step between its two levels on the task (:mod:`.binarise`);

and when the whole circuit is removed. Each window gives a difference, so a change comes with a standard error
over windows. Beside them: how often and between what values the node is active on that text, and how many of
its edges the circuit uses (§3.2: 9 of the 41 edges of its components suffice to close a string).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import count_edges, node_degrees
from sparsecircuits.errors import DataError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.validate.binarise import MOST_NODES, find_steps
from sparsecircuits.validate.interval import clustered_interval
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.steps import Step, activations, stepping
from sparsecircuits.validate.subject import FEW, Subject
from sparsecircuits.validate.text import Text, held, spaced_windows

#: Percentiles of activations that are told.
PERCENTILES = (0.1, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9)


class Change(NamedTuple):
    """Of the loss, in nats a token: its mean, and that one's standard error over windows (nan for one)."""

    mean: float
    error: float

    @classmethod
    def of(cls, changes: Tensor) -> Change:
        """From ``changes`` [windows].

        >>> Change.of(torch.tensor([1.0, 3.0]))
        Change(mean=2.0, error=1.0)
        """
        error = float(changes.std()) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan
        return cls(float(changes.mean()), error)


@dataclass(frozen=True, kw_only=True)
class NodeUse:
    """One kept node in the full model on ordinary text.

    Attributes:
        frozen: change of the loss when it is held at ``mean``, its frozen value in the circuit ...
        constant: ... at ``task_mean``, what it is on train prompts of the task in the full model ...
        stepped: ... and when it is a step; None without one.
        used_edges, all_edges: how many edges it has in the circuit, and in the model.
        nonzero: share of tokens at which it is not 0.
        percentiles: of its activations, those of :data:`PERCENTILES`.
    """

    node: Node
    mean: float
    task_mean: float
    frozen: Change
    constant: Change
    stepped: Change | None
    used_edges: int
    all_edges: int
    nonzero: float
    percentiles: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """A circuit on ordinary text; losses in nats a token.

    Attributes:
        nodes: the kept nodes, in order; ``left_out`` more were too many.
        loss: of the full model.
        windows, tokens: how much text.
        removed: change of the loss without the whole circuit, by window in ``removed_changes``.
        random_removed: the same of random circuits with as many active nodes at each site, on average; None
            where none was drawn.
        edges: of the circuit.
        component_edges: all edges of the model that have a kept node at an end.
    """

    nodes: tuple[NodeUse, ...]
    left_out: int
    loss: float
    windows: int
    tokens: int
    removed: Change
    removed_changes: Tensor
    random_removed: Change | None
    edges: int
    component_edges: int

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON; an error that is not known is None."""
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del data["removed_changes"]
        data["percentiles"] = list(PERCENTILES)
        data["nodes"] = {str(use.node): _plain_use(use) for use in self.nodes}
        return data | {name: _plain(data[name]) for name in ("removed", "random_removed")}


def _plain_use(use: NodeUse) -> dict[str, Any]:
    data = {field.name: getattr(use, field.name) for field in dataclasses.fields(use)}
    del data["node"]
    changes = {name: _plain(data[name]) for name in ("frozen", "constant", "stepped")}
    return data | changes | {"percentiles": list(use.percentiles)}


def _plain(change: Change | None) -> list[float | None] | None:
    return None if change is None else [one if math.isfinite(one) else None for one in change]


@torch.no_grad()
def on_distribution(
    subject: Subject,
    *,
    tokens: np.ndarray | None = None,
    windows: int = 16,
    steps: Mapping[Node, Step] | None = None,
    draws: int = 8,
    most_nodes: int = MOST_NODES,
) -> Distribution:
    """Measure :class:`Distribution`.

    Args:
        tokens: [total] ids of ordinary text, such as ``corpus.val``; None: the subject's training text.
        windows: so many, evenly through the text.
        steps: of nodes within the circuit on the task; None: they are found.
        draws: random circuits that are removed for comparison.
        most_nodes: so many nodes are looked at, in their order.

    Raises:
        DataError: no text, or less than one window of it.
    """
    model, circuit = subject.model, subject.circuit
    tokens = subject.corpus if tokens is None else tokens
    if tokens is None:
        raise DataError("no text is at hand, so there is nothing to run the model on")
    nodes = sorted(circuit.nodes)[:most_nodes]
    text = Text.read(model, spaced_windows(tokens, windows, model.config.n_ctx), nodes)
    steps = find_steps(subject, most_nodes=most_nodes) if steps is None else steps
    on_task = activations(model, nodes, subject.train.first(FEW))
    used, degrees = _used_edges(model, circuit), node_degrees(model, circuit.nodes)
    uses = []
    for node in nodes:
        mean, task_mean = float(circuit.frozen[str(node.at)][node.index]), float(on_task[node].mean())
        step = _ungained(circuit, node, steps[node]) if node in steps else None
        values = text.seen[node]
        use = NodeUse(
            node=node,
            mean=mean,
            task_mean=task_mean,
            frozen=Change.of(text.changes(held(model, node, mean))),
            constant=Change.of(text.changes(held(model, node, task_mean))),
            stepped=None if step is None else Change.of(text.changes(stepping(model, {node: step}))),
            used_edges=used[node],
            all_edges=degrees[node],
            nonzero=float((values != 0).double().mean()),
            percentiles=tuple(values.quantile(values.new_tensor(PERCENTILES) / 100).tolist()),
        )
        uses.append(use)
    removed = text.changes(circuit.removed(model))
    others = [text.changes(other.removed(model)) for other in subject.random_circuits(draws)]
    return Distribution(
        nodes=tuple(uses),
        left_out=len(circuit.nodes) - len(nodes),
        loss=float(text.losses.mean()),
        windows=len(text.windows),
        tokens=text.windows[:, 1:].numel(),
        removed=Change.of(removed),
        removed_changes=removed,
        random_removed=Change.of(torch.stack(others).mean(0)) if others else None,
        edges=circuit.edge_count(model),
        component_edges=sum(degrees.values()) - count_edges(model, circuit.nodes),
    )


def distribution(subject: Subject, *, tokens: np.ndarray | None = None, windows: int = 16) -> Outcome:
    """D: what removing the circuit costs on ordinary text, in nats a token; the control is as much of the
    model at random. Not judged: a node may serve more than its task."""
    tokens = subject.corpus if tokens is None else tokens
    if not subject.circuit.nodes:
        return Outcome.not_applicable("D", "a circuit without nodes does nothing on ordinary text")
    if tokens is None or len(tokens) <= subject.model.config.n_ctx:
        return Outcome.not_applicable("D", "less than one window of ordinary text is at hand")
    result = on_distribution(subject, tokens=tokens, windows=windows)
    changes = result.removed_changes
    return Outcome(
        test="D",
        estimate=result.removed.mean,
        interval=clustered_interval(
            changes, [str(window) for window in range(len(changes))], seed=subject.seed
        ),
        control=None if result.random_removed is None else result.random_removed.mean,
        passed=None,
        figures=result.to_dict(),
        settings={
            "windows": result.windows,
            "tokens": result.tokens,
            "seed": subject.seed,
            "ablated": "the circuit; each of its nodes alone",
            "values": "pretraining means; the node's mean on the task; its step on the task",
            "positions": "every token",
            "norms": "live",
            "interval": "over windows",
        },
        note="a report, not judged: the circuit uses "
        f"{result.edges} of the {result.component_edges} edges of its nodes",
    )


def _used_edges(model: SparseGPT, circuit: Circuit) -> dict[Node, int]:
    """How many edges of the circuit each kept node has, in and out."""
    used = dict.fromkeys(circuit.nodes, 0)
    for edge in circuit.edges(model):
        used[edge.source] += 1
        used[edge.target] += 1
    return used


def _ungained(circuit: Circuit, node: Node, step: Step) -> Step:
    """A step of a node that the circuit rescales, in the units that it has in the model."""
    gain, mean = circuit.gain.get(node, 1.0), float(circuit.frozen[str(node.at)][node.index])
    if gain == 1:
        return step
    if gain == 0:
        return Step(mean, mean, mean)
    low, high, at = (mean + (value - mean) / gain for value in step)
    return Step(min(low, high), max(low, high), at)
