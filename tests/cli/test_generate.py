"""The command generate."""

from __future__ import annotations

from pathlib import Path

import pytest
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


def sample(prompt: list[int], count: int, temperature: float = 0.0, top_k: int | None = None) -> list[int]:
    generator = torch.Generator().manual_seed(0)
    return sample_tokens(
        follower(), prompt, count=count, stop=4, temperature=temperature, top_k=top_k, generator=generator
    )


def test_it_stops_before_the_end_of_the_document() -> None:
    assert sample([0], 10) == [1, 2, 3]


def test_it_writes_so_many_tokens() -> None:
    assert sample([0], 2) == [1, 2]


def test_prompts_longer_than_the_context_are_cut_from_the_left() -> None:
    assert sample([3, 3, 3, 3, 3, 3, 0], 2) == [1, 2]


def test_only_the_likeliest_are_drawn() -> None:
    assert sample([0], 3, temperature=1000.0, top_k=1) == [1, 2, 3]


def test_the_prompt_comes_first_and_a_seed_gives_one_text(call, trained: Path) -> None:
    first, again = (
        call("generate", trained, "for item in", "--tokens", "8", "--seed", "3") for _ in range(2)
    )
    assert first.code == 0
    assert first.out.startswith("for item in")
    assert first.out == again.out
    assert first.err == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "--temperature is -1.0"),
        (["--tokens", "0"], "--tokens is 0"),
        (["--top-k", "0"], "--top-k is 0"),
    ],
)
def test_mistakes(call, trained: Path, words: list[str], message: str) -> None:
    done = call("generate", trained, "x", *words)
    assert done.code == 2
    assert done.err.startswith(f"error: {message}")
