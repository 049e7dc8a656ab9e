"""The log of what was edited on a circuit by hand, or as if by hand (Gao et al. 2025, §F), and its undoing.

Every :class:`Step` holds what it changed, before and after, and its price. The log lies in
``circuit.info["edits"]`` as plain data, is saved with the circuit, and can be undone after loading too: the
last step, any that no later one has built on, or all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Self, get_args

import torch

from sparsecircuits.circuit import Circuit, Ends
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import Node

Kind = Literal["drop", "constant", "absorb"]
KINDS: tuple[Kind, ...] = get_args(Kind)
#: Where the log lies in ``circuit.info``.
EDITS = "edits"


class Change(NamedTuple):
    """A node's frozen value or gain, before a step and after; a node without a gain has 1."""

    node: Node
    before: float
    after: float


@dataclass(frozen=True)
class Step:
    """One edit, with all that it takes to undo it.

    Attributes:
        kind: which.
        nodes: that were removed.
        edges: that were cut.
        before, after: loss, in nats.
        freed: cuts that went with ``nodes``.
        frozen: changed frozen values.
        gain: changed gains; those of removed nodes are 1 after.
    """

    kind: Kind
    nodes: tuple[Node, ...]
    edges: tuple[Ends, ...]
    before: float
    after: float
    freed: tuple[Ends, ...] = ()
    frozen: tuple[Change, ...] = ()
    gain: tuple[Change, ...] = ()

    @property
    def price(self) -> float:
        """What it cost, in nats; negative if the loss fell."""
        return self.after - self.before

    @classmethod
    def between(cls, kind: Kind, old: Circuit, new: Circuit, before: float, after: float) -> Self:
        """The step from one circuit to another that lacks some of its nodes or edges."""
        frozen = [
            Change(Node.parse(f"{name}.{index}"), float(values[index]), float(new.frozen[name][index]))
            for name, values in old.frozen.items()
            for index in torch.nonzero(values != new.frozen[name]).flatten().tolist()
        ]
        gains = sorted(old.gain.keys() | new.gain.keys())
        return cls(
            kind=kind,
            nodes=tuple(sorted(old.nodes - new.nodes)),
            edges=tuple(sorted(new.cut - old.cut)),
            before=before,
            after=after,
            freed=tuple(sorted(old.cut - new.cut)),
            frozen=tuple(frozen),
            gain=tuple(
                Change(node, old.gain.get(node, 1.0), new.gain.get(node, 1.0))
                for node in gains
                if old.gain.get(node, 1.0) != new.gain.get(node, 1.0)
            ),
        )

    def touched(self) -> frozenset[object]:
        """Nodes and edges that it changed; steps that share none can be undone in any order."""
        ends = [node for pair in self.freed for node in pair]
        changed = [change.node for change in (*self.frozen, *self.gain)]
        return frozenset([*self.nodes, *self.edges, *self.freed, *ends, *changed])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as JSON has it."""
        return {
            "kind": self.kind,
            "nodes": [str(node) for node in self.nodes],
            "edges": [[str(node) for node in ends] for ends in self.edges],
            "before": self.before,
            "after": self.after,
            "price": self.price,
            "freed": [[str(node) for node in ends] for ends in self.freed],
            "frozen": [[str(node), before, after] for node, before, after in self.frozen],
            "gain": [[str(node), before, after] for node, before, after in self.gain],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Of :meth:`to_dict`.

        Raises:
            CheckpointError: something else.
        """
        try:
            if data["kind"] not in KINDS:
                raise ConfigError(f"no kind {data['kind']!r}")
            return cls(
                kind=data["kind"],
                nodes=tuple(Node.parse(name) for name in data["nodes"]),
                edges=_ends(data["edges"]),
                before=float(data["before"]),
                after=float(data["after"]),
                freed=_ends(data["freed"]),
                frozen=_changes(data["frozen"]),
                gain=_changes(data["gain"]),
            )
        except (KeyError, TypeError, ValueError, ConfigError) as error:
            raise CheckpointError(f"a circuit's log of edits is damaged: {error}") from error

    def __str__(self) -> str:
        what = ", ".join(str(node) for node in self.nodes)
        if len(self.edges) == 1:
            what += f"{self.edges[0][0]} -> {self.edges[0][1]}"
        elif self.edges:
            what += f"{len(self.edges)} edges"
        rescaled = [change for change in self.gain if change.node not in self.nodes]
        what += "".join(f", {node} rescaled by {after:.3g}" for node, _, after in rescaled)
        return f"{self.kind} {what}: {self.before:.4f} -> {self.after:.4f} nats"


def _ends(data: Iterable[Sequence[str]]) -> tuple[Ends, ...]:
    return tuple((Node.parse(source), Node.parse(target)) for source, target in data)


def _changes(data: Iterable[Sequence[Any]]) -> tuple[Change, ...]:
    return tuple(Change(Node.parse(name), float(before), float(after)) for name, before, after in data)


def edits(circuit: Circuit) -> tuple[Step, ...]:
    """The log of a circuit, first step first.

    Raises:
        CheckpointError: it is damaged.
    """
    return tuple(Step.from_dict(data) for data in circuit.info.get(EDITS, ()))


def undo(circuit: Circuit, step: Step | None = None) -> Circuit:
    """The circuit as it was before one of its steps.

    Args:
        circuit: with a log.
        step: one of :func:`edits`; None: the last. An earlier one can be undone alone if no later one
            touched the same nodes and edges.

    Raises:
        ConfigError: no such step in the log, or a later one stands in the way.
        CheckpointError: the log is damaged.
    """
    steps = edits(circuit)
    if not steps or (step is not None and step not in steps):
        raise ConfigError(f"circuit for {circuit.task}: no such edit to undo; its log has {len(steps)}")
    place = len(steps) - 1 if step is None else max(i for i, one in enumerate(steps) if one == step)
    step = steps[place]
    for later in steps[place + 1 :]:
        if shared := step.touched() & later.touched():
            raise ConfigError(
                f"circuit for {circuit.task}: before {step}, undo what came later and also touched "
                f"{min(map(str, shared))}: {later}"
            )
    values = dict(circuit.frozen)
    for node, before, _ in step.frozen:
        name = str(node.at)
        values[name] = values[name].clone()
        values[name][node.index] = before
    gain = {**circuit.gain, **{node: before for node, before, _ in step.gain}}
    return replace(
        circuit,
        nodes=circuit.nodes | frozenset(step.nodes),
        frozen=values,
        cut=(circuit.cut - frozenset(step.edges)) | frozenset(step.freed),
        gain=gain,
        info=_with_log(circuit.info, [one for i, one in enumerate(circuit.info[EDITS]) if i != place]),
    )


def undo_all(circuit: Circuit) -> Circuit:
    """The circuit as it was before all steps in its log."""
    while circuit.info.get(EDITS):
        circuit = undo(circuit)
    return circuit


def logged(circuit: Circuit, step: Step) -> Circuit:
    """A copy whose log ends with ``step``."""
    return replace(circuit, info=_with_log(circuit.info, [*circuit.info.get(EDITS, ()), step.to_dict()]))


def _with_log(info: Mapping[str, Any], log: list[dict[str, Any]]) -> dict[str, Any]:
    rest = {key: value for key, value in info.items() if key != EDITS}
    return {**rest, EDITS: log} if log else rest
