"""The objectives: what is in them, and that they leave the model alone."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.prune import PruneConfig, pair_logits, pretraining_means
from sparsecircuits.prune.masks import NodeMasks
from sparsecircuits.prune.means import pretraining_pool
from sparsecircuits.prune.objective import FaithfulObjective, TaskObjective
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
    generator = torch.Generator().manual_seed(0)
    return NodeMasks(MODEL.config, bias=bias, scale=0, temperature=1, generator=generator, tied=True)


def faithful(**changes: object) -> FaithfulObjective:
    config = PruneConfig(objective="faithful").replace(**changes)
    return FaithfulObjective(MODEL, PAIRS, MEANS, 1.0, config, POOL, torch.Generator().manual_seed(0))


def test_the_pool_holds_values_whose_mean_is_near_the_means():
    pool = pretraining_pool(MODEL, TOKENS, count=512)
    assert pool.shape == (512, planted.CONFIG.node_count)
    assert torch.allclose(pool.mean(0), torch.cat(list(MEANS.values())), atol=0.1)


def test_with_everything_kept_there_is_no_divergence_whatever_is_restored():
    own = task_loss(pair_logits(MODEL, PAIRS), PAIRS).mean()
    for step in range(4):
        measured = faithful()(masks(bias=1.0), ALL, step)
        assert float(measured.task) == pytest.approx(float(own), rel=1e-4)
        assert float(measured.loss.detach()) == pytest.approx(0.25 * float(own), rel=1e-3)
        assert measured.plain is (step % 2 == 0)


def test_without_divergence_and_restoring_it_is_the_task_objective():
    some = masks(bias=-1.0)
    alone = faithful(kl_share=0.0)(some, ALL, 0)
    plain = TaskObjective(MODEL, PAIRS, MEANS, 1.0)(some, ALL, 0)
    assert float(alone.loss.detach()) == pytest.approx(float(plain.loss.detach()))
    assert float(alone.count.detach()) == float(plain.count.detach()) == 0


def test_deleted_nodes_take_other_values_in_half_of_the_steps():
    nothing = masks(bias=-1.0)
    objective = faithful(kl_share=0.0)
    at_means = float(objective(nothing, ALL, 0).task)
    assert float(objective(nothing, ALL, 4).task) == at_means
    assert float(objective(nothing, ALL, 2).task) != at_means
    assert float(faithful(kl_share=0.0, resample=False)(nothing, ALL, 2).task) == at_means


def test_answers_are_two_numbers_a_row():
    logits = torch.zeros(32, TOKENIZER.vocab_size)
    logits[torch.arange(32), PAIRS.target] = 2.0
    answers = answer_log_probabilities(logits, PAIRS)
    assert answers.shape == (32, 2)
    assert answers.exp().sum(-1).allclose(torch.ones(32))
    assert torch.allclose(-answers[:, 0], task_loss(logits, PAIRS))
