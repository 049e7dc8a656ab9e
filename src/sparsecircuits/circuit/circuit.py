"""A circuit as data: kept nodes, the values that deleted ones are frozen to, and a calibration.

``with circuit.installed(model): model(tokens)`` runs the model with every node outside the circuit
frozen, at every token, to its stored value (mean ablation, Gao et al. 2025, §2.2, §A.5). Beyond nodes, a
circuit may lack single edges between them (an absent one carries its source's frozen value) and rescale a
node about its frozen value (as the authors did by hand, §F.2). A circuit never changes;
:meth:`Circuit.without` and friends return edited copies.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor

from sparsecircuits.circuit.display import circuit_html
from sparsecircuits.circuit.edges import Edge, Ends, check_ends, count_edges, edges_between
from sparsecircuits.circuit.freezing import freeze
from sparsecircuits.circuit.labels import Group, Label, Labels
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.tasks.score import Calibration


@dataclass(frozen=True, eq=False)
class Circuit:
    """What pruning returns, and validation and the viewer take.

    Attributes:
        task: name of the task that it does.
        nodes: the kept nodes.
        frozen: site name -> [width] the value that each deleted node there is held at.
        scale: positive factor on the logits, fitted on the training split.
        info: where it comes from and how well it does: model hash, target, losses, settings, seeds.
        cut: (source, target) of edges between kept nodes that are absent: they carry their source's frozen
            value at every token.
        gain: node -> factor on how far a kept node is from its frozen value; those without one have 1.
        bias: added to the logit of each pair's left candidate when the circuit is measured (§A.5, §F.2); of
            the preset ``paper`` alone.
        labels: what people call its nodes and groups of them. They play no part in what it does, and none in
            its hash.

    Raises:
        ConfigError: a scale that is not a positive number, or a gain or bias that is not a finite one.
        CheckpointError: a node whose site has no frozen values, or fewer nodes; a cut between sites that no
            weight joins; a cut, a gain or a label of a node that is not kept.
    """

    task: str
    nodes: frozenset[Node]
    frozen: Mapping[str, Tensor]
    scale: float = 1.0
    info: Mapping[str, Any] = field(default_factory=dict)
    cut: frozenset[Ends] = frozenset()
    gain: Mapping[Node, float] = field(default_factory=dict)
    bias: float = 0.0
    labels: Labels = Labels()

    def __post_init__(self) -> None:
        if not 0 < self.scale < math.inf:
            raise ConfigError(f"a circuit's scale is a positive number, got {self.scale}")
        if not math.isfinite(self.bias):
            raise ConfigError(f"a circuit's bias is a finite number, got {self.bias}")
        for node in self.nodes:
            self._require(node)
        check_ends(self.cut)
        for node in [node for ends in self.cut for node in ends] + list(self.gain):
            if node not in self.nodes:
                raise CheckpointError(f"circuit for {self.task}: a cut or a gain of {node}, which it lacks")
        for node, gain in self.gain.items():
            if not math.isfinite(gain):
                raise ConfigError(f"a node's gain is a finite number, got {gain} for {node}")
        for node in self.labels.touched - self.nodes:
            raise CheckpointError(f"circuit for {self.task}: a label of {node}, which it lacks")
        object.__setattr__(self, "gain", {node: gain for node, gain in self.gain.items() if gain != 1})

    def __len__(self) -> int:
        return len(self.nodes)

    def keep_masks(self) -> dict[str, Tensor]:
        """Site name -> [width] boolean: which nodes are kept."""
        masks = {name: torch.zeros(values.numel(), dtype=torch.bool) for name, values in self.frozen.items()}
        for node in self.nodes:
            masks[str(node.at)][node.index] = True
        return masks

    def factors(self) -> dict[str, Tensor]:
        """Site name -> [width] how far each node is live: 0 if deleted, 1 if kept, or its gain."""
        factors = {name: keep.to(self.frozen[name].dtype) for name, keep in self.keep_masks().items()}
        for node, gain in self.gain.items():
            factors[str(node.at)][node.index] = gain
        return factors

    @property
    def calibration(self) -> Calibration:
        """What its logits are measured with: its scale, and its bias."""
        return Calibration(self.scale, self.bias)

    @contextmanager
    def installed(self, model: SparseGPT, *, sealed: bool = False) -> Generator[None]:
        """Run ``model`` as this circuit: deleted nodes are held at their frozen values, absent edges carry
        their sources' frozen values, and kept nodes are rescaled by their gains.

        Logits come out unscaled; multiply by ``scale``, or call :meth:`logits`.

        Args:
            model: which the circuit is of.
            sealed: as in :func:`freeze`: nothing else changes a frozen node meanwhile, so it may go faster.

        Raises:
            CheckpointError: a site of the model without frozen values, or of another width.
        """
        with freeze(model, self.factors(), self.frozen, cut=self.cut, sealed=sealed):
            yield

    @contextmanager
    def removed(self, model: SparseGPT) -> Generator[None]:
        """Run ``model`` *without* this circuit: its nodes are frozen and all others live (Fig 32).

        Cuts and gains play no part: all of its edges carry frozen values then.
        """
        with freeze(model, {name: ~keep for name, keep in self.keep_masks().items()}, self.frozen):
            yield

    @torch.no_grad()
    def logits(self, model: SparseGPT, tokens: Tensor, at: Tensor | None = None) -> Tensor:
        """Scaled logits of the circuit, as :meth:`SparseGPT.forward` gives them.

        A bias is not in them: which token it goes to depends on the pair
        (:func:`sparsecircuits.tasks.score.calibrated`).
        """
        with self.installed(model):
            return self.scale * model(tokens, at)

    def edges(self, model: SparseGPT) -> list[Edge]:
        """Every nonzero weight between kept nodes that is not cut."""
        return edges_between(model, self.nodes, self.cut)

    def edge_count(self, model: SparseGPT) -> int:
        """How many edges the circuit has."""
        return count_edges(model, self.nodes, self.cut)

    def without(self, nodes: Iterable[Node]) -> Self:
        """A copy that lacks ``nodes``, and their cuts, gains and labels."""
        return self.keeping(self.nodes - frozenset(nodes))

    def keeping(self, nodes: Iterable[Node]) -> Self:
        """A copy with exactly ``nodes``; cuts, gains and labels of others are gone."""
        kept = frozenset(nodes)
        cut = frozenset((source, target) for source, target in self.cut if source in kept and target in kept)
        gain = {node: gain for node, gain in self.gain.items() if node in kept}
        return replace(self, nodes=kept, cut=cut, gain=gain, labels=self.labels.keeping(kept))

    def with_frozen(self, node: Node, value: float) -> Self:
        """A copy without ``node``, which is held at ``value`` instead of its mean."""
        self._require(node)
        values = self.frozen[str(node.at)].clone()
        values[node.index] = value
        return replace(self.without([node]), frozen={**self.frozen, str(node.at): values})

    def cutting(self, edges: Iterable[Ends]) -> Self:
        """A copy that also lacks ``edges``, each (source, target).

        Raises:
            CheckpointError: sites that no weight joins, or a node that is not kept.
        """
        return replace(self, cut=self.cut | frozenset(edges))

    def rescaled(self, node: Node, gain: float) -> Self:
        """A copy in which ``node`` is ``frozen + gain * (x - frozen)`` (§F.2); 1 takes an old gain off.

        Raises:
            CheckpointError: ``node`` is not kept.
            ConfigError: a gain that is not finite.
        """
        if node not in self.nodes:
            raise CheckpointError(f"circuit for {self.task}: a cut or a gain of {node}, which it lacks")
        return replace(self, gain={**self.gain, node: gain})

    def labelled(self, node: Node, name: str = "", note: str = "") -> Self:
        """A copy in which ``node`` is called ``name``, in place of its old label.

        Raises:
            CheckpointError: ``node`` is not kept.
            ConfigError: a name or note that is too long, or neither.
        """
        return replace(self, labels=self.labels.with_node(node, Label(name, note)))

    def grouped(self, name: str, nodes: Iterable[Node], note: str = "") -> Self:
        """A copy in which ``nodes`` are a group called ``name``, in place of the old group of that name.

        Raises:
            CheckpointError: a node that is not kept.
            ConfigError: a name or note that is too long, no name, or no nodes.
        """
        return replace(self, labels=self.labels.with_group(Group(name, note, tuple(nodes))))

    def unlabelled(self, node: Node) -> Self:
        """A copy in which ``node`` has no label of its own; it stays in its groups.

        Raises:
            ConfigError: it has none.
        """
        return replace(self, labels=self.labels.without_node(node))

    def ungrouped(self, name: str) -> Self:
        """A copy without the group called ``name``; its nodes keep their labels.

        Raises:
            ConfigError: there is none.
        """
        return replace(self, labels=self.labels.without_group(name))

    def equals(self, other: Circuit) -> bool:
        """Whether ``other`` is the same in all that it holds, bit for bit."""
        same = self.frozen.keys() == other.frozen.keys() and all(
            torch.equal(values, other.frozen[name]) for name, values in self.frozen.items()
        )
        plain = ("task", "nodes", "scale", "cut", "gain", "bias", "info", "labels")
        return same and all(getattr(self, name) == getattr(other, name) for name in plain)

    def _require(self, node: Node) -> None:
        if str(node.at) not in self.frozen:
            raise CheckpointError(f"circuit for {self.task}: no frozen values for site {node.at}")
        width = self.frozen[str(node.at)].numel()
        if not 0 <= node.index < width:
            raise CheckpointError(f"circuit for {self.task}: {node} does not exist, its site has {width}")

    def describe(self) -> str:
        """A few lines for people: size by site, calibration, what was changed besides nodes, and labels."""
        head = f"circuit for {self.task}: {len(self)} nodes, scale {self.scale:.3g}"
        if self.bias:
            head += f", bias {self.bias:+.3g}"
        if self.cut:
            head += f", {len(self.cut)} edges cut"
        lines = [head]
        counts: dict[str, int] = {}
        for node in sorted(self.nodes):
            counts[str(node.at)] = counts.get(str(node.at), 0) + 1
        lines += [f"  {name}: {count}" for name, count in counts.items()]
        lines += [f"  {node} rescaled by {self.gain[node]:.3g}" for node in sorted(self.gain)]
        lines += [f"  {node}: {_told(self.labels.nodes[node])}" for node in sorted(self.labels.nodes)]
        for group in self.labels.groups:
            lines.append(f"  group {_told(group)}: {', '.join(map(str, group.nodes))}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return circuit_html(self)


def _told(label: Label | Group) -> str:
    note = " ".join(label.note.split())
    return " – ".join(part for part in (label.name, note) if part)
