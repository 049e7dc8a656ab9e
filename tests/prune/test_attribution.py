"""The baselines: exact importances on a planted model, and what they find there."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from sparsecircuits.errors import PruneError
from sparsecircuits.model import Node, intervene
from sparsecircuits.prune.attribution import Importance, importances, prune_by_importance
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.planted import PlantedModel, plant, score_circuit
from sparsecircuits.validate.planted.pruners import SETTINGS


@pytest.fixture(scope="module")
def planted() -> PlantedModel:
    return plant("bigram", seed=0, level=1)


@pytest.fixture(scope="module")
def means(planted: PlantedModel) -> dict[str, Tensor]:
    return pretraining_means(planted.model, planted.corpus, count=512)


@pytest.fixture(scope="module")
def pairs(planted: PlantedModel) -> TokenPairs:
    return planted.task.pairs(planted.tokenizer, "train", 8, max_tokens=24)


def by_node(planted: PlantedModel, values: Tensor) -> dict[Node, float]:
    sites = planted.model.config.site_names()
    nodes = all_nodes(sites, [planted.model.config.width(site.site) for site in sites])
    return dict(zip(nodes, values.tolist(), strict=True))


def test_attribution_is_the_slope_of_the_loss(
    planted: PlantedModel, means: dict[str, Tensor], pairs: TokenPairs
) -> None:
    found = by_node(planted, importances(planted.model, pairs, means, "attribution"))
    written = max(node for node in planted.truth.union.nodes)
    assert written.site == "mlp.resid_delta"

    def loss(factor: float) -> float:
        def scaled(x: Tensor) -> Tensor:
            x = x.clone()
            mean = means[str(written.at)][written.index]
            x[..., written.index] = mean + factor * (x[..., written.index] - mean)
            return x

        with torch.no_grad(), intervene(planted.model, {str(written.at): scaled}):
            return float(task_loss(planted.model(pairs.tokens, pairs.last), pairs).double().mean())

    slope = (loss(1.01) - loss(0.99)) / 0.02
    # Logits are ±3, so the loss is log(1 + e^-6) = 0.00248 and falls by 6 e^-6 = 0.0148 for 1 more.
    assert slope == pytest.approx(-0.0148, rel=0.02)
    assert found[written] == pytest.approx(-slope, rel=0.01)


def test_integrated_attribution_of_the_last_node_is_what_removing_all_costs(
    planted: PlantedModel, means: dict[str, Tensor], pairs: TokenPairs
) -> None:
    # Along the path every node's factor is c, so the parts add up to loss(all frozen) - loss(full):
    # log 2 - 0.0025 = 0.691, as no frozen value prefers an answer.
    total = float(importances(planted.model, pairs, means, "integrated").sum())
    assert total == pytest.approx(0.691, abs=0.03)


def test_magnitude_is_the_distance_from_the_mean(
    planted: PlantedModel, means: dict[str, Tensor], pairs: TokenPairs
) -> None:
    found = by_node(planted, importances(planted.model, pairs, means, "magnitude"))
    ballast = Node.parse(f"0.attn.act_in.{planted.channels['ballast']}")
    assert found[ballast] < 1e-4  # constant
    feature = Node.parse(f"0.mlp.act_in.{planted.channels['feature']}")
    # ±1 at the last token of each prompt and 0 elsewhere; the mean is nearly 0.
    assert found[feature] == pytest.approx((16 / int((pairs.last + 1).sum())) ** 0.5, rel=0.01)


def test_random_goes_by_the_seed(planted: PlantedModel, means: dict[str, Tensor], pairs: TokenPairs) -> None:
    one, same, other = (importances(planted.model, pairs, means, "random", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("by", ["attribution", "integrated"])
def test_gradients_find_what_is_planted_among_noise(by: Importance) -> None:
    planted = plant("variable", seed=0, level=1)
    result = prune_by_importance(planted.model, planted.task, planted.tokenizer, planted.corpus, by, SETTINGS)
    score = score_circuit(planted.truth, result.circuit, planted.model)
    assert (score.nodes.f1, score.edges.f1) == (1, 1)
    assert (result.nodes, result.edges, result.met) == (16, 12, True)
    assert result.loss < 0.15
    assert result.accuracy == 1
    assert result.circuit.info["by"] == by


@pytest.mark.parametrize("by", ["magnitude", "random"])
def test_what_knows_nothing_of_the_task_keeps_far_too_much(planted: PlantedModel, by: Importance) -> None:
    result = prune_by_importance(planted.model, planted.task, planted.tokenizer, planted.corpus, by, SETTINGS)
    assert result.met
    assert result.nodes > 100
    assert score_circuit(planted.truth, result.circuit, planted.model).nodes.f1 < 0.1


def test_errors(planted: PlantedModel, means: dict[str, Tensor], pairs: TokenPairs) -> None:
    with pytest.raises(PruneError, match="no importance 'atribution'; did you mean 'attribution'"):
        importances(planted.model, pairs, means, "atribution")  # type: ignore[arg-type]
    config = dataclasses.replace(SETTINGS, target=1e-6)
    with pytest.raises(PruneError, match="bigram: the full model misses the target 1e-06"):
        prune_by_importance(
            planted.model, planted.task, planted.tokenizer, planted.corpus, "attribution", config
        )
