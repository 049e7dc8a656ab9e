"""The bigram table from counts, on six tokens."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from sparsecircuits.train import bigram
from sparsecircuits.train.bigram import bigram_log_frequencies


def test_six_tokens_by_hand():
    # Text 0 1 0 1 2 0: pairs 01 twice, 10, 12, 20 once each.
    table = bigram_log_frequencies(np.array([0, 1, 0, 1, 2, 0], dtype=np.uint16), 3)
    # Unigram counts 3, 2, 1, each plus a half, of 7.5; a row has 5 more counts in these shares.
    back = [5 * share / 7.5 for share in (3.5, 2.5, 1.5)]
    counts = [[0, 2, 0], [1, 0, 1], [1, 0, 0]]
    for row, (seen, got) in enumerate(zip(counts, table, strict=True)):
        logs = [math.log((n + b) / (sum(seen) + 5)) for n, b in zip(seen, back, strict=True)]
        assert got.tolist() == pytest.approx([x - sum(logs) / 3 for x in logs], abs=1e-6), row
    # The softmax of row 0, seen twice, both times followed by 1: (0 + 7/3, 2 + 5/3, 0 + 1) / 7.
    assert table[0].softmax(-1).tolist() == pytest.approx([7 / 3 / 7, 11 / 3 / 7, 1 / 7])


def test_a_token_never_seen_has_the_unigram_row_and_every_entry_is_finite():
    table = bigram_log_frequencies(np.array([0, 1, 0, 1, 2, 0]), 5)
    assert table.dtype == torch.float32
    unigram = torch.tensor([3.5, 2.5, 1.5, 0.5, 0.5]) / 8.5
    torch.testing.assert_close(table[4].softmax(-1), unigram)
    assert table.isfinite().all()
    torch.testing.assert_close(table.mean(1), torch.zeros(5))


@pytest.mark.parametrize("chunk", [1, 7, 99, 100, 101])
def test_counted_in_chunks_it_is_the_same_table(chunk: int, monkeypatch: pytest.MonkeyPatch):
    tokens = np.random.default_rng(0).integers(0, 9, 100).astype(np.uint16)
    whole = bigram_log_frequencies(tokens, 9)
    monkeypatch.setattr(bigram, "CHUNK", chunk)
    assert torch.equal(bigram_log_frequencies(tokens, 9), whole)
