"""Adversarial ablation on planted models: a true circuit need only fear a pair that the adversary splits."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.model import Node, SparseGPT
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.validate.adversarial import _losses, adversarial_ablation
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS
from tests.validate.subjects import planted, subject, truth


@pytest.mark.parametrize("name", ["quote", "depth", "variable", "induction", "bigram"])
def test_a_true_circuit_keeps_its_loss_whatever_comes_back(name: str):
    found = adversarial_ablation(subject(name), restarts=2, steps=6)
    assert found.passed
    assert found.figures["ratio"] == pytest.approx(1, abs=0.01)
    assert found.estimate == pytest.approx(found.figures["full_loss"], rel=0.01)
    assert found.control is not None
    assert found.control > 0.6
    assert 0 < found.figures["restored"] < 1
    assert found.interval is not None
    assert found.interval == pytest.approx((found.estimate, found.estimate), rel=0.1)


def test_the_adversary_splits_a_cancelling_pair_and_finds_nothing_worse():
    """Both of the pair together do nothing; the worst is the full model without one of them."""
    about = subject("depth", level=2)
    odd = about.some.rows(slice(1, None, 2))
    (pair,) = planted("depth", level=2).truth.cancelling
    sites = about.model.config.site_names()
    everything = set(all_nodes(sites, [about.model.config.width(at.site) for at in sites]))

    def loss_without(*nodes: Node) -> float:
        return float(about.circuit_losses(odd, about.circuit.keeping(everything - set(nodes))).mean())

    alone = [loss_without(one) for one in pair]
    found = adversarial_ablation(about, restarts=3, steps=12)
    assert found.figures["plain_loss"] < 0.001
    assert loss_without(*pair) < 0.001
    assert found.estimate == pytest.approx(max(alone), rel=1e-3)
    assert max(alone) > THRESHOLDS.adversarial
    assert not found.passed


@pytest.mark.parametrize("lacks", range(7))
def test_a_circuit_that_lacks_a_node_fails(lacks: int):
    true = truth("depth")
    false = true.without([sorted(true.nodes)[lacks]])
    assert not adversarial_ablation(subject("depth").about(false), restarts=2, steps=4).passed


def test_one_copy_of_two_fails_though_it_does_the_task():
    about = subject("depth", level=2).about(truth("depth", level=2, union=False))
    found = adversarial_ablation(about, restarts=2, steps=6)
    assert found.figures["plain_loss"] < 0.01
    assert found.estimate is not None
    assert found.estimate > 1
    assert not found.passed


def test_a_random_circuit_is_not_below_its_own_control():
    about = subject("quote")
    (random,) = about.random_circuits(1)
    assert not adversarial_ablation(about.about(random), restarts=2, steps=2).passed


def test_a_circuit_no_better_than_its_control_fails_however_low_its_loss():
    about = subject("bigram")
    own = {str(at): torch.nonzero(keep).flatten() for at, keep in about.circuit.keep_masks().items()}
    about = dataclasses.replace(about)
    about.__dict__["active"] = own  # so that the random circuit can only be the circuit itself
    found = adversarial_ablation(about, restarts=2, steps=2)
    assert found.estimate is not None
    assert found.estimate == found.control
    assert found.estimate < THRESHOLDS.adversarial
    assert not found.passed


def _edited(about: Subject) -> Subject:
    """Three of its edges cut, and a node rescaled: what is not restored is not the full model's."""
    edges = about.circuit.edges(about.model)
    node = sorted(about.circuit.nodes)[-1]
    return about.about(about.circuit.cutting([edge.ends for edge in edges[:3]]).rescaled(node, 0.5))


@torch.no_grad()
def test_nothing_restored_is_the_circuit_and_all_restored_the_model():
    about = _edited(subject("quote"))
    pairs, circuit = about.some, about.circuit
    count = about.model.config.node_count + len(circuit.cut)
    assert len(circuit.cut) == 3
    alone = about.circuit_losses(pairs)
    torch.testing.assert_close(_losses(about, pairs, torch.zeros(count)), alone, atol=1e-5, rtol=1e-4)
    plain = about.about(dataclasses.replace(circuit, gain={}))
    full = about.full_losses(pairs)
    torch.testing.assert_close(_losses(plain, pairs, torch.ones(count)), full, atol=1e-5, rtol=1e-4)
    assert float((alone - full).abs().mean()) > 0.1
    cut_stays = torch.ones(count)
    cut_stays[-3:] = 0
    assert float((_losses(plain, pairs, cut_stays) - full).abs().mean()) > 0.1


@torch.no_grad()
def test_kept_nodes_have_nothing_to_restore():
    about = _edited(subject("quote"))
    kept = torch.cat([about.circuit.keep_masks()[str(at)] for at in about.model.config.site_names()]).float()
    restored = torch.cat([kept, torch.zeros(3)])
    nothing = torch.zeros_like(restored)
    found, expected = (_losses(about, about.some, r) for r in (restored, nothing))
    torch.testing.assert_close(found, expected)


def test_the_cut_edges_are_the_adversarys_too():
    """An edge that matters is cut: that alone is as bad as it can be, and is not undone."""
    about = subject("bigram")
    edges = about.circuit.edges(about.model)
    found = adversarial_ablation(about.about(about.circuit.cutting([edges[0].ends])), restarts=1, steps=2)
    assert found.figures["plain_loss"] > 0.1
    assert found.figures["tuned_loss"] > 0.1


def _parameters(model: SparseGPT) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_it_is_repeatable_and_leaves_the_model_alone():
    about = subject("quote")
    before = _parameters(about.model)
    trained = [parameter.requires_grad for parameter in about.model.parameters()]
    first, again = (adversarial_ablation(about, restarts=2, steps=3) for _ in range(2))
    assert first == again
    assert all(map(torch.equal, before, about.model.parameters()))
    assert trained == [parameter.requires_grad for parameter in about.model.parameters()]
    assert all(parameter.grad is None for parameter in about.model.parameters())
    assert not any(site._forward_hooks for site in about.model.sites().values())


def test_the_settings_are_said_and_a_start_is_needed():
    about = subject("bigram")
    found = adversarial_ablation(about, restarts=1, steps=1)
    assert found.settings["prompts"] == 32  # the odd ones of 32 pairs, both sides
    assert found.settings["tuned_on"] == "32 other prompts"
    assert len(found.figures["loss_per_restart"]) == 1
    with pytest.raises(ValueError, match="restarts is 0"):
        adversarial_ablation(about, restarts=0)
