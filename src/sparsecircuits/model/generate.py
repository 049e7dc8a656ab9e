"""Draw tokens from a model, one after the other, with a cache of keys and values."""

from __future__ import annotations

import torch

from sparsecircuits.model.cache import KVCache
from sparsecircuits.model.gpt import SparseGPT


@torch.no_grad()
def sample_tokens(
    model: SparseGPT,
    prompt: list[int],
    *,
    count: int,
    stop: int,
    temperature: float,
    top_k: int | None,
    generator: torch.Generator,
) -> list[int]:
    """Draw up to ``count`` tokens after ``prompt``, none after ``stop``.

    The model sees the last ``n_ctx`` tokens of what is there. Up to ``n_ctx`` tokens each step runs one token
    alone; beyond, the window moves on and the model runs on all of it again.

    Returns:
        The new ids alone, without ``stop``.
    """
    ids = list(prompt)
    cache = KVCache(model.config)
    while len(ids) < len(prompt) + count:
        seen = ids[-model.config.n_ctx :]
        if len(ids) > model.config.n_ctx:
            cache = KVCache(model.config)
        fresh = torch.tensor([seen[cache.length :]])
        logits = model(fresh, torch.tensor([fresh.shape[1] - 1]), cache=cache)[0]
        if top_k is not None and top_k < len(logits):
            logits[logits < logits.topk(top_k).values[-1]] = float("-inf")
        if temperature == 0:
            token = int(logits.argmax())
        else:
            chances = (logits / temperature).softmax(0)
            token = int(torch.multinomial(chances, 1, generator=generator))
        if token == stop:
            break
        ids.append(token)
    return ids[len(prompt) :]
