"""Reviving dead neurons: who is found dead, what becomes of them, and that it is exact after a resume."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import RunConfig, TrainConfig, load_run, train
from sparsecircuits.train.optimizer import SparseOptimizer
from sparsecircuits.train.revive import WRITE, Reviver
from tests.train.steps import one_step

READS, BIAS, WRITES = (
    f"transformer.h.0.mlp.{name}" for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")
)


def model_with_dead(config: RunConfig, count: int = 5) -> SparseGPT:
    """The first ``count`` of 64 neurons are too weak to be among the 16 that fire."""
    model = SparseGPT(config.model)
    with torch.no_grad():
        model.get_parameter(READS)[:count] = 0
        model.get_parameter(BIAS)[:count] = 0
        model.get_parameter(BIAS)[count:] = 0.5
    return model


def recipe(config: RunConfig, scheme: str, **more: float) -> RunConfig:
    values = {**config.train.to_dict(), "revive": scheme, "revive_every": 2, **more}
    return config.replace(train=TrainConfig.from_dict(values))


def test_who_did_not_fire_for_so_many_steps_is_drawn_anew(config: RunConfig, corpus: Corpus) -> None:
    config = recipe(config, "resample", density=1.0, embed_density=1.0, lr=1e-9)
    model = model_with_dead(config)
    optimizer = SparseOptimizer(model, config.train)
    reads, writes = model.get_parameter(READS), model.get_parameter(WRITES)
    old = writes[:, :5].clone()
    one_step(model, optimizer, corpus, 0, config)
    assert optimizer.reviver is not None
    assert optimizer.reviver.layers[0].fired.tolist()[:5] == [False] * 5
    assert not reads[:5].any()  # not yet: one step of two
    one_step(model, optimizer, corpus, 1, config)
    found = int(optimizer.reviver.layers[0].dead.sum())
    assert optimizer.reviver.revived == found >= 5
    living = ~optimizer.reviver.layers[0].dead
    length = reads[living].norm(dim=1).mean()
    assert torch.allclose(reads[:5].norm(dim=1), length.expand(5), rtol=1e-4)
    written = writes[:, living].norm(dim=0).mean()
    assert torch.allclose(writes[:, :5].norm(dim=0), WRITE * written.expand(5), rtol=1e-4)
    assert not torch.equal(writes[:, :5], old)
    assert torch.allclose(model.get_parameter(BIAS)[:5], torch.tensor(0.5), atol=1e-4)
    assert not optimizer.reviver.layers[0].fired.any()  # counting begins anew


def test_new_neurons_keep_to_the_budget_and_begin_without_momentum(config: RunConfig, corpus: Corpus) -> None:
    config = recipe(config, "resample", anneal_start=0.0, anneal_stop=0.0)
    model = model_with_dead(config)
    optimizer = SparseOptimizer(model, config.train)
    for step in range(2):
        one_step(model, optimizer, corpus, step, config)
    reads = model.get_parameter(READS)
    assert int(reads.count_nonzero()) == 64 * 16 // 4
    assert (reads[:5] != 0).sum(1).tolist() == [4] * 5  # the floor
    moments = optimizer.adam.state[reads]
    assert not moments["exp_avg"][:5].any()
    assert not moments["exp_avg_sq"][:5].any()
    assert moments["exp_avg"][5:].any()


def test_a_leak_gives_the_dead_a_gradient_and_changes_no_output(config: RunConfig, corpus: Corpus) -> None:
    config = recipe(config, "leak")
    plain, model = model_with_dead(config), model_with_dead(config)
    reviver = Reviver(model, config.train)
    tokens = torch.from_numpy(corpus.train[:32].astype("int64")).view(4, 8)
    with reviver.attached():
        backward(plain, model, tokens)
        assert same_gradients(plain, model)  # none dead so far
        reviver.layers[0].dead[:5] = True
        assert torch.equal(model(tokens), plain(tokens))
        backward(plain, model, tokens)
    seen, leaked = (one.get_parameter(READS).grad for one in (plain, model))
    assert seen is not None
    assert leaked is not None
    assert not seen[:5].any()
    assert leaked[:5].any(1).all()
    assert torch.equal(seen[5:], leaked[5:])
    backward(plain, model, tokens)
    assert same_gradients(plain, model)  # taken off


def test_where_all_are_dead_none_is_counted_as_revived(config: RunConfig) -> None:
    model = SparseGPT(config.model)
    before = model.get_parameter(READS).detach().clone()
    for scheme, counted in (("resample", 0), ("leak", 64)):
        reviver = Reviver(model, recipe(config, scheme).train)
        reviver.look(1, {})  # no gradient: nobody fired
        assert reviver.layers[0].dead.all()
        assert reviver.revived == counted
    assert torch.equal(model.get_parameter(READS), before)


def backward(a: SparseGPT, b: SparseGPT, tokens: torch.Tensor) -> None:
    for model in (a, b):
        model.zero_grad()
        model.loss(tokens[:, :-1], tokens[:, 1:]).backward()


def test_nothing_is_revived_towards_the_end(config: RunConfig, corpus: Corpus) -> None:
    config = recipe(config, "resample", revive_stop=0.2, density=1.0, embed_density=1.0)  # step 1 of 8
    model = model_with_dead(config)
    optimizer = SparseOptimizer(model, config.train)
    for step in range(2):
        one_step(model, optimizer, corpus, step, config)
    assert not model.get_parameter(READS)[:5].any()


def same_gradients(a: SparseGPT, b: SparseGPT) -> bool:
    left, right = a.get_parameter(READS).grad, b.get_parameter(READS).grad
    return left is not None and right is not None and torch.equal(left, right)


class Killed(Exception):
    """Stands for a kill between two steps."""


@pytest.mark.parametrize("scheme", ["resample", "leak"])
def test_a_resumed_run_ends_with_the_same_bytes(
    scheme: str, config: RunConfig, corpus: Corpus, tmp_path: Path
) -> None:
    # Looks after steps 3 and 6; the checkpoint of step 4 lies between them.
    config = recipe(config, scheme, revive_every=3, revive_stop=1.0)

    def stop(progress: object) -> None:
        if getattr(progress, "step", 0) == 5:
            raise Killed

    train(config, corpus, tmp_path / "straight")
    with pytest.raises(Killed):
        train(config, corpus, tmp_path / "again", stop)
    train(config, corpus, tmp_path / "again")
    a, b = (tmp_path / name / "model" / "model.safetensors" for name in ("straight", "again"))
    assert a.read_bytes() == b.read_bytes()
    rows = [[row["revived"] for row in load_run(tmp_path / name).metrics()] for name in ("straight", "again")]
    assert rows[0] == rows[1]
    assert rows[0][-1] > 0
    train(recipe(config, "none"), corpus, tmp_path / "none")
    assert (tmp_path / "none" / "model" / "model.safetensors").read_bytes() != a.read_bytes()


def test_bad_settings_are_named() -> None:
    for values, message in (
        ({"revive_every": 0}, "revive_every is 0"),
        ({"revive_stop": 1.5}, "revive_stop is 1.5"),
        ({"revive": "leak", "sparsity": "hard_concrete"}, "needs sparsity = 'topk'"),
        ({"revive": "pray"}, "revive"),
    ):
        with pytest.raises(ConfigError, match=message):
            TrainConfig.from_dict(values)
