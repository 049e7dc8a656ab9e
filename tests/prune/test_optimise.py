"""The mask run: masks move, weights do not, and a run that failed says so."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.prune import PruneConfig, pair_logits, pretraining_means
from sparsecircuits.prune.means import pretraining_pool
from sparsecircuits.prune.objective import Objective
from sparsecircuits.prune.optimise import MaskAdamW, MaskJob, MaskRun, max_sets, optimise_masks
from sparsecircuits.tasks.loss import answer_log_probabilities
from tests.prune import planted

NODES = planted.CONFIG.node_count


TOKENIZER = planted.byte_tokenizer()
MODEL = planted.attention_model(TOKENIZER).requires_grad_(False)
PAIRS = planted.STRING_CLOSING.pairs(TOKENIZER, "train", 32)
MEANS = pretraining_means(MODEL, planted.corpus(TOKENIZER), count=512)
POOL = pretraining_pool(MODEL, planted.corpus(TOKENIZER), count=64)


def job(
    penalty: float = 8.0,
    steps: int = 20,
    config: PruneConfig = planted.SETTINGS,
    give_up_at: int | None = None,
    seed: int = 0,
) -> MaskJob:
    if config.objective == "faithful":
        wanted = answer_log_probabilities(pair_logits(MODEL, PAIRS), PAIRS)
        objective = Objective(config, PAIRS, MEANS, pool=POOL, wanted=wanted, seed=seed)
    else:
        objective = Objective(config, PAIRS, MEANS, seed=seed)
    return MaskJob(objective, penalty, steps, give_up_at)


def run(penalty: float, steps: int, config: PruneConfig = planted.SETTINGS, **more) -> MaskRun:
    before = {name: tensor.clone() for name, tensor in MODEL.state_dict().items()}
    (result,) = optimise_masks(MODEL, [job(penalty, steps, config)], **more)
    assert all(torch.equal(before[name], tensor) for name, tensor in MODEL.state_dict().items())
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
    result = run(penalty=8.0, steps=3, watch=lambda _job, step, loss, kept: seen.append((step, kept)))
    assert [step for step, _ in seen] == [1, 2, 3]
    assert seen[0][1] == NODES  # all start above zero
    assert result.steps == 3


def test_a_curve_of_each_run_is_kept():
    """Of 3 steps all; of 250, which is 2.5 times 100, every third and the last."""
    seen: list[tuple[int, float, int]] = []
    short = run(penalty=8.0, steps=3, watch=lambda _job, *told: seen.append(told))
    assert [(step, kept) for step, _, kept in short.curve] == [(step, kept) for step, _, kept in seen]
    assert [loss for _, loss, _ in short.curve] == pytest.approx([loss for _, loss, _ in seen], abs=1e-4)
    long = run(penalty=8.0, steps=250)
    steps = [step for step, _, _ in long.curve]
    assert steps == [*range(1, 251, 3)]
    assert abs(long.curve[-1][2] - long.kept) <= 5  # one step on
    assert run(penalty=8.0, steps=251).curve[-1][0] == 251


def test_same_seed_same_masks():
    first, again = run(penalty=8.0, steps=5), run(penalty=8.0, steps=5)
    (other,) = optimise_masks(MODEL, [job(steps=5, seed=1)])
    assert torch.equal(first.tau, again.tau)
    assert not torch.equal(first.tau, other.tau)


def same(one: MaskRun, other: MaskRun) -> None:
    assert_close(one.tau, other.tau, atol=1e-5, rtol=0)
    assert (one.kept, one.steps) == (other.kept, other.steps)
    assert one.loss == pytest.approx(other.loss, abs=1e-5)


FAITHFUL = planted.SETTINGS.replace(objective="faithful")


@pytest.mark.parametrize("config", [planted.SETTINGS, FAITHFUL], ids=["task", "faithful"])
def test_side_by_side_runs_end_as_they_do_alone(config: PruneConfig):
    """Seeds, penalties and every setting that may differ within a batch."""
    other = config.replace(lr=3e-2, beta2=0.8, weight_decay=0.1, temperature=0.5, init_bias=0.02, warmup=0.2)
    jobs = [job(8.0, config=config), job(80.0, config=config, seed=1), job(4.0, config=other, seed=2)]
    together = optimise_masks(MODEL, jobs)
    for index in range(3):
        # Random numbers go on from where they are, so a job made anew.
        anew = [job(8.0, config=config), job(80.0, config=config, seed=1), job(4.0, config=other, seed=2)]
        (alone,) = optimise_masks(MODEL, [anew[index]])
        same(together[index], alone)
    assert len({run.kept for run in together}) == 3


def test_kinds_and_lengths_are_sorted_out_and_memory_is_kept_within():
    def jobs() -> list[MaskJob]:
        return [job(), job(steps=7), job(config=FAITHFUL), job(seed=3), job(40.0, seed=4)]

    together, two_by_two = optimise_masks(MODEL, jobs()), optimise_masks(MODEL, jobs(), at_once=2)
    for one, other in zip(together, two_by_two, strict=True):
        same(one, other)
    assert [run.steps for run in together] == [20, 7, 20, 20, 20]


def test_a_run_that_gives_up_leaves_the_others_as_they_are():
    hopeless = job(1e6, give_up_at=10, config=planted.SETTINGS.replace(init_bias=0.02))
    fine, gone, also = optimise_masks(MODEL, [job(), hopeless, job(seed=1)])
    assert (gone.steps, gone.kept) == (10, 0)
    (alone,) = optimise_masks(MODEL, [job()])
    same(fine, alone)
    (alone,) = optimise_masks(MODEL, [job(seed=1)])
    same(also, alone)


def test_the_optimizer_is_torchs():
    """Gradients of norm 1.5, 0.5, 1, ...: some are clipped."""
    configs = [PruneConfig(lr=1e-2, beta2=0.9, weight_decay=0.1), PruneConfig(lr=3e-3)]
    generator = torch.Generator().manual_seed(0)
    tau = torch.randn(2, 6, generator=generator)
    theirs = [torch.nn.Parameter(row.clone()) for row in tau]
    optimizers = [
        torch.optim.AdamW([row], lr=config.lr, betas=(0.9, config.beta2), weight_decay=config.weight_decay)
        for row, config in zip(theirs, configs, strict=True)
    ]
    own = MaskAdamW(tau, configs)
    for step in range(6):
        slope = torch.randn(2, 6, generator=generator) * (0.2, 0.7, 1.5)[step % 3]
        rates = (1.0, 1 - step / 6)
        for which, (row, optimizer) in enumerate(zip(theirs, optimizers, strict=True)):
            row.grad = slope[which].clone()
            torch.nn.utils.clip_grad_norm_([row], 1.0)
            optimizer.param_groups[0]["lr"] = configs[which].lr * rates[which]
            optimizer.step()
        own.step(slope, rates)
    assert_close(tau, torch.stack([row.detach() for row in theirs]))


def test_how_many_sets_fit_grows_as_batches_shrink():
    few = job(config=planted.SETTINGS.replace(pairs_per_step=2)).objective
    many = job(config=planted.SETTINGS.replace(pairs_per_step=32)).objective
    assert 1 <= max_sets(MODEL, many) < max_sets(MODEL, few)
