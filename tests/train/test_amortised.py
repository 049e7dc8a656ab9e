"""The amortised step against its five rules in plain torch; resumed, and by two processes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.layers import Linear
from sparsecircuits.ops import keep_largest_, native
from sparsecircuits.train import Machine, RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.amortised import AmortisedOptimizer
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.optimizers import optimizer_for
from sparsecircuits.train.projection import sparse_matrices
from sparsecircuits.train.schedules import densities_at, lr_at
from tests.processes import Processes
from tests.train.device_jobs import trained
from tests.train.steps import one_step
from tests.train.test_resume import metrics, stopped

# Wide enough for the sparse kernels to be the faster ones at the end, too dense for them before.
MODEL = GPTConfig(vocab_size=300, n_ctx=32, n_layer=1, d_model=132, d_head=11, d_mlp=264)
RECIPE = TrainConfig(
    steps=16,
    rows=16,
    density=1 / 16,
    embed_density=1 / 8,
    warmup=0.1,
    anneal_start=0.05,
    anneal_stop=0.7,
    dense_every=4,
    eval_every=8,
    eval_tokens=512,
    checkpoint_every=3,
    log_every=1,
)
CONFIG = RunConfig(model=MODEL, train=RECIPE)


class Matrix(NamedTuple):
    """What the plain version keeps of a matrix that has joined."""

    places: Tensor
    """Of the pattern, boolean."""


class Plain:
    """The rules of :mod:`sparsecircuits.train.amortised`, on whole tensors."""

    def __init__(self, model: SparseGPT, config: TrainConfig) -> None:
        self.model, self.config = model, config
        self.named = dict(model.named_parameters())
        self.m = {name: torch.zeros_like(one) for name, one in self.named.items()}
        self.v = {name: torch.zeros_like(one) for name, one in self.named.items()}
        self.joined: dict[str, Matrix] = {}
        self.ratio = 1.0
        linear = {f"{n}.weight" for n, module in model.named_modules() if isinstance(module, Linear)}
        self.matrices = {one.name: one for one in sparse_matrices(model, config.floor)}
        self.can_join = [name for name in self.matrices if name in linear]

    @torch.no_grad()
    def step(self, step: int) -> float:
        config = self.config
        dense = step % config.dense_every == 0
        lr, densities = lr_at(step, config), densities_at(step, config)
        grads = {name: one.grad.clone() for name, one in self.named.items() if one.grad is not None}
        squares = 0.0
        for name, grad in grads.items():
            if name in self.joined and not dense:
                grad *= self.joined[name].places
                squares += self.ratio * float(grad.double().square().sum())
            else:
                squares += float(grad.double().square().sum())
        rms = math.sqrt(squares / sum(grad.numel() for grad in grads.values()))
        for name, grad in grads.items():
            where = torch.ones_like(grad, dtype=torch.bool)
            if name in self.joined and not dense:
                where = self.joined[name].places
            grad = grad / (rms + 1e-5)
            m = config.beta1 * self.m[name] + (1 - config.beta1) * grad
            v = config.beta2 * self.v[name] + (1 - config.beta2) * grad**2
            self.m[name], self.v[name] = (
                torch.where(where, m, self.m[name]),
                torch.where(where, v, self.v[name]),
            )
            up, down = m / (1 - config.beta1 ** (step + 1)), v / (1 - config.beta2 ** (step + 1))
            self.named[name].sub_(where * lr * up / (down.sqrt() + config.eps))
        before = {name: one.clone() for name, one in self.named.items()}
        for matrix in self.matrices.values():
            keep_largest_(matrix.weight, matrix.budget(densities), floor=matrix.floor, axis=matrix.axis)
        if dense:
            self.join(before, densities, grads)
        for name, one in self.named.items():
            if one.ndim == 2 and name != "bigram_table":
                one *= 1 - lr * config.weight_decay
            self.named[name].grad = None
        return rms

    def join(self, before: dict[str, Tensor], densities, grads: dict[str, Tensor]) -> None:
        every = kept = 0.0
        for name in self.can_join:
            matrix = self.matrices[name]
            budget = matrix.budget(densities)
            if budget > matrix.weight.numel() / 2:
                continue
            count = int(budget * (1 + self.config.candidates))
            wide = keep_largest_(before[name], count, floor=matrix.floor, axis=matrix.axis) != 0
            self.joined[name] = Matrix(wide)
            every += float(grads[name].double().square().sum())
            kept += float((grads[name] * wide).double().square().sum())
        self.ratio = every / kept if kept else 1.0


def loss_and_gradients(model: SparseGPT, corpus: Corpus, step: int) -> float:
    tokens = batch(corpus.train, seed=0, step=step, rows=RECIPE.rows, n_ctx=MODEL.n_ctx)
    loss = model.loss(tokens[:, :-1], tokens[:, 1:])
    loss.backward()
    return float(loss.detach())


# An offset where the density has come to its target, to see rule 4 both while it falls and afterwards.
@pytest.mark.parametrize("kernels", ["best", "off"])
@pytest.mark.parametrize("candidates", [0.0, 0.75])
def test_it_is_the_five_rules(candidates: float, kernels: str, corpus: Corpus):
    config = CONFIG.replace(train=RECIPE.replace(candidates=candidates, eps=1e-2))
    with native.using(native.kernels() if kernels == "best" else "off"):
        model, plain = SparseGPT(MODEL), Plain(SparseGPT(MODEL), config.train)
        optimizer = optimizer_for(model, config.train)
        assert isinstance(optimizer, AmortisedOptimizer)
        joined = []
        for step in range(RECIPE.steps):
            seen = one_step(model, optimizer, corpus, step, config)
            assert seen.loss == pytest.approx(loss_and_gradients(plain.model, corpus, step), abs=2e-5)
            assert seen.grad_rms == pytest.approx(plain.step(step), rel=1e-4)
            assert optimizer.ratio == pytest.approx(plain.ratio, rel=1e-4)
            joined.append(len(plain.joined))
            found = set() if optimizer.within is None else optimizer.within.names
            assert found == set(plain.joined)
            for name, parameter in model.named_parameters():
                torch.testing.assert_close(parameter, plain.named[name], rtol=1e-4, atol=2e-6, msg=name)
    # Density falls to its target over steps 0 to 11; the dense steps are 0, 4, 8, 12.
    assert joined == [0] * 8 + [5] * 8
    assert plain.ratio > 2


def test_between_dense_steps_nothing_outside_the_pattern_moves(corpus: Corpus):
    config = CONFIG.replace(train=RECIPE.replace(anneal_stop=0.3, eps=1e-3, decay="constant"))
    model = SparseGPT(MODEL)
    optimizer = AmortisedOptimizer(model, config.train)
    zero: dict[str, Tensor] = {}
    back = []
    for step in range(RECIPE.steps):
        one_step(model, optimizer, corpus, step, config)
        now = {matrix.name: matrix.weight == 0 for matrix in optimizer.matrices}
        names = set() if optimizer.within is None else optimizer.within.names
        back.append(sum(int((zero[name] & ~now[name]).sum()) for name in names if zero))
        zero = now
    # Density has come to its target when step 8 lets the matrices join; 8 and 12 are dense.
    assert [step for step, count in enumerate(back) if count] == [8, 12]
    assert optimizer.within is not None
    assert all(member.weight.grad is None for member in optimizer.within.members)


def test_the_gradients_of_the_steps_between_go_through_the_sparse_kernels(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
):
    if native.kernels() == "off":
        pytest.skip("no kernels here")
    model = SparseGPT(MODEL)
    optimizer = optimizer_for(model, RECIPE)
    calls: list[int] = []
    real = native.call

    def call(name: str, *arguments):
        if name == "sparse_backward":
            calls[-1] += int(arguments[8] is not None)  # a gradient of kept values is asked for
        return real(name, *arguments)

    monkeypatch.setattr(native, "call", call)
    for step in range(RECIPE.steps):
        calls.append(0)
        one_step(model, optimizer, corpus, step, CONFIG)
    assert calls[:9] == [0] * 9
    assert calls[12] == 0
    assert min(calls[13:]) >= 3


def test_it_is_the_papers_step_with_one(corpus: Corpus, tmp_path: Path):
    assert type(optimizer_for(SparseGPT(MODEL), RECIPE.replace(dense_every=1))) is SparseOptimizer
    # Until a matrix joins, at step 8, it is the paper's step with any other number too.
    for every in (1, 4):
        config = CONFIG.replace(train=RECIPE.replace(dense_every=every, eval_every=4))
        train(config, corpus, tmp_path / f"every{every}")
    one, four = (metrics(load_run(tmp_path / f"every{every}")) for every in (1, 4))
    assert one[:9] == four[:9]
    assert one[10:] != four[10:]


# Checkpoints after 3, 6, 9, 12, 15: within a stretch, just before and just after a dense step.
@pytest.mark.parametrize("candidates", [0.0, 1.0])
def test_resumed_equals_straight(candidates: float, corpus: Corpus, tmp_path: Path):
    config = CONFIG.replace(train=RECIPE.replace(candidates=candidates))
    train(config, corpus, tmp_path / "straight")
    for step in (8, 9, 11, 12, 13, 14, 16):
        stopped(config, corpus, tmp_path / "resumed", step)
    train(config, corpus, tmp_path / "resumed")
    right, run = load_run(tmp_path / "straight"), load_run(tmp_path / "resumed")
    for file in ("model/model.safetensors", "checkpoints/step_000015/optimizer.safetensors"):
        assert (run.folder / file).read_bytes() == (right.folder / file).read_bytes(), file
    assert metrics(run) == metrics(right)


def test_two_processes_end_with_the_bits_of_one(corpus: Corpus, processes: Processes, tmp_path: Path):
    config = CONFIG.replace(train=RECIPE.replace(checkpoint_every=5, candidates=0.5))
    train(config, corpus, tmp_path / "one", machine=Machine(micro_rows=8))
    machine = Machine(parallel="ddp")
    processes.run(2, trained, config, corpus.folder, tmp_path / "two", machine)
    two, one = load_run(tmp_path / "two"), load_run(tmp_path / "one")
    for file in ("model/model.safetensors", "checkpoints/step_000015/optimizer.safetensors"):
        assert (two.folder / file).read_bytes() == (one.folder / file).read_bytes(), file
    assert metrics(two) == metrics(one)
    (said, _) = processes.run(2, trained, config, corpus.folder, tmp_path / "no", Machine(parallel="shard"))
    assert "train.dense_every = 4 needs whole weights" in said


def test_what_it_does_not_go_with():
    for change, said in (
        ({"dense_every": 0}, "at least 1"),
        ({"revive": "leak"}, "needs sparsity = 'topk' and revive = 'none'"),
        ({"sparsity": "hard_concrete", "gate_stop": 0.8}, "needs sparsity = 'topk'"),
        ({"dense_every": 1, "candidates": 1.0}, "candidates needs dense_every above 1"),
        ({"candidates": -1.0}, "must not be negative"),
    ):
        with pytest.raises(ConfigError, match=said):
            TrainConfig.from_dict({**RECIPE.to_dict(), **change})
