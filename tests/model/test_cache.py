"""Keys and values kept: a sequence token by token gives the logits of the whole."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.cache import KVCache
from tests.model.conftest import TINY


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("changes", [{}, {"positions": "learned"}, {"positions": "concat"}, {"sink": False}])
@pytest.mark.parametrize("pieces", [[1] * 6, [3, 1, 2], [6]])
def test_piece_by_piece_equals_the_whole(
    changes: dict[str, object], batch: int, dtype: torch.dtype, pieces: list[int]
):
    # All entries live: which of two nearly equal ones AbsTopK keeps may turn on the last bit.
    config = GPTConfig.from_dict({**TINY.replace(init_std=0.5, topk_fraction=None).to_dict(), **changes})
    model = SparseGPT(config).to(dtype)
    tokens = torch.randint(0, 11, (batch, 6), generator=torch.Generator().manual_seed(0))
    cache = KVCache(config)
    with torch.no_grad():
        parts = [model(part, cache=cache) for part in tokens.split(pieces, 1)]
        whole = model(tokens)
    assert cache.length == 6
    assert whole.dtype == dtype
    # Sums come out in another order, on each processor in its own: some dozen roundings of the largest logit.
    rounding = 32 * torch.finfo(dtype).eps * float(whole.abs().max())
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=rounding, rtol=0)


def test_at_counts_from_the_first_new_token(model: SparseGPT, tokens: torch.Tensor):
    cache = KVCache(model.config)
    with torch.no_grad():
        model(tokens[:, :3], cache=cache)
        last = model(tokens[:, 3:], torch.tensor([1, 0]), cache=cache)
        whole = model(tokens)
    torch.testing.assert_close(last, whole[[0, 1], [4, 3]], atol=1e-5, rtol=0)


def test_more_tokens_than_the_context_are_an_error_and_leave_the_cache(model: SparseGPT):
    cache = KVCache(model.config)
    with torch.no_grad():
        model(torch.zeros(1, 4, dtype=torch.long), cache=cache)
        with pytest.raises(ConfigError, match="7 tokens, but the model's n_ctx is 6"):
            model(torch.zeros(1, 3, dtype=torch.long), cache=cache)
        assert cache.length == 4
        model(torch.zeros(1, 2, dtype=torch.long), cache=cache)
    assert cache.length == 6
