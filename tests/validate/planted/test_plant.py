"""Whole planted models: the truth holds, whatever the seed shuffles, and decoys are what they are called."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node, SparseGPT, record
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.tasks.score import pair_logits, score
from sparsecircuits.validate.planted import LEVELS, PROGRAMS, check_truth, plant, planted_models
from sparsecircuits.validate.planted.check import TOLERANCE
from sparsecircuits.validate.planted.place import block

#: Nodes and edges of each minimal set, and how many there are with copies.
SIZES = {
    "quote": (12, 10, 2),
    "depth": (7, 4, 2),
    "variable": (16, 12, 2),
    "induction": (24, 18, 2),
    "bigram": (4, 4, 4),
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_truth_is_enough_and_minimal(name: str, level: int) -> None:
    planted = plant(name, seed=level, level=level)
    nodes, edges, copies = SIZES[name]
    assert [(len(part.nodes), len(part.edges)) for part in planted.truth.minimal] == (
        [(nodes, edges)] * (1 if level == 1 else copies)
    )
    check = check_truth(planted)
    assert check.shift <= TOLERANCE
    assert check.unlisted == 0
    assert max(check.full_loss, *check.losses) < 0.01
    assert min(loss for loss, _ in check.broken) > 0.2
    assert check.holds()


def test_a_wrong_truth_does_not_hold() -> None:
    planted = plant("variable", seed=0, level=1)
    (part,) = planted.truth.minimal
    less = replace(part, nodes=part.nodes - {max(part.nodes)})
    check = check_truth(replace(planted, truth=replace(planted.truth, minimal=(less,))))
    assert check.shift > 0.1
    assert not check.holds()


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_seed_moves_everything_and_changes_nothing(name: str) -> None:
    one, other = plant(name, seed=0), plant(name, seed=1)
    assert one.truth.union.nodes != other.truth.union.nodes
    assert sorted(map(str, (node.at for node in one.truth.union.nodes))) == sorted(
        map(str, (node.at for node in other.truth.union.nodes))
    )
    pairs = one.task.pairs(one.tokenizer, "heldout", 16, max_tokens=24)
    candidates = torch.stack([pairs.target, pairs.other], dim=1)
    logits = [pair_logits(planted.model, pairs).gather(1, candidates) for planted in (one, other)]
    torch.testing.assert_close(*logits, rtol=1e-4, atol=1e-4)


def test_a_model_is_a_function_of_program_seed_and_level() -> None:
    one, same, other = (plant("depth", seed, 2).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_all_levels_of_a_seed_have_the_program_in_the_same_place() -> None:
    one, two, three = (plant("induction", 5, level) for level in LEVELS)
    assert one.channels == two.channels == three.channels
    assert one.truth.minimal[0] == two.truth.minimal[0] == three.truth.minimal[0]


def test_the_full_set_has_120_models() -> None:
    models = [(planted.program.name, planted.level, planted.seed) for planted in planted_models()]
    assert len(models) == len(set(models)) == 5 * 8 * 3
    assert models[0] == ("quote", 1, 0)
    assert models[-1] == ("bigram", 3, 7)


def test_one_of_two_cancelling_nodes_does_the_task_alone_where_both_do_nothing() -> None:
    planted = plant("quote", seed=0, level=2)
    ((one, other),) = planted.truth.cancelling
    close = planted.channels["close"]
    weights = block(planted.model, 0).attn.c_proj.weight[close, [one.index, other.index]]
    assert sorted(weights.tolist()) == [-2, 2]
    channels = [planted.channels[role] for role in ("single", "double")]
    positive = one if weights[0] > 0 else other
    reads = {f"0.attn.act_in.{channel}" for channel in channels}
    model, pairs = planted.model, planted.task.pairs(planted.tokenizer, "heldout", 16, max_tokens=24)
    means = pretraining_means(model, planted.corpus, count=512)
    shortcut = {Node.parse(name) for name in (*reads, str(positive), f"0.attn.resid_delta.{close}")}
    with Circuit("quote", frozenset(shortcut), means).installed(model):
        assert score(pair_logits(model, pairs), pairs).loss < 0.15
    with Circuit("quote", frozenset(shortcut | {one, other}), means).installed(model):
        assert score(pair_logits(model, pairs), pairs).loss == pytest.approx(0.693, abs=0.01)


def test_at_level_3_topk_drops_entries_and_another_program_is_on_the_channel() -> None:
    easy, hard = plant("depth", 0, 2), plant("depth", 0, 3)
    assert easy.model.config.topk("attn.act_in") is None
    assert hard.model.config.topk("attn.act_in") == 24  # 60% of 40 channels
    assert _nonzero(hard.model) == 24 < _nonzero(easy.model)
    # The feature of "m" and "n" is where the depth is written.
    ids = [hard.tokenizer.encode(character)[0] for character in "mn"]
    embedding = hard.model.transformer.get_parameter("wte.weight")
    assert embedding[ids, hard.channels["depth"]].tolist() == [1, -1]
    assert easy.model.transformer.get_parameter("wte.weight")[ids, easy.channels["depth"]].tolist() == [0, 0]


def test_what_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="no planted program 'qoute'; did you mean 'quote'"):
        plant("qoute")
    with pytest.raises(ConfigError, match="no level 4; known: 1, 2, 3"):
        plant("quote", level=4)


def _nonzero(model: SparseGPT) -> int:
    """The most channels that layer 1's MLP reads at one token of one prompt."""
    tokens = torch.tensor([[256, *range(97, 117)]])
    with torch.no_grad(), record(model, ["1.mlp.act_in"]) as cache:
        model(tokens)
    return int((cache["1.mlp.act_in"] != 0).sum(-1).max())
