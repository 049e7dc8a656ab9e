"""The objectives: what is in them, and that they leave the model alone."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.prune import PruneConfig, pair_logits, pretraining_means
from sparsecircuits.prune.masks import NodeMasks, Start
from sparsecircuits.prune.means import pretraining_pool
from sparsecircuits.prune.objective import Measured, Objective, join_pairs, measure
from sparsecircuits.tasks.loss import answer_log_probabilities, task_loss
from tests.prune import planted

TOKENIZER = planted.byte_tokenizer()
MODEL = planted.attention_model(TOKENIZER).requires_grad_(False)
PAIRS = planted.STRING_CLOSING.pairs(TOKENIZER, "train", 16)
TOKENS = planted.corpus(TOKENIZER)
MEANS = pretraining_means(MODEL, TOKENS, count=512)
POOL = pretraining_pool(MODEL, TOKENS, count=64)
ALL = torch.arange(16)


def masks(bias: float) -> NodeMasks:
    start = Start(bias, 0.0, 1.0, torch.Generator().manual_seed(0))
    return NodeMasks(MODEL.config, [start], tied=True)


def faithful(**changes: object) -> Objective:
    config = PruneConfig(objective="faithful").replace(**changes)
    wanted = answer_log_probabilities(pair_logits(MODEL, PAIRS), PAIRS)
    return Objective(config, PAIRS, MEANS, pool=POOL, wanted=wanted)


def measured(objective: Objective, some: NodeMasks, step: int) -> Measured:
    return measure(MODEL, [objective], some, [ALL], step)


def test_the_pool_holds_values_whose_mean_is_near_the_means():
    pool = pretraining_pool(MODEL, TOKENS, count=512)
    assert pool.shape == (512, planted.CONFIG.node_count)
    assert torch.allclose(pool.mean(0), torch.cat(list(MEANS.values())), atol=0.1)


def test_with_everything_kept_there_is_no_divergence_whatever_is_restored():
    own = task_loss(pair_logits(MODEL, PAIRS), PAIRS).mean()
    for step in range(4):
        found = measured(faithful(), masks(bias=1.0), step)
        assert float(found.task) == pytest.approx(float(own), rel=1e-4)
        assert float(found.loss.detach()) == pytest.approx(0.25 * float(own), rel=1e-3)
        assert found.plain is (step % 2 == 0)


def test_without_divergence_and_restoring_it_is_the_task_objective():
    some = masks(bias=-1.0)
    alone = measured(faithful(kl_share=0.0), some, 0)
    plain = measured(Objective(PruneConfig(objective="task"), PAIRS, MEANS), some, 0)
    assert float(alone.loss.detach()) == pytest.approx(float(plain.loss.detach()))
    assert float(alone.count.detach()) == float(plain.count.detach()) == 0


def test_deleted_nodes_take_other_values_in_half_of_the_steps():
    nothing = masks(bias=-1.0)
    objective = faithful(kl_share=0.0)
    at_means = float(measured(objective, nothing, 0).task)
    assert float(measured(objective, nothing, 4).task) == at_means
    assert float(measured(objective, nothing, 2).task) != at_means
    assert float(measured(faithful(kl_share=0.0, resample=False), nothing, 2).task) == at_means


def test_answers_are_two_numbers_a_row():
    logits = torch.zeros(32, TOKENIZER.vocab_size)
    logits[torch.arange(32), PAIRS.target] = 2.0
    answers = answer_log_probabilities(logits, PAIRS)
    assert answers.shape == (32, 2)
    assert answers.exp().sum(-1).allclose(torch.ones(32))
    assert torch.allclose(-answers[:, 0], task_loss(logits, PAIRS))


def test_joined_pairs_are_left_prompts_then_right_ones_without_needless_padding():
    first, second = PAIRS.rows([0, 1]), PAIRS.rows([5, 6])
    joined = join_pairs([first, second])
    longest = int(joined.last.max()) + 1
    assert joined.tokens.shape == (8, longest)
    wanted = torch.cat([PAIRS.tokens[[0, 1, 5, 6]], PAIRS.tokens[[16, 17, 21, 22]]])[:, :longest]
    assert torch.equal(joined.tokens, wanted)
    assert torch.equal(joined.target, torch.cat([PAIRS.target[[0, 1, 5, 6]], PAIRS.target[[16, 17, 21, 22]]]))
    assert joined.texts == first.texts + second.texts


def test_sets_of_other_lengths_are_padded_with_what_prompts_begin_with():
    short = dataclasses.replace(
        PAIRS.rows([0]), tokens=PAIRS.rows([0]).tokens[:, :3], last=torch.tensor([2, 2])
    )
    joined = join_pairs([short, PAIRS.rows([1])])
    assert (joined.tokens[0, 3:] == PAIRS.tokens[0, 0]).all()
    assert joined.last.tolist() == [2, int(PAIRS.last[1]), 2, int(PAIRS.last[17])]
