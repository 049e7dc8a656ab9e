"""Resample ablation on planted models, each number worked out by hand where it can be."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.model import intervene, record
from sparsecircuits.validate import resample
from sparsecircuits.validate.resample import _rows_apart, _scrubbing, resample_ablation
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import subject, truth


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("name", ["quote", "depth", "variable", "induction", "bigram"])
def test_a_true_circuit_does_not_mind_what_the_rest_reads(name: str, level: int):
    found = resample_ablation(subject(name, level=level), draws=1)
    assert found.passed
    assert found.estimate == pytest.approx(1, abs=1e-3)
    assert found.figures["apart"] == pytest.approx(1, abs=1e-2)
    assert found.figures["loss"] == pytest.approx(found.figures["full_loss"], abs=1e-3)
    assert found.control is not None
    assert found.control < 0.1


@pytest.mark.parametrize("lacks", range(7))
def test_a_circuit_that_lacks_a_node_fails(lacks: int):
    true = truth("depth")
    false = true.without([sorted(true.nodes)[lacks]])
    assert not resample_ablation(subject("depth").about(false), draws=1).passed


def test_one_copy_of_two_does_the_task_but_fails():
    """The other copy answers for the text that it reads."""
    found = resample_ablation(subject("quote", level=2).about(truth("quote", level=2, union=False)), draws=4)
    assert found.figures["mean_ablation_loss"] < 0.01
    assert found.estimate is not None
    assert found.estimate < 0.8
    assert not found.passed


def test_the_share_is_measured_from_a_coin_at_most():
    about = subject("quote")
    empty = resample_ablation(about.about(about.circuit.keeping(())), draws=2)
    figures = empty.figures
    assert figures["loss"] == figures["base_loss"] > math.log(2)
    expected = (math.log(2) - figures["loss"]) / (math.log(2) - figures["full_loss"])
    assert empty.estimate == pytest.approx(expected, rel=1e-4)
    assert expected < 0
    assert figures["apart_loss"] == figures["apart_base_loss"]
    assert figures["apart_loss"] != pytest.approx(figures["loss"], rel=1e-3)  # other values, so another loss
    assert not empty.passed


@torch.no_grad()
def test_deleted_nodes_are_at_what_one_window_gives_them():
    about = subject("quote").about(truth("quote").without([sorted(truth("quote").nodes)[0]]))
    pairs, circuit, model = about.some, about.circuit, about.model
    assert about.corpus is not None
    rows, width = pairs.tokens.shape
    windows = batch(about.corpus, seed=about.draw_seed, step=0, rows=rows, n_ctx=width)[:, :width]
    with record(model) as cache:
        model(windows)
    keep = circuit.keep_masks()

    def change(name: str):
        def by_hand(x: Tensor) -> Tensor:
            x = x.clone()
            x[..., ~keep[name]] = cache[name][..., ~keep[name]]
            return x

        return by_hand

    with intervene(model, {name: change(name) for name in keep}):
        losses = about.losses(model(pairs.tokens, pairs.last), pairs)
    found = resample_ablation(about, draws=1)
    assert found.figures["loss"] == pytest.approx(float(losses.mean()), rel=1e-5)
    share = (math.log(2) - float(losses.mean())) / (math.log(2) - found.figures["full_loss"])
    assert found.estimate == pytest.approx(share, rel=1e-4)


def _edited(about: Subject) -> Subject:
    edges = about.circuit.edges(about.model)
    node = sorted(about.circuit.nodes)[-1]
    return about.about(about.circuit.cutting([edge.ends for edge in edges[:3]]).rescaled(node, 0.5))


@torch.no_grad()
def test_means_for_donors_are_mean_ablation_cuts_and_gains_too():
    about = _edited(subject("quote"))
    pairs = about.some
    with _scrubbing(about.model, about.circuit, about.circuit.frozen):
        losses = about.losses(about.model(pairs.tokens, pairs.last), pairs)
    torch.testing.assert_close(losses, about.circuit_losses(pairs), atol=1e-5, rtol=1e-4)


def test_a_cut_edge_that_matters_costs_the_share():
    about = subject("bigram")
    edges = about.circuit.edges(about.model)
    assert not resample_ablation(about.about(about.circuit.cutting([edges[0].ends])), draws=1).passed


def test_mean_and_zero_ablation_stand_beside_it():
    about = subject("quote")
    circuit = about.circuit
    zeroed = dataclasses.replace(circuit, frozen={name: mu * 0 for name, mu in circuit.frozen.items()})
    figures = resample_ablation(about, draws=1).figures
    assert figures["mean_ablation_loss"] == pytest.approx(float(about.circuit_losses(about.some).mean()))
    at_zero = float(about.circuit_losses(about.some, zeroed).mean())
    assert figures["zero_ablation_loss"] == pytest.approx(at_zero, rel=1e-4)
    assert at_zero != pytest.approx(figures["mean_ablation_loss"], rel=0.01)


def test_each_node_has_an_order_of_rows_of_its_own():
    rows, pos, width = 8, 3, 5
    values = torch.arange(rows * pos * width).view(rows, pos, width).float()
    found = _rows_apart(values, torch.Generator().manual_seed(0))
    came_from = (found // (pos * width)).long()  # [rows, pos, width]
    assert torch.equal(came_from, came_from[:, :1].expand_as(came_from))  # a window stays in one piece
    orders = {tuple(came_from[:, 0, node].tolist()) for node in range(width)}
    assert len(orders) == width
    assert all(sorted(order) == list(range(rows)) for order in orders)
    assert torch.equal(found % (pos * width), values % (pos * width))  # at its own position and node


def test_a_few_rows_at_a_time_give_the_same(monkeypatch: pytest.MonkeyPatch):
    about = subject("quote").about(truth("quote").without([sorted(truth("quote").nodes)[0]]))
    whole = resample_ablation(about, draws=1)
    monkeypatch.setattr(resample, "VALUES", 7 * about.some.tokens.shape[1] * about.model.config.node_count)
    parts = resample_ablation(about, draws=1)
    assert parts.estimate == pytest.approx(whole.estimate, rel=1e-5)
    assert parts.control == pytest.approx(whole.control, rel=1e-5)


def test_it_is_repeatable_and_leaves_the_model_alone():
    about = subject("bigram")
    assert resample_ablation(about, draws=2) == resample_ablation(about, draws=2)
    assert not any(site._forward_hooks for site in about.model.sites().values())


def test_it_needs_a_corpus_and_a_model_that_does_the_task():
    about = subject("bigram")
    assert resample_ablation(dataclasses.replace(about, corpus=None)).word == "open"
    held = about.heldout
    wrong = dataclasses.replace(held, target=held.other, other=held.target)
    assert resample_ablation(dataclasses.replace(about, heldout=wrong), draws=1).word == "n/a"
