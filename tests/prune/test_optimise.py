"""The mask run: masks move, weights do not, and a run that failed says so."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.prune import PruneConfig, pretraining_means
from sparsecircuits.prune.objective import TaskObjective
from sparsecircuits.prune.optimise import MaskRun, optimise_masks
from tests.prune import planted

NODES = planted.CONFIG.node_count


def run(penalty: float, steps: int, config: PruneConfig = planted.SETTINGS, **more) -> MaskRun:
    tokenizer = planted.byte_tokenizer()
    model = planted.attention_model(tokenizer).requires_grad_(False)
    pairs = planted.STRING_CLOSING.pairs(tokenizer, "train", 32)
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    objective = TaskObjective(model, pairs, means, 1.0)
    result = optimise_masks(model, objective, len(pairs), penalty=penalty, config=config, steps=steps, **more)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    return result


@pytest.mark.parametrize(("kept", "failed"), [(0, True), (1, False), (90, False), (91, True), (100, True)])
def test_nothing_or_nearly_everything_left_is_a_failure(kept: int, failed: bool):
    assert MaskRun(torch.zeros(100), kept, 0.0, 1).failed() is failed


def test_the_circuit_outlives_the_noise():
    result = run(penalty=8.0, steps=60)
    # Sites of 8 nodes each: attn.act_in from 0, attn.v from 24, attn.resid_delta from 32.
    index = {planted.QUOTE, 24 + planted.VALUE, 32 + planted.WRITTEN}
    assert result.tau.shape == (NODES,)
    assert index == set(result.tau.topk(3).indices.tolist())
    assert result.kept == int((result.tau >= 0).sum()) < NODES // 2


def test_an_absurd_penalty_leaves_nothing_and_none_leaves_everything():
    assert run(penalty=1e6, steps=60).failed()
    everything = run(penalty=1e-9, steps=1)
    assert (everything.kept, everything.failed()) == (NODES, True)


def test_masks_stay_within_bounds_whatever_the_rate():
    result = run(penalty=50.0, steps=5, config=planted.SETTINGS.replace(lr=10.0))
    assert float(result.tau.abs().max()) <= 1


def test_every_step_is_watched():
    seen: list[tuple[int, int]] = []
    result = run(penalty=8.0, steps=3, watch=lambda step, loss, kept: seen.append((step, kept)))
    assert [step for step, _ in seen] == [1, 2, 3]
    assert seen[0][1] == NODES  # all start above zero
    assert result.steps == 3


def test_same_seed_same_masks():
    first, again = run(penalty=8.0, steps=5), run(penalty=8.0, steps=5)
    other = run(penalty=8.0, steps=5, config=planted.SETTINGS.replace(seed=1))
    assert torch.equal(first.tau, again.tau)
    assert not torch.equal(first.tau, other.tau)
