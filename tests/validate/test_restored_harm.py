"""A node that only makes up for what comes back: idle by the plain loss, needed under restorings."""

from __future__ import annotations

import functools

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node
from sparsecircuits.prune import pretraining_means
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.restore import restored_losses
from sparsecircuits.tasks.score import Calibration
from sparsecircuits.validate.minimality import minimality, others
from sparsecircuits.validate.planted import plant
from sparsecircuits.validate.planted.place import block, embeddings
from sparsecircuits.validate.restored_harm import restored_harms
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import subject

#: What the deleted neuron adds to the answer's channel once it comes back; the answer itself is worth 1.
PUSH = 3.0


@functools.cache
def repaired() -> tuple[Subject, Node, frozenset[Node]]:
    """``quote`` with a neuron in layer 0 that pushes the answer to one side, one in layer 1 that undoes it.

    Returns:
        The subject, whose circuit has all of it but the first neuron; that neuron; and the nodes beside the
        program's: the second neuron, what it reads and writes, and what the first writes.
    """
    planted = plant("quote", 0, 1)
    model, answer = planted.model, planted.channels["close"]
    used = {node for part in planted.truth.minimal for node in part.nodes}
    taken = {node.index for node in used if node.site.endswith(("act_in", "resid_delta"))}
    line = next(c for c in range(model.config.d_model) if c not in {*taken, *planted.channels.values()})
    neurons = {node.index for node in used if node.site == "mlp.post_act"}
    one, other = [index for index in range(model.config.mlp_width) if index not in neurons][:2]
    with torch.no_grad():
        embeddings(model)[:, line] = embeddings(model, "wpe")[:, line] = (
            0  # the line from the first neuron to the second is theirs alone
        )
        for layer in (0, 1):
            block(model, layer).attn.c_proj.weight[line] = 0
            block(model, layer).mlp.c_proj.weight[line] = 0
        first, second = block(model, 0).mlp, block(model, 1).mlp
        first.c_fc.weight[one] = 0
        first.c_fc.bias[one] = 5  # gelu(5) is 5
        first.c_proj.weight[:, one] = 0
        first.c_proj.weight[line, one] = first.c_proj.weight[answer, one] = PUSH / 5
        second.c_fc.weight[other] = 0
        second.c_fc.weight[other, line] = 5 / PUSH  # so 5 again, or 0 while the first is off
        second.c_fc.bias[other] = 0
        second.c_proj.weight[:, other] = 0
        second.c_proj.weight[answer, other] = -PUSH / 5
    means = {
        name: mean.clone() for name, mean in pretraining_means(model, planted.corpus, count=2048).items()
    }
    off = Node.parse(f"0.mlp.post_act.{one}")
    undo = frozenset(
        Node.parse(name)
        for name in (
            f"0.mlp.resid_delta.{answer}",
            f"0.mlp.resid_delta.{line}",
            f"1.mlp.act_in.{line}",
            f"1.mlp.post_act.{other}",
            f"1.mlp.resid_delta.{answer}",
        )
    )
    for node in {off, *undo}:
        means[str(node.at)][node.index] = 0.0  # absent, they do nothing
    circuit = Circuit(planted.task.name, frozenset({*used, *undo}), means)
    about = Subject.of(
        model, circuit, planted.task, planted.tokenizer, planted.corpus, pairs=16, config=PruneConfig()
    )
    return about, off, undo


def test_a_node_kept_for_restoring_is_told_from_an_idle_one() -> None:
    about, _, undo = repaired()
    # A sixth that is idle whatever comes back: noise that nobody reads.
    idler = others(about)[100]
    found = minimality(about.about(about.circuit.keeping({*about.circuit.nodes, idler})))
    idle = found.figures["not_minimal"]
    assert set(idle) == {str(node) for node in (idler, *undo)}
    assert all(abs(harm) < 1e-6 for harm in idle.values())
    needed = found.figures["idle_plain_but_needed_restored"]
    assert set(needed) == {str(node) for node in undo}
    assert min(needed.values()) > 0.3
    assert found.estimate == pytest.approx(12 / 18)
    assert found.figures["minimal_restored"] == pytest.approx(17 / 18)
    assert found.figures["tested_restored"] == 18
    assert found.passed is False  # it is told, and not judged


def test_harms_are_differences_of_restored_losses() -> None:
    about, off, undo = repaired()
    pairs, undoing = about.some, max(undo)

    def losses(circuit: Circuit, never: Node | None = None) -> list[float]:
        held = {name: torch.zeros_like(keep) for name, keep in circuit.keep_masks().items()}
        if never is not None:
            held[str(never.at)][never.index] = True
        drawn = restored_losses(
            about.model,
            circuit,
            pairs,
            held=Calibration(about.scale, 0.0),
            draws=range(4),
            seed=about.draw_seed,
            never=held,
        )
        return list(drawn)

    kept, added = restored_harms(about, [undoing, off], pairs, draws=4).tolist()
    without = losses(about.circuit.rescaled(undoing, 0.0))
    assert kept == pytest.approx((sum(without) - sum(losses(about.circuit))) / 4, abs=1e-5)
    # One that is not the circuit's: with it, whatever else comes back, less without it.
    joined = about.circuit.keeping({*about.circuit.nodes, off})
    assert added == pytest.approx((sum(losses(about.circuit, off)) - sum(losses(joined))) / 4, abs=1e-5)


def test_a_truth_is_minimal_either_way_and_so_is_an_idle_node_idle() -> None:
    about = subject(pairs=16)
    found = minimality(about)
    assert found.figures["minimal_restored"] == 1.0
    assert found.figures["idle_plain_but_needed_restored"] == {}
    fewer = minimality(about, most_restored=4)
    assert fewer.figures["tested_restored"] == 4
    assert (fewer.estimate, fewer.interval) == (found.estimate, found.interval)
