"""Losses that can be worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from sparsecircuits.tasks.loss import correct, task_loss
from sparsecircuits.tasks.pairs import Form, TextPair, TokenPairs


def one_pair(form: Form, target: list[int], other: list[int]) -> TokenPairs:
    text = TextPair("a", "b", "c", "d", "t")
    return TokenPairs(
        tokens=torch.zeros(2, 2, dtype=torch.long), last=torch.ones(2, dtype=torch.long),
        target=torch.tensor(target), other=torch.tensor(other), form=form, texts=(text,),
        task="toy", split="train", seed=0,
    )  # fmt: skip


def test_contrast_looks_at_the_two_candidates_only():
    pairs = one_pair("contrast", target=[0, 1], other=[1, 0])
    # Probabilities 3/4 and 1/4 between the candidates; a third token of any logit changes nothing.
    logits = torch.tensor([[math.log(3), 0.0, 9.0], [math.log(3), 0.0, -9.0]])
    assert_close(task_loss(logits, pairs), torch.tensor([math.log(4 / 3), math.log(4)]))
    assert correct(logits, pairs).tolist() == [True, False]


def test_one_against_all_is_over_the_vocabulary():
    pairs = one_pair("one_against_all", target=[2, -1], other=[-1, 2])
    # Left: P(token 2) = 6/8; right: P(token 2) = 1/4.
    logits = torch.tensor([[1.0, 1.0, 6.0], [1.0, 2.0, 1.0]]).log()
    assert_close(task_loss(logits, pairs), torch.tensor([math.log(8 / 6), math.log(4 / 3)]))
    assert correct(logits, pairs).tolist() == [True, True]


def test_one_against_all_is_wrong_on_the_other_side_of_a_half():
    pairs = one_pair("one_against_all", target=[0, -1], other=[-1, 0])
    logits = torch.tensor([[0.4, 0.6], [0.6, 0.4]]).log()
    assert correct(logits, pairs).tolist() == [False, False]


@pytest.mark.parametrize("form", ["contrast", "one_against_all"])
def test_gradients_are_finite_at_extremes(form: Form):
    contrast = form == "contrast"
    pairs = one_pair(form, target=[0, 1 if contrast else -1], other=[1 if contrast else -1, 0])
    logits = torch.tensor([[60.0, -60.0], [60.0, -60.0]], requires_grad=True)
    loss = task_loss(logits, pairs)
    assert_close(loss.detach(), torch.tensor([0.0, 120.0]))
    loss.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
