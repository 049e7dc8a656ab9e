"""HardConcrete gates: formulas by hand, gradients by autograd, and runs that end at the budget."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import Progress, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.hard_concrete import (
    Gate,
    GatedOptimizer,
    noiseless,
    open_probability,
    penalty_shift,
    stretched,
)
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.optimizers import optimizer_for
from sparsecircuits.train.projection import SparseMatrix, sparse_matrices
from sparsecircuits.train.schedules import densities_at
from tests.train.steps import one_step

# -beta log(-gamma / zeta) = 2/3 log 11: odds of being open are 11^(2/3) = 4.946 times those of alpha.
HALF = -2 / 3 * math.log(11)


@pytest.fixture
def gated(config: RunConfig) -> RunConfig:
    """Eight steps; annealing over steps 2 to 6, gates fixed after the sixth (0.75 of 8)."""
    return config.replace(train=config.train.replace(sparsity="hard_concrete", gate_stop=0.75, gate_lr=0.2))


def single(weight: list[float], log_alpha: list[float]) -> Gate:
    matrix = SparseMatrix("w", torch.nn.Parameter(torch.tensor(weight)), True, 0, 1)
    gate = Gate.of(matrix)
    gate.log_alpha.data = torch.tensor(log_alpha)
    return gate


def test_the_expected_number_of_open_gates_by_hand() -> None:
    # Odds 1, 3, 1/9 and, at log alpha = 0, 4.946: probabilities 1/2, 3/4, 1/10, 4.946 / 5.946.
    log_alpha = torch.tensor([HALF, HALF + math.log(3), HALF - math.log(9), 0.0])
    got = open_probability(log_alpha)
    assert got.tolist() == pytest.approx([0.5, 0.75, 0.1, 0.83182], abs=1e-5)


def test_so_many_gates_are_open_as_the_formula_says() -> None:
    gate = single([1.0] * 200_000, [HALF + math.log(3)] * 200_000)
    gate.sample(torch.Generator().manual_seed(0))
    share = float((gate.matrix.weight != 0).double().mean())
    assert share == pytest.approx(0.75, abs=0.004)  # four standard errors


def test_noiseless_gates_by_hand() -> None:
    # sigmoid 1/2, 1/12, 11/12, 1/3: times 1.2 less 0.1, and cut off.
    got = noiseless(torch.tensor([0.0, -math.log(11), math.log(11), -math.log(2), -9.0, 9.0]))
    assert got.tolist() == pytest.approx([0.5, 0.0, 1.0, 0.3, 0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize(
    ("odds", "budget", "shift"),
    [
        ([1.0, 1.0], 0.5, math.log(3)),  # 1/2 each becomes 1/4 each
        ([1.0, 9.0], 1.0, math.log(3)),  # odds 1/3 and 3: 1/4 + 3/4
        ([1 / 3, 3.0], 1.4, -math.log(3)),  # odds 1 and 9: 1/2 + 9/10, so the penalty is negative
        ([1e12] * 4, 2.0, math.log(1e12)),  # far from where the slope says anything
    ],
)
def test_the_penalty_brings_the_expected_number_to_the_budget(
    odds: list[float], budget: float, shift: float
) -> None:
    log_alpha = torch.tensor([HALF + math.log(odd) for odd in odds], dtype=torch.float64)
    assert penalty_shift(log_alpha, budget) == pytest.approx(shift, abs=1e-5)


def test_gradients_are_those_of_autograd() -> None:
    gate = single([0.5, -2.0, 1.5, 0.25, 3.0], [0.0, -1.0, 0.5, 4.0, -4.0])
    log_alpha = gate.log_alpha.detach().double().requires_grad_()
    weight = gate.weight.double().requires_grad_()
    gate.sample(torch.Generator().manual_seed(3))
    u = torch.empty(5).uniform_(1e-6, 1 - 1e-6, generator=torch.Generator().manual_seed(3)).double()
    z = stretched(torch.sigmoid((torch.logit(u) + log_alpha) / (2 / 3)))
    assert 0 < int(((z > 0) & (z < 1)).sum()) < 5  # gates in between, and at an end
    (weight * z).pow(3).sum().backward()
    torch.testing.assert_close(
        gate.matrix.weight.detach().double(), (weight * z).detach(), atol=1e-6, rtol=1e-5
    )

    gate.matrix.weight.pow(3).sum().backward()
    gate.take_gradient()
    assert gate.matrix.weight.tolist() == [0.5, -2.0, 1.5, 0.25, 3.0]
    for ours, theirs in ((gate.matrix.weight.grad, weight.grad), (gate.log_alpha.grad, log_alpha.grad)):
        assert ours is not None
        assert theirs is not None
        torch.testing.assert_close(ours.double(), theirs, atol=1e-5, rtol=1e-4)


def test_draws_depend_on_seed_and_step_alone(gated: RunConfig) -> None:
    def drawn(seed: int, steps: list[int]) -> torch.Tensor:
        model = SparseGPT(gated.model)
        optimizer = GatedOptimizer(model, gated.train.replace(seed=seed))
        for step in steps:
            optimizer.begin(step)
        return model.lm_head.weight.detach().clone()

    assert torch.equal(drawn(0, [3]), drawn(0, [0, 1, 3]))
    assert not torch.equal(drawn(0, [3]), drawn(0, [2]))
    assert not torch.equal(drawn(0, [3]), drawn(1, [3]))


def test_gates_are_drawn_on_the_cpu_and_live_where_the_weights_are(gated: RunConfig, corpus: Corpus) -> None:
    drawn: list[torch.device] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            if func is torch.Tensor.uniform_:
                drawn.append(args[0].device)
            return func(*args, **(kwargs or {}))

    # A device that computes nothing stands for CUDA: where a tensor lies is all that is looked at.
    there = torch.device("meta")
    with Watch():
        gate = Gate.of(SparseMatrix("w", torch.nn.Parameter(torch.ones(3, device=there)), True, 0, 1))
        gate.sample(torch.Generator().manual_seed(0))
    assert drawn == [torch.device("cpu")]

    model = SparseGPT(gated.model)
    optimizer = GatedOptimizer(model, gated.train)
    one_step(model, optimizer, corpus, 0, gated)
    state = optimizer.state()
    for gate in optimizer.gates:
        gate.log_alpha = torch.nn.Parameter(gate.log_alpha.to(there))
    optimizer.load_state(state)
    for gate in optimizer.gates:
        moments = optimizer.gate_adam.state[gate.log_alpha]
        assert {key: value.device for key, value in moments.items()} == dict.fromkeys(
            ("step", "exp_avg", "exp_avg_sq"), there
        )


def test_expected_density_follows_the_annealing_schedule(gated: RunConfig, corpus: Corpus) -> None:
    model = SparseGPT(gated.model)
    optimizer = optimizer_for(model, gated.train)
    assert isinstance(optimizer, GatedOptimizer)
    for step in range(6):
        one_step(model, optimizer, corpus, step, gated)
        densities = densities_at(step, gated.train)
        if step < 3:  # dense: gates go where they like
            assert densities.matrices == 1
            continue
        for gate in optimizer.gates:
            expected = float(open_probability(gate.log_alpha.detach()).sum(dtype=torch.float64))
            assert expected == pytest.approx(gate.matrix.budget(densities), rel=1e-4)
            shown = gate.weight * noiseless(gate.log_alpha.detach())
            assert torch.equal(gate.matrix.weight, shown)


def test_the_end_has_exactly_the_budget_and_the_floor(
    gated: RunConfig, corpus: Corpus, tmp_path: Path
) -> None:
    result = train(gated, corpus, tmp_path / "run")
    assert result.density == 1 / 4
    model = load_run(tmp_path / "run").model()
    final = densities_at(7, gated.train)
    for matrix in sparse_matrices(model, floor=4):
        assert int(torch.count_nonzero(matrix.weight)) == matrix.budget(final), matrix.name
    # A quarter of 16 columns and a floor of 4: exactly 4 in every row.
    fc = model.blocks[0].get_submodule("mlp.c_fc")
    assert torch.count_nonzero(fc.get_parameter("weight"), dim=1).tolist() == [4] * 64


def test_gates_are_fixed_by_their_rank() -> None:
    gate = single([2.0, 3.0, 5.0, 7.0], [1.0, -5.0, 9.0, -4.0])
    final = densities_at(0, TrainConfig(steps=1, density=3 / 4, embed_density=3 / 4))
    gate.fix(final)
    # sigmoid(1) = 0.7311, so 0.7773; the lowest goes; open; closed without noise, so sigmoid(-4) = 0.01799.
    assert gate.matrix.weight.tolist() == pytest.approx([2 * 0.77727, 0.0, 5.0, 7 * 0.017986], rel=1e-4)


@pytest.mark.parametrize("stops", [[3], [5], [6], [7], [3, 5, 7]])
def test_resumed_equals_straight(stops: list[int], gated: RunConfig, corpus: Corpus, tmp_path: Path) -> None:
    def stop_after(step: int):
        def watch(progress: Progress) -> None:
            if progress.step == step:
                raise KeyboardInterrupt

        return watch

    straight = train(gated, corpus, tmp_path / "straight")
    for step in stops:
        with pytest.raises(KeyboardInterrupt):
            train(gated, corpus, tmp_path / "resumed", stop_after(step))
    resumed = train(gated, corpus, tmp_path / "resumed")
    assert resumed.val_loss == straight.val_loss
    for file in ("model/model.safetensors", "checkpoints/step_000006/model.safetensors"):
        assert (tmp_path / "resumed" / file).read_bytes() == (tmp_path / "straight" / file).read_bytes()
    file = "checkpoints/step_000006/optimizer.safetensors"
    before, after = load_file(tmp_path / "straight" / file), load_file(tmp_path / "resumed" / file)
    assert list(before) == list(after)
    assert "lm_head.weight/gate/log_alpha" in before
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_top_k_has_no_gates(config: RunConfig) -> None:
    assert type(optimizer_for(SparseGPT(config.model), config.train)) is SparseOptimizer


def test_gates_may_not_be_fixed_while_density_still_falls() -> None:
    with pytest.raises(ConfigError, match="gate_stop is 0.4; it must be from anneal_stop = 0.5 to 1"):
        TrainConfig(sparsity="hard_concrete", gate_stop=0.4)
    TrainConfig(gate_stop=0.4)  # of no concern to top-k


def test_biases_have_gates_where_they_are_sparse() -> None:
    model = SparseGPT(GPTConfig(vocab_size=300, n_ctx=8, n_layer=1, d_model=16))
    config = TrainConfig(sparsity="hard_concrete", density=1 / 4, biases="sparse")
    names = {gate.matrix.name for gate in GatedOptimizer(model, config).gates}
    assert "transformer.h.0.mlp.c_fc.bias" in names
