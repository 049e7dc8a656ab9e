"""Interchange with the full model, on planted models and on a curve made by hand."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.validate.interchange import NodeValues
from sparsecircuits.validate.interchange_curve import _Curve, interchange_to_full
from tests.validate.subjects import subject, truth


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("name", ["quote", "depth", "variable", "induction", "bigram"])
def test_a_true_circuits_nodes_hold_what_the_models_hold(name: str, level: int):
    found = interchange_to_full(subject(name, level=level), shares=3, draws=2)
    assert found.passed
    assert found.estimate == pytest.approx(0, abs=1e-4)
    assert found.figures["shares"] == [0, 0.5, 1]
    assert len(found.figures["curve"]) == 3


def test_without_its_first_node_the_circuit_needs_the_models_values():
    """All nodes at the model's values include what the last one writes: with it comes the whole answer."""
    about = subject("quote")
    false = about.about(about.circuit.without([sorted(about.circuit.nodes)[0]]))
    found = interchange_to_full(false, shares=5, draws=2)
    curve = found.figures["curve"]
    circuit, full = (
        float(losses.mean()) for losses in (false.circuit_losses(false.some), false.full_losses(false.some))
    )
    assert curve[0] == pytest.approx(circuit, rel=1e-4)
    assert curve[-1] == pytest.approx(full, rel=1e-3)
    assert found.figures["fall"] == pytest.approx(circuit - full, rel=1e-3)
    assert found.estimate == pytest.approx(max(found.figures["fall"], found.figures["rise"]), rel=1e-4)
    assert circuit - full > 0.1
    assert not found.passed


@pytest.mark.parametrize("lacks", range(6))
def test_a_circuit_that_lacks_a_node_before_the_last_fails(lacks: int):
    true = truth("depth")
    false = true.without([sorted(true.nodes)[lacks]])
    assert not interchange_to_full(subject("depth").about(false), shares=3, draws=1).passed


def test_a_gain_that_the_model_does_not_have_shows():
    """Half of what the last node writes: that is a circuit of its own, and the model's values mend it."""
    about = subject("quote")
    last = sorted(about.circuit.nodes)[-1]
    found = interchange_to_full(about.about(about.circuit.rescaled(last, -1)), shares=2)
    assert found.figures["curve"][1] == pytest.approx(float(about.full_losses(about.some).mean()), rel=1e-3)
    assert not found.passed


def test_cut_edges_stay_cut():
    about = subject("bigram")
    edges = about.circuit.edges(about.model)
    cut = about.about(about.circuit.cutting([edges[0].ends]))
    found = interchange_to_full(cut, shares=2)
    assert found.figures["curve"][0] == pytest.approx(float(cut.circuit_losses(cut.some).mean()), rel=1e-4)
    assert not found.passed


@torch.no_grad()
def test_all_of_the_models_values_by_hand():
    """Prompt by prompt, without what they have in common worked out once."""
    about = subject("quote")
    false = about.about(about.circuit.without([sorted(about.circuit.nodes)[-1]]))
    model, pairs = false.model, false.some
    values = NodeValues.of(model, false.circuit.nodes, lambda: model(pairs.tokens, pairs.last))
    with false.circuit.installed(model), values.put(model):
        losses = false.losses(model(pairs.tokens, pairs.last), pairs)
    found = interchange_to_full(false, shares=2)
    assert found.figures["curve"][1] == pytest.approx(float(losses.mean()), rel=1e-4)


def test_the_change_counts_up_and_down():
    up = _Curve([0.0, 0.5, 1.0], torch.tensor([[1.0, 1.0], [1.5, 1.7], [0.9, 0.9]]))
    assert up.changes.tolist() == pytest.approx([0.5, 0.7])
    assert up.change == pytest.approx(0.6)
    down = _Curve([0.0, 1.0], torch.tensor([[1.0, 1.0], [0.5, 0.9]]))
    assert down.changes.tolist() == pytest.approx([0.5, 0.1])
    assert down.change == pytest.approx(0.3)


def test_the_interval_is_about_the_change():
    about = subject("quote")
    false = about.about(about.circuit.without([sorted(about.circuit.nodes)[0]]))
    found = interchange_to_full(false, shares=3, draws=2)
    assert found.interval is not None
    assert found.estimate is not None
    assert found.interval.low <= found.estimate <= found.interval.high


def test_it_is_repeatable_and_leaves_the_model_alone():
    about = subject("quote")
    assert interchange_to_full(about, shares=3, draws=2) == interchange_to_full(about, shares=3, draws=2)
    assert not any(site._forward_hooks for site in about.model.sites().values())


@pytest.mark.parametrize("counts", [{"shares": 1}, {"draws": 0}])
def test_it_needs_two_shares_and_a_draw(counts: dict[str, int]):
    with pytest.raises(ValueError, match="at least 2 and 1 are needed"):
        interchange_to_full(subject("bigram"), **counts)
