"""NaN and infinity: named exactly, alarm and all."""

from __future__ import annotations

import math

import pytest
import torch

from sparsecircuits.data.shards import Corpus
from sparsecircuits.model import SparseGPT
from sparsecircuits.train import RunConfig
from sparsecircuits.train.guard import (
    TrainingDiverged,
    alarm,
    first_bad,
    require_finite_gradients,
)
from sparsecircuits.train.metrics import json_line, read_line
from sparsecircuits.train.optimizer import SparseOptimizer
from tests.train.steps import one_step


def test_the_first_tensor_that_is_not_finite():
    tensors = {"a": torch.ones(3), "b": torch.tensor([1.0, -math.inf, math.nan]), "c": torch.tensor(math.nan)}
    assert first_bad(tensors.items()) == ("b", -math.inf)
    assert first_bad({"a": torch.ones(3)}.items()) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_value_among_many_is_an_alarm(value: float):
    many = [torch.rand(1000, 100), torch.rand(7)]
    assert not alarm(many)
    many[0][999, 99] = value
    assert alarm(many)


def test_gradients_that_are_finite_one_by_one_but_not_together():
    weight = torch.nn.Parameter(torch.zeros(2))
    weight.grad = torch.tensor([1e20, 1e20])  # their squares are beyond float32
    with pytest.raises(
        TrainingDiverged, match=r"^step 3: grad_rms is inf, though every gradient is finite; .*0\.5\)"
    ):
        require_finite_gradients(math.inf, 3, 0.5, [("w", weight)])


@pytest.mark.parametrize("key", ["exp_avg", "exp_avg_sq"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_moment_is_seen_in_its_step(key: str, value: float, config: RunConfig, corpus: Corpus):
    model = SparseGPT(config.model)
    optimizer = SparseOptimizer(model, config.train)
    one_step(model, optimizer, corpus, 0, config)
    name = "transformer.wte.weight"
    optimizer.adam.state[model.get_parameter(name)][key][299, 15] = value  # of a token that may not occur
    with pytest.raises(TrainingDiverged) as caught:
        one_step(model, optimizer, corpus, 1, config)
    assert (caught.value.step, caught.value.tensor) == (2, f"{name}/{key}")


def test_lines_are_strict_json_and_come_back():
    row = {"step": 3, "loss": math.nan, "dead": {"a": -math.inf}, "list": [math.inf, 1]}
    line = json_line(row)
    assert line == '{"step": 3, "loss": "nan", "dead": {"a": "-inf"}, "list": ["inf", 1]}'
    assert math.isnan(read_line(line)["loss"])
    assert read_line('{"event": "x", "text": "nano"}') == {"event": "x", "text": "nano"}
