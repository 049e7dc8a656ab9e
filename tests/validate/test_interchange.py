"""Interchange on planted models: the true circuit takes the answer with it, other nodes do not."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sparsecircuits.model import Node
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.tasks.pairs import TextPair, TokenPairs
from sparsecircuits.validate.interchange import NodeValues, interchange, like_rows
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import planted, subject, truth


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("name", ["quote", "depth", "variable", "induction", "bigram"])
def test_a_true_circuit_takes_the_answer_with_it(name: str, level: int):
    about = subject(name, level=level)
    found = interchange(about)
    assert found.passed
    assert found.estimate == 1
    assert found.figures["same"] == 1
    assert found.control == 0
    assert found.figures["rows"] == 64
    single = found.figures["flips_of_single_nodes"]
    assert set(single) == set(map(str, about.circuit.nodes))
    assert list(single.values()) == sorted(single.values(), reverse=True)


def test_with_few_like_prompts_it_is_judged_without_them():
    few, enough = interchange(subject("induction")), interchange(subject("quote"))
    assert few.figures["rows_with_a_like_one"] < 16 <= enough.figures["rows_with_a_like_one"]
    assert "judged without like prompts" in few.note
    assert not enough.note


def test_random_nodes_and_no_nodes_flip_nothing():
    about = subject("quote")
    (random,) = about.random_circuits(1, seed=5)
    for false in (random, about.circuit.keeping(())):
        found = interchange(about.about(false))
        assert found.estimate == 0
        assert not found.passed


def test_one_copy_of_two_values_is_not_enough():
    """Each of two copies writes half of the answer; the other half stays with the prompt."""
    about = subject("variable", level=2)
    copies = sorted(node for node in about.circuit.nodes if str(node.at) == "1.attn.v")
    assert len(copies) == 2
    found = interchange(about.about(about.circuit.keeping(copies[:1])))
    assert found.estimate == found.figures["flips_of_single_nodes"][str(copies[0])] < 0.9
    assert not found.passed
    assert interchange(about.about(about.circuit.keeping(copies))).passed


def test_a_circuit_whose_complement_answers_too_fails_by_its_control():
    """It has what writes the answer and not what reads the prompt, which alone takes the answer with it."""
    about = subject("bigram")
    (write,) = (node for node in about.circuit.nodes if node.site == "mlp.resid_delta")
    (read,) = (node for node in about.circuit.nodes if node.site == "mlp.act_in")
    other = next(index for index in about.active[str(read.at)].tolist() if index != read.index)
    claimed = about.about(about.circuit.keeping([write, Node(read.at, other)]))
    claimed.__dict__["active"] = {**about.active, str(read.at): torch.tensor([read.index])}
    found = interchange(claimed, draws=2)
    assert found.estimate == 1
    assert found.control == 1
    assert not found.passed


def test_one_of_a_cancelling_pair_breaks_answers_that_should_stay():
    """Alone it moves the answer by what else the source says."""
    about = subject("variable", level=2)
    (pair,) = planted("variable", level=2).truth.cancelling
    found = [interchange(about.about(about.circuit.keeping(about.circuit.nodes | {one}))) for one in pair]
    assert min(outcome.figures["same"] for outcome in found) < 0.9
    assert not all(outcome.passed for outcome in found)


def _swapped(pairs: TokenPairs, some: Tensor) -> TokenPairs:
    """With right and wrong answers exchanged in some pairs, so that the model fails there."""
    rows = torch.cat([some, some])
    return dataclasses.replace(
        pairs,
        target=torch.where(rows, pairs.other, pairs.target),
        other=torch.where(rows, pairs.target, pairs.other),
    )


def _with(about: Subject, heldout: TokenPairs) -> Subject:
    return dataclasses.replace(about, heldout=heldout)


def test_only_pairs_that_the_model_answers_rightly_count():
    about = subject("quote")
    quarter = torch.arange(32) % 4 == 0
    found = interchange(_with(about, _swapped(about.heldout, quarter)))
    assert found.figures["rows"] == 48
    assert found.estimate == 1
    none = interchange(_with(about, _swapped(about.heldout, quarter | True)))
    assert none.word == "n/a"


def test_a_like_prompt_that_the_model_answers_wrongly_is_no_source():
    about = subject("quote")
    pairs, quarter = about.heldout, torch.arange(32) % 4 == 0
    # The prompts of some pairs change sides and their answers do not, so that the model is wrong there.
    rows = torch.where(torch.cat([quarter, quarter]), torch.arange(64).roll(32), torch.arange(64))
    found = interchange(_with(about, dataclasses.replace(pairs, tokens=pairs.tokens[rows])))
    assert found.figures["rows"] == 48
    assert 0 < found.figures["rows_with_a_like_one"] < 48
    assert found.figures["same"] == 1


def test_one_token_against_all_others():
    """Right is whether the token has more than half of the probability."""
    about = subject("depth")
    pairs, n = about.heldout, len(about.heldout)
    none = torch.full((n,), -1)
    alone = dataclasses.replace(
        pairs,
        form="one_against_all",
        target=torch.cat([pairs.target[:n], none]),
        other=torch.cat([none, pairs.other[n:]]),
    )
    found = interchange(_with(about, alone))
    assert found.figures["rows"] == 2 * n
    assert found.estimate == 1
    # Of 256 tokens none has half of the probability where the logits are nearly equal.
    assert interchange(dataclasses.replace(_with(about, alone), scale=0.01)).word == "n/a"


# --- Like prompts ---


def _pairs(left: list[list[int]], right: list[list[int]], target: list[int], template: str) -> TokenPairs:
    n = len(left)
    answers = torch.tensor(target)
    return TokenPairs(
        tokens=torch.tensor(left + right),
        last=torch.tensor([len(row) - 1 for row in left + right]),
        target=torch.cat([answers, torch.full((n,), 9)]),
        other=torch.cat([torch.full((n,), 9), answers]),
        form="contrast",
        texts=tuple(TextPair("", "", "", "", template=name) for name in template),
        task="made",
        split="heldout",
        seed=0,
    )


def test_like_prompts_differ_at_the_same_place_and_have_the_same_answers():
    pairs = _pairs(
        left=[[0, 1, 5], [0, 1, 6], [1, 0, 5], [0, 1, 7], [0, 1, 5], [0, 1, 8]],
        right=[[0, 2, 5], [0, 2, 6], [2, 0, 5], [0, 2, 7], [0, 2, 5], [0, 2, 8]],
        target=[3, 3, 3, 4, 3, 3],
        template="aababb",
    )
    found = like_rows(pairs, torch.Generator().manual_seed(0)).tolist()
    # 0 and 4 are the same prompts, so no partners. Of its own template each finds one: 0 and 1, 4 and 5.
    # 2 differs at another place, 3 has another answer.
    assert found[:6] == [1, 0, -1, -1, 5, 4]
    assert found[6:] == [7, 6, -1, -1, 11, 10]


def test_unequal_lengths_are_not_like():
    pairs = _pairs([[0, 1, 5], [0, 1, 6]], [[0, 2, 5], [0, 2, 6]], [3, 3], "aa")
    shorter = dataclasses.replace(pairs, last=torch.tensor([2, 1, 2, 1]))
    assert like_rows(pairs, torch.Generator()).tolist() == [1, 0, 3, 2]
    assert like_rows(shorter, torch.Generator()).tolist() == [-1, -1, -1, -1]


# --- Putting values in ---


@torch.no_grad()
def test_own_values_change_nothing_and_all_of_anothers_give_its_answers():
    about = subject("quote")
    model, pairs = about.model, about.some
    sites = model.config.site_names()
    everything = all_nodes(sites, [model.config.width(at.site) for at in sites])
    plain = model(pairs.tokens, pairs.last)
    values = NodeValues.of(model, everything, lambda: model(pairs.tokens, pairs.last))
    partners = torch.arange(64).roll(32)
    with values.put(model):
        assert torch.equal(model(pairs.tokens, pairs.last), plain)
    with values.rows(partners).put(model):
        torch.testing.assert_close(model(pairs.tokens, pairs.last), plain[partners])
    assert not any(site._forward_hooks for site in model.sites().values())


@torch.no_grad()
def test_some_of_the_nodes_alone():
    about = subject("quote")
    model, pairs, nodes = about.model, about.some, sorted(truth("quote").nodes)
    values = NodeValues.of(model, nodes, lambda: model(pairs.tokens, pairs.last))
    for node in nodes:
        alone = NodeValues.of(model, [node], lambda: model(pairs.tokens, pairs.last))
        picked = values.only([node])
        assert torch.equal(picked.values[str(node.at)], alone.values[str(node.at)])
        assert torch.equal(picked.columns[str(node.at)], torch.tensor([node.index]))
