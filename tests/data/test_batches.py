import numpy as np
import pytest
import torch

from sparsecircuits.data.batches import batch, offsets, sequential_batches
from sparsecircuits.errors import DataError

TOKENS = np.arange(1000, dtype=np.uint16)


def test_rows_are_stretches_of_the_tokens():
    rows = batch(TOKENS, seed=0, step=0, rows=5, n_ctx=8)
    assert rows.shape == (5, 9)
    assert rows.dtype == torch.int64
    starts = offsets(1000, seed=0, step=0, rows=5, n_ctx=8)
    for row, start in zip(rows, starts, strict=True):
        assert row.tolist() == list(range(start, start + 9))


def test_a_batch_depends_on_seed_and_step_only():
    straight = [batch(TOKENS, seed=7, step=step, rows=4, n_ctx=8) for step in range(6)]
    assert torch.equal(batch(TOKENS, seed=7, step=4, rows=4, n_ctx=8), straight[4])
    assert not torch.equal(straight[4], straight[5])
    assert not torch.equal(batch(TOKENS, seed=8, step=4, rows=4, n_ctx=8), straight[4])
    # more rows begin with the fewer
    assert torch.equal(batch(TOKENS, seed=7, step=4, rows=9, n_ctx=8)[:4], straight[4])


def test_the_offsets_never_change():
    # Philox 4x64 with key (0, 0) and (2026, 3): its first words, times 992, over 2**64.
    words = np.random.Philox(key=np.array([2026, 3], dtype=np.uint64)).random_raw(2)
    assert offsets(1000, seed=2026, step=3, rows=2, n_ctx=8).tolist() == [
        int(w) * 992 // 2**64 for w in words
    ]
    assert offsets(1000, seed=0, step=0, rows=4, n_ctx=8).tolist() == [11, 239, 110, 559]


def test_every_offset_occurs_and_none_beyond():
    # 13 tokens hold rows of 9 at the five offsets 0 to 4; 5,000 draws: 1,000 each, deviation 28.
    counts = np.bincount(offsets(13, seed=0, step=0, rows=5000, n_ctx=8))
    assert len(counts) == 5
    assert abs(counts - 1000).max() < 120


def test_the_smallest_corpus_has_one_row():
    assert batch(TOKENS[:9], seed=0, step=0, rows=2, n_ctx=8).tolist() == [list(range(9))] * 2
    with pytest.raises(DataError, match="8 tokens; a context of 8 needs at least 9"):
        batch(TOKENS[:8], seed=0, step=0, rows=2, n_ctx=8)


def test_large_ids_stay_whole():
    tokens = np.array([0, 65_535, 70_000, 4_000_000_000], dtype=np.uint32)
    assert batch(tokens, seed=0, step=0, rows=1, n_ctx=3).tolist() == [[0, 65_535, 70_000, 4_000_000_000]]


def test_sequential_windows_predict_each_token_once():
    # 23 tokens, context 5: windows start at 0, 5, 10, 15 (the last ends in token 20); two are left out.
    windows = list(sequential_batches(TOKENS[:23], rows=3, n_ctx=5))
    assert [w.shape for w in windows] == [(3, 6), (1, 6)]
    assert torch.cat(windows)[:, 1:].flatten().tolist() == list(range(1, 21))
    assert torch.cat(windows)[:, 0].tolist() == [0, 5, 10, 15]


def test_a_window_that_just_fits():
    assert [w.tolist() for w in sequential_batches(TOKENS[:6], rows=3, n_ctx=5)] == [[list(range(6))]]
    with pytest.raises(DataError, match="5 tokens; a context of 5 needs at least 6"):
        sequential_batches(TOKENS[:5], rows=3, n_ctx=5)


def test_wrong_numbers_are_refused():
    with pytest.raises(ValueError, match="seed -1"):
        batch(TOKENS, seed=-1, step=0, rows=1, n_ctx=8)
    with pytest.raises(ValueError, match="n_ctx is 0"):
        batch(TOKENS, seed=0, step=0, rows=1, n_ctx=0)
    with pytest.raises(ValueError, match="rows is 0"):
        sequential_batches(TOKENS, rows=0, n_ctx=5)
