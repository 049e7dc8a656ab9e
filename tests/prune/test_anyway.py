"""Pruning a model that cannot do the task, and under a scale that is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import PruneError
from sparsecircuits.model import SparseGPT
from sparsecircuits.prune import (
    Calibration,
    PruneConfig,
    PruneJob,
    PruneResult,
    UnreachableError,
    prune,
    prune_many,
)
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING

ONE = Calibration(1.0, 0.0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return planted.byte_tokenizer()


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer) -> np.ndarray:
    return planted.corpus(tokenizer)


@torch.no_grad()
def contradicted(tokenizer: Tokenizer) -> SparseGPT:
    """A head writes the quote as in the attention model, and its next value channel twice the opposite."""
    model = planted.attention_model(tokenizer)
    attention = planted.block(model).attn
    values = 2 * planted.CONFIG.width("attn.v")
    attention.c_attn.weight[values + planted.VALUE + 1, planted.QUOTE] = 8
    attention.c_proj.weight[planted.WRITTEN, planted.VALUE + 1] = -16
    return model


def test_a_circuit_for_what_the_full_model_does_not_do(tokenizer: Tokenizer, tokens: np.ndarray):
    model = contradicted(tokenizer)
    with pytest.raises(PruneError, match="full model's own loss") as error:
        prune(model, STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert not isinstance(error.value, UnreachableError)
    found = prune(model, STRING_CLOSING, tokenizer, tokens, SETTINGS, held=ONE, anyway=True)
    assert found.met
    assert found.circuit.nodes == planted.ATTENTION_CIRCUIT
    assert found.full.loss > 1
    assert found.circuit.info["full_scale"] == 1.0


@pytest.mark.parametrize("config", [SETTINGS, SETTINGS.replace(repair=False)], ids=["repair", "paper"])
def test_what_cannot_be_reached_says_how_near_it_came(
    config: PruneConfig, tokenizer: Tokenizer, tokens: np.ndarray
):
    with pytest.raises(UnreachableError, match=r"target 0\.15; the best loss is 0\.693") as error:
        prune(planted.refusing_model(tokenizer), STRING_CLOSING, tokenizer, tokens, config, anyway=True)
    assert error.value.loss == pytest.approx(0.6931, abs=1e-4)  # log 2: it knows nothing


def test_the_given_scale_is_what_circuits_are_chosen_under(tokenizer: Tokenizer, tokens: np.ndarray):
    """At a thousandth of the size no answer is sure enough; the model's own scale would be well above 0.1."""
    model = planted.attention_model(tokenizer)
    small, own = prune_many(
        model,
        [
            PruneJob(STRING_CLOSING, SETTINGS, held=Calibration(0.001, 0.0), anyway=True),
            PruneJob(STRING_CLOSING, SETTINGS),
        ],
        tokenizer,
        tokens,
    )
    assert isinstance(small, UnreachableError)
    assert 0.6 < small.loss < 0.7
    assert isinstance(own, PruneResult)
    assert own.circuit.info["full_scale"] > 0.1


def test_where_the_model_does_the_task_nothing_changes(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.attention_model(tokenizer)
    plain, anyway = (
        prune(model, STRING_CLOSING, tokenizer, tokens, SETTINGS, anyway=anyway) for anyway in (False, True)
    )
    assert plain.circuit.info == anyway.circuit.info
