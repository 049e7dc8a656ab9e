"""Tracr's programs run in our forward as in JAX, their truths are true, and pruning finds one of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, intervene, record
from sparsecircuits.prune.prune import prune
from sparsecircuits.validate.planted import Agreement, score_circuit
from sparsecircuits.validate.planted.pruners import SETTINGS
from tests.validate.tracr import tracr_model
from tests.validate.tracr_inputs import (
    ANSWERS,
    PROGRAMS,
    SHARES,
    Words,
    answer,
    arrays,
    every_input,
    prompt,
    task,
)
from tests.validate.tracr_weights import SURE, channel_labels


class Inputs(NamedTuple):
    """Prompts [rows, pos], where each ends [rows], and the place that it asks for."""

    tokens: Tensor
    last: Tensor
    asked: list[tuple[tuple[str, ...], int]]


@functools.cache
def inputs(every: int = 1) -> Inputs:
    """All 1,641 of them, or every so many."""
    words, asked = Words(), every_input()[::every]
    ids = words.encode_batch([prompt(*one) for one in asked])
    width = max(map(len, ids))
    tokens = [[words.eot_id, *row, *[words.eot_id] * (width - len(row))] for row in ids]
    return Inputs(torch.tensor(tokens), torch.tensor([len(row) for row in ids]), asked)


def answers(program: str, some: Inputs) -> Tensor:
    """[rows, answers] the model's logits, as it now runs."""
    columns = [tracr_model().words.ids[one] for one in ANSWERS[program]]
    with torch.no_grad():
        return tracr_model().model(some.tokens, some.last)[:, columns]


def share_right(program: str, logits: Tensor, some: Inputs) -> float:
    right = torch.tensor([ANSWERS[program].index(answer(program, *one)) for one in some.asked])
    return float((logits.argmax(1) == right).float().mean())


def test_prompts_and_answers_by_hand() -> None:
    assert prompt("wxy", 0) == " x1 y2 w0"
    assert (answer("reverse", "wxy", 0), answer("reverse", "wxy", 1)) == (" y", " x")
    assert (answer("xproportion", "wxxy", 0), answer("xproportion", "wxxy", 2)) == (" 0", " 2/3")
    assert len(SHARES) == 11
    assert len(inputs().asked) == sum(length * 3**length for length in range(1, 6)) == 1641


@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("program", PROGRAMS)
def test_outputs_are_those_of_jax(program: str, noise: bool) -> None:
    file, some = arrays(program), inputs()
    model = tracr_model(noise=noise).model
    with record(model, ["final_resid"]) as cache, torch.no_grad():
        model(some.tokens, some.last)
    channels = [channel_labels().index(str(label)) for label in file["output_labels"]]
    ours = cache["final_resid"][:, channels]
    by_input = {}
    for ids, outputs in zip(file["inputs"], file["outputs"], strict=True):
        by_input[tuple(str(file["words"][token]) for token in ids[1:] if token >= 0)] = outputs
    theirs = torch.stack([torch.tensor(by_input[text][asked + 1]) for text, asked in some.asked])
    assert theirs.abs().max() > 0.9
    assert (ours - theirs).abs().max() <= 2e-7  # rounding of numbers up to 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_model_is_always_right(program: str) -> None:
    assert share_right(program, answers(program, inputs()), inputs()) == 1


class Elsewhere:
    """What is not kept takes its value on another prompt of the same length."""

    def __init__(self, keep: Tensor, other: Tensor) -> None:
        self.keep, self.other = keep, other

    def __call__(self, x: Tensor) -> Tensor:
        return torch.where(self.keep, x, self.other)


def shift_by_resampling(program: str, kept: Collection[Node]) -> float:
    """The largest move of an answer's logit, as a share of the largest."""
    tracr, some = tracr_model(), inputs(every=3)
    sites = [str(site) for site in tracr.model.config.site_names()]
    order = torch.arange(len(some.last))
    generator = torch.Generator().manual_seed(0)
    for length in some.last.unique():
        rows = torch.nonzero(some.last == length).flatten()
        order[rows] = rows[torch.randperm(len(rows), generator=generator)]
    with record(tracr.model, sites) as cache:
        before = answers(program, some)
    keep = Circuit(program, frozenset(kept), tracr.means).keep_masks()
    with intervene(tracr.model, {site: Elsewhere(keep[site], cache[site][order]) for site in sites}):
        after = answers(program, some)
    return float((after - before).abs().max() / before.abs().max())


@pytest.mark.parametrize(("program", "nodes", "edges"), [("reverse", 103, 114), ("xproportion", 21, 24)])
def test_the_truth_is_enough_and_nothing_in_it_is_for_nothing(program: str, nodes: int, edges: int) -> None:
    tracr, some = tracr_model(), inputs(every=7)
    (truth,) = tracr.truth(program).minimal
    assert (len(truth.nodes), len(truth.edges)) == (nodes, edges)
    assert shift_by_resampling(program, truth.nodes) <= 1e-5
    before = answers(program, some)

    def moved(node: Node) -> float:
        with intervene(tracr.model, {str(node.at): held(node, tracr.means[str(node.at)])}):
            return float((answers(program, some) - before).abs().max())

    assert min(moved(node) for node in truth.nodes) > 0.01 * SURE
    assert max(moved(node) for node in tracr.fallback(program)) < 1e-4
    assert shift_by_resampling(program, truth.nodes - {max(truth.nodes)}) > 0.1


def held(node: Node, means: Tensor) -> Callable[[Tensor], Tensor]:
    """One node at its mean."""
    here = torch.arange(len(means)) == node.index
    return lambda x: torch.where(here, means, x)


def test_the_truths_share_no_weight_and_noise_has_no_part_in_them() -> None:
    one, other = (tracr_model().truth(program).union for program in PROGRAMS)
    assert not one.edges & other.edges
    assert one == tracr_model(1).truth("reverse").union
    assert one == tracr_model(noise=False).truth("reverse").union


def test_where_reverse_counts_its_letters_its_pattern_is_the_same_for_all_of_them() -> None:
    """So each q and k there matters by itself, all of them together do not: there is a second minimal set."""
    tracr = tracr_model()
    (truth,) = tracr.truth("reverse").minimal
    lean = {node for node in truth.nodes if str(node.at) not in ("0.attn.q", "0.attn.k")}
    assert len(truth.nodes) - len(lean) == 7
    with Circuit("reverse", frozenset(lean), tracr.means).installed(tracr.model):
        logits = answers("reverse", inputs())
    assert (logits - answers("reverse", inputs())).abs().max() < 1e-3


def test_pruning_finds_xproportion_exactly() -> None:
    tracr = tracr_model()
    means, truth = tracr.means, tracr.truth("xproportion")
    # At the usual 0.15 nats one of the five places, asked in one prompt of fifteen, may be missed.
    config = SETTINGS.replace(target=0.01)
    found = prune(tracr.model, task("xproportion"), tracr.words, tracr.corpus, config, means=means).circuit
    score = score_circuit(truth, found, tracr.model)
    assert score.nodes.precision == score.edges.precision == 1
    assert min(score.nodes.f1, score.edges.f1) >= 0.9  # measured: 1 and 1
    with found.installed(tracr.model):
        assert share_right("xproportion", answers("xproportion", inputs()), inputs()) >= 0.9


def test_the_decoy_and_noise_score_nothing() -> None:
    tracr = tracr_model()
    decoy = Circuit("decoy", tracr.truth("reverse").union.nodes, tracr.means)
    score = score_circuit(tracr.truth("xproportion"), decoy, tracr.model)
    assert score.nodes.f1 < 0.2
    assert score.edges == Agreement(0, 0)
    with decoy.installed(tracr.model):
        assert share_right("xproportion", answers("xproportion", inputs()), inputs()) < 0.5
