"""Drawing tokens: a model that counts, and the same tokens as without a cache."""

from __future__ import annotations

import torch

from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.generate import sample_tokens


def follower() -> SparseGPT:
    """A model whose bigram table says: after token i comes i + 1, of five tokens."""
    config = GPTConfig(vocab_size=5, n_ctx=4, n_layer=1, d_model=8, d_head=4, topk_fraction=None)
    model = SparseGPT(config)
    assert model.bigram_table is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for i in range(5):
            model.bigram_table[i, (i + 1) % 5] = 50.0
    return model


def sample(
    prompt: list[int],
    count: int,
    temperature: float = 0.0,
    top_k: int | None = None,
    *,
    model: SparseGPT | None = None,
    stop: int = 4,
) -> list[int]:
    return sample_tokens(
        model or follower(),
        prompt,
        count=count,
        stop=stop,
        temperature=temperature,
        top_k=top_k,
        generator=torch.Generator().manual_seed(0),
    )


def test_it_stops_before_the_end_of_the_document():
    assert sample([0], 10) == [1, 2, 3]


def test_it_writes_so_many_tokens():
    assert sample([0], 2) == [1, 2]
    assert sample([0], 0) == []


def test_prompts_longer_than_the_context_are_cut_from_the_left():
    assert sample([3, 3, 3, 3, 3, 3, 0], 2) == [1, 2]


def test_only_the_likeliest_are_drawn():
    assert sample([0], 3, temperature=1000.0, top_k=1) == [1, 2, 3]


@torch.no_grad()
def without_cache(model: SparseGPT, prompt: list[int], count: int, temperature: float) -> list[int]:
    ids, generator = list(prompt), torch.Generator().manual_seed(0)
    for _ in range(count):
        logits = model(torch.tensor([ids[-model.config.n_ctx :]]))[0, -1]
        if temperature == 0:
            ids.append(int(logits.argmax()))
        else:
            ids.append(int(torch.multinomial((logits / temperature).softmax(0), 1, generator=generator)))
    return ids[len(prompt) :]


def test_past_the_context_the_window_moves_on(model: SparseGPT):
    """n_ctx is 6: up to the sixth token one at a time, then on the last six again."""
    for temperature in (0.0, 1.0):
        for prompt in ([3], [1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4, 3, 2]):
            expected = without_cache(model, prompt, 14, temperature)
            assert sample(prompt, 14, temperature, model=model, stop=-1) == expected
