"""Circuits of planted models that are false: a test that is worth its name must say so.

===========  ================================================================================
half pair    one of the two nodes that cancel in the model, with what it reads and writes: it does the
             task by a shortcut that the model does not take (levels 2 and 3)
lacking      the truth without the node that it needs most
random       as many nodes at each site as the truth has, others
nonsense     what a search finds for answers that the model never gives
             (:mod:`~sparsecircuits.validate.planted.controls`)
===========  ================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node
from sparsecircuits.prune.splits import Splits
from sparsecircuits.tasks.score import fit_scale, pair_logits, score
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.program import BALLAST, Head


def true_circuit(
    planted: PlantedModel, means: Mapping[str, Tensor], pairs: Splits, *, union: bool = True
) -> Circuit:
    """The truth as a circuit, with all redundant copies or as the first of the smallest sets."""
    part = planted.truth.union if union else planted.truth.minimal[0]
    return _calibrated(planted, Circuit(planted.task.name, part.nodes, means), pairs)


def closed_circuit(planted: PlantedModel, means: Mapping[str, Tensor], pairs: Splits) -> Circuit:
    """The truth with both nodes of every pair that cancels: the least set that no restoring can hurt.

    Deleted together these nodes do nothing; one of them restored alone overrules some programs, whatever the
    circuit. So the truth under mean ablation is not closed under restoring.
    """
    pair = {node for both in planted.truth.cancelling for node in both}
    nodes = planted.truth.union.nodes | pair
    return _calibrated(planted, Circuit(planted.task.name, frozenset(nodes), means), pairs)


def half_pair(planted: PlantedModel, means: Mapping[str, Tensor], pairs: Splits) -> Circuit | None:
    """The shortcut through one of two cancelling nodes; None where the level has none."""
    if not planted.truth.cancelling:
        return None
    parts, found = planted.program.cancelling, []
    for which, node in enumerate(planted.truth.cancelling[0]):
        if isinstance(parts, Head):
            reads, writes = parts.v[which].reads, parts.writes[which]
        else:
            reads, writes = parts[which].reads, parts[which].writes
        sublayer = node.site.partition(".")[0]
        ends = [(f"{sublayer}.act_in", role) for role in reads if role != BALLAST]
        ends += [(f"{sublayer}.resid_delta", role) for role in writes]
        nodes = {Node.parse(f"{node.layer}.{site}.{planted.channels[role]}") for site, role in ends}
        found.append(
            _calibrated(planted, Circuit(planted.task.name, frozenset(nodes | {node}), means), pairs)
        )
    return min(found, key=lambda circuit: _loss(planted, circuit, pairs))


def lacking_one(planted: PlantedModel, means: Mapping[str, Tensor], pairs: Splits) -> Circuit:
    """A minimal truth without the node that it needs most, whatever the scale."""
    nodes = planted.truth.minimal[0].nodes
    found = [
        _calibrated(planted, Circuit(planted.task.name, nodes - {gone}, means), pairs)
        for gone in sorted(nodes)
    ]
    return max(found, key=lambda circuit: _loss(planted, circuit, pairs))


def _calibrated(planted: PlantedModel, circuit: Circuit, pairs: Splits) -> Circuit:
    """With the scale that suits its own logits best."""
    with circuit.installed(planted.model):
        scale = fit_scale(pair_logits(planted.model, pairs.train), pairs.train)
    return Circuit(circuit.task, circuit.nodes, circuit.frozen, scale)


def _loss(planted: PlantedModel, circuit: Circuit, pairs: Splits) -> float:
    with circuit.installed(planted.model):
        logits = pair_logits(planted.model, pairs.train)
    return score(logits, pairs.train, circuit.calibration).loss
