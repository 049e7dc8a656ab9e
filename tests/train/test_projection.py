"""What is projected, how much of it stays, and what is left alone, in a real run of a tiny model."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.train import RunConfig
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.projection import check_feasible, measured_density, project, sparse_matrices
from sparsecircuits.train.schedules import Densities, densities_at
from tests.train.steps import one_step

H = "transformer.h.0"
#: name: (entries, is embedding, axis along which a neuron's weights lie)
MATRICES = {
    "transformer.wte.weight": (300 * 16, True, 1),
    f"{H}.attn.c_attn.weight": (48 * 16, False, 1),
    f"{H}.attn.c_proj.weight": (16 * 16, False, 0),
    f"{H}.mlp.c_fc.weight": (64 * 16, False, 1),
    f"{H}.mlp.c_proj.weight": (16 * 64, False, 0),
    "lm_head.weight": (300 * 16, True, 1),
}


def test_the_matrices_that_are_made_sparse(config: RunConfig):
    found = sparse_matrices(SparseGPT(config.model), floor=4)
    assert {m.name: (m.weight.numel(), m.embedding, m.axis) for m in found} == MATRICES
    assert {m.name: m.floor for m in found} == {name: 0 if row[1] else 4 for name, row in MATRICES.items()}


def test_additive_positions_are_made_sparse_and_concatenated_ones_are_not(config: RunConfig):
    def names(model: GPTConfig) -> set[str]:
        return {matrix.name for matrix in sparse_matrices(SparseGPT(model), floor=0)}

    assert names(config.model.replace(positions="learned")) == {*MATRICES, "transformer.wpe.weight"}
    assert names(config.model.replace(positions="concat")) == set(MATRICES)


def test_counts_are_exact_after_every_step(config: RunConfig, corpus: Corpus):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train)
    seen = []
    for step in range(config.train.steps):
        one_step(model, optimizer, corpus, step, config)
        densities = densities_at(step, config.train)
        seen.append(densities.matrices)
        for name, (entries, embedding, axis) in MATRICES.items():
            weight = model.get_parameter(name)
            density = densities.embeddings if embedding else densities.matrices
            assert weight.count_nonzero() == int(density * entries), (step, name)
            if not embedding:
                assert (weight.count_nonzero(dim=axis) >= 4).all(), (step, name)
    # Annealing from step 2 to step 6, and exact from there on: the test has seen all of it.
    assert seen == [1.0, 1.0, 1.0, 1 - 3 / 16, 1 - 6 / 16, 1 - 9 / 16, 1 / 4, 1 / 4]
    assert measured_density(model) == Densities(1 / 4, 1 / 2)


def test_at_the_least_density_every_neuron_has_just_its_floor(config: RunConfig, corpus: Corpus):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train)
    for step in (6, 7):
        one_step(model, optimizer, corpus, step, config)
    # 1/4 of 16 channels are 4: each output row of c_attn and c_fc, each input column of both c_proj.
    for name, axis, neurons in (
        (f"{H}.attn.c_attn.weight", 1, 48),
        (f"{H}.attn.c_proj.weight", 0, 16),
        (f"{H}.mlp.c_fc.weight", 1, 64),
        (f"{H}.mlp.c_proj.weight", 0, 64),
    ):
        assert model.get_parameter(name).count_nonzero(dim=axis).tolist() == [4] * neurons
        assert set(model.get_parameter(name).count_nonzero(dim=1 - axis).tolist()) != {4}


@pytest.mark.parametrize("positions", ["none", "concat"])
def test_what_is_exempt_is_left_alone(positions: str, config: RunConfig):
    model = SparseGPT(GPTConfig.from_dict({**config.model.to_dict(), "positions": positions}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1e-6 + parameter.abs().max())  # none is 0, all positive
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    project(sparse_matrices(model, floor=0), Densities(1 / 100, 1 / 100))
    exempt = [name for name in before if name not in MATRICES]
    kinds = {"bigram_table", "transformer.ln_f.weight", f"{H}.attn.sink_logit", f"{H}.mlp.c_fc.bias"}
    if positions == "concat":
        kinds |= {"transformer.wpe.weight", f"{H}.ln_p1.weight"}
    assert kinds <= set(exempt)
    for name, tensor in model.state_dict().items():
        if name in exempt:
            assert torch.equal(tensor, before[name]), name
        else:
            assert tensor.count_nonzero() == tensor.numel() // 100, name


def test_a_density_of_one_zeroes_nothing(config: RunConfig, corpus: Corpus):
    dense = config.replace(train=config.train.replace(density=1.0, embed_density=None))
    model = SparseGPT(dense.model)
    optimizer = SparseOptimizer(model, dense.train)
    for step in range(dense.train.steps):
        one_step(model, optimizer, corpus, step, dense)
        assert measured_density(model) == Densities(1.0, 1.0)


def test_a_density_below_the_floor_is_an_error_with_both_counts():
    # Width 128, floor 4: 4/128 = 1/32 is just enough, 1/33 is not.
    model = SparseGPT(GPTConfig(vocab_size=300, n_layer=1, d_model=128))
    feasible = RunConfig().train.replace(density=1 / 32)
    check_feasible(model, feasible)
    message = (
        r"attn\.c_attn\.weight of shape 384 x 128 may keep 1489 weights, but 384 neurons with at least 4 "
        r"each need 1536: raise the density to 0\.03125 or lower the floor"
    )
    with pytest.raises(ConfigError, match=message):
        check_feasible(model, feasible.replace(density=1 / 33))
    check_feasible(model, feasible.replace(density=1 / 33, floor=3))
    check_feasible(model, feasible.replace(embed_density=1e-6))  # embeddings have no floor


def test_biases_stay_as_they_are_or_are_made_sparse_like_embeddings(config: RunConfig):
    model = SparseGPT(config.model)
    biases = {name: value for name, value in model.named_parameters() if name.endswith(".bias")}
    with torch.no_grad():
        for bias in biases.values():
            bias.copy_(torch.arange(1.0, len(bias) + 1))
    assert {name: len(bias) for name, bias in biases.items()} == {
        f"{H}.attn.c_attn.bias": 48,
        f"{H}.attn.c_proj.bias": 16,
        f"{H}.mlp.c_fc.bias": 64,
        f"{H}.mlp.c_proj.bias": 16,
    }
    project(sparse_matrices(model, floor=4), Densities(1 / 2, 1 / 8))
    assert all(bias.count_nonzero() == len(bias) for bias in biases.values())
    project(sparse_matrices(model, floor=4, biases=True), Densities(1 / 2, 1 / 8))
    assert all(bias.count_nonzero() == len(bias) // 8 for bias in biases.values())
    assert biases[f"{H}.attn.c_proj.bias"].tolist() == [0.0] * 14 + [15.0, 16.0]
    optimizer = SparseOptimizer(model, config.train.replace(biases="sparse"))
    assert {m.name for m in optimizer.matrices} == {*MATRICES, *biases}
