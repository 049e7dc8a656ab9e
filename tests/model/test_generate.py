"""Drawing tokens: a model that counts, chances worked out by hand, the same tokens as without a cache."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from sparsecircuits import generate
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import GPTConfig, SparseGPT
from sparsecircuits.model.generate import Characters, Sampling, draw_tokens, first_of, held_back

#: Of five tokens.
LOGITS = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05]).log()


def follower(size: int = 5, n_ctx: int = 4) -> SparseGPT:
    """A model whose bigram table says: after token i comes i + 1."""
    model = SparseGPT(
        GPTConfig(vocab_size=size, n_ctx=n_ctx, n_layer=1, d_model=8, d_head=4, topk_fraction=None)
    )
    assert model.bigram_table is not None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for i in range(size):
            model.bigram_table[i, (i + 1) % size] = 50.0
    return model


def draw(model: SparseGPT, prompt: list[int], count: int, sampling: Sampling, seed: int = 0) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return list(itertools.islice(draw_tokens(model, prompt, sampling, generator), count))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """The 256 bytes and <|endoftext|>: every byte is a token."""
    return train_tokenizer(["a"], vocab_size=257)


@pytest.fixture(scope="module")
def alphabet(tokenizer: Tokenizer) -> SparseGPT:
    """It goes on with the alphabet; after z the document ends."""
    return letters(tokenizer, "abcdefghijklmnopqrstuvwxyz")


def letters(tokenizer: Tokenizer, text: str, n_ctx: int = 4) -> SparseGPT:
    """It begins a document with the first byte of a text, goes on with the next, and ends behind the last.

    No byte may occur twice.
    """
    model = follower(tokenizer.vocab_size, n_ctx)
    ids = [tokenizer.eot_id, *tokenizer.encode(text), tokenizer.eot_id]
    assert model.bigram_table is not None
    with torch.no_grad():
        for here, there in itertools.pairwise(ids):
            model.bigram_table[here] = 0.0
            model.bigram_table[here, there] = 50.0
    return model


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(temperature=1.0), [0.4, 0.3, 0.15, 0.1, 0.05]),
        (Sampling(temperature=0.0), [1, 0, 0, 0, 0]),
        # squared, of which the sum is 0.285
        (
            Sampling(temperature=0.5),
            [0.16 / 0.285, 0.09 / 0.285, 0.0225 / 0.285, 0.01 / 0.285, 0.0025 / 0.285],
        ),
        (Sampling(temperature=1.0, top_k=2), [4 / 7, 3 / 7, 0, 0, 0]),
        (Sampling(temperature=1.0, top_k=99), [0.4, 0.3, 0.15, 0.1, 0.05]),
        (Sampling(temperature=1.0, top_p=0.3), [1, 0, 0, 0, 0]),
        # 0.4 is not enough, 0.4 + 0.3 is
        (Sampling(temperature=1.0, top_p=0.5), [4 / 7, 3 / 7, 0, 0, 0]),
        # 0.7 is not enough, 0.85 is
        (Sampling(temperature=1.0, top_p=0.8), [0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85, 0, 0]),
        (Sampling(temperature=1.0, top_p=1.0), [0.4, 0.3, 0.15, 0.1, 0.05]),
        # of the first two, 4/7 is enough for a half
        (Sampling(temperature=1.0, top_k=2, top_p=0.5), [1, 0, 0, 0, 0]),
        # at temperature 0.5 the first alone has 0.56
        (Sampling(temperature=0.5, top_p=0.5), [1, 0, 0, 0, 0]),
    ],
)
def test_chances(sampling: Sampling, expected: list[float]) -> None:
    order = torch.tensor([3, 0, 4, 1, 2])  # not sorted to begin with
    found = sampling.chances(LOGITS[order])
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float)[order], atol=1e-6, rtol=0)


def test_of_equal_chances_the_first_are_kept() -> None:
    assert Sampling(temperature=1.0, top_k=2).chances(torch.zeros(4)).tolist() == [0.5, 0.5, 0, 0]
    assert Sampling(temperature=1.0, top_p=0.5).chances(torch.zeros(4)).tolist() == [0.5, 0.5, 0, 0]


def test_the_coldest_temperatures_are_as_zero() -> None:
    for temperature in (1e-300, 1e-45, 1e-30, 1e-6):
        assert Sampling(temperature=temperature).chances(LOGITS).tolist() == [1, 0, 0, 0, 0]


def test_tokens_come_as_often_as_their_chances_say() -> None:
    model = follower()
    assert model.bigram_table is not None
    with torch.no_grad():
        model.bigram_table[:] = LOGITS
    drawn = Counter(draw(model, [0], 1000, Sampling(temperature=1.0, top_p=0.8)))
    assert set(drawn) == {0, 1, 2}
    for token, chance in enumerate((0.4 / 0.85, 0.3 / 0.85, 0.15 / 0.85)):
        assert drawn[token] / 1000 == pytest.approx(chance, abs=0.06)  # four standard deviations


def test_prompts_longer_than_the_context_are_cut_from_the_left() -> None:
    assert draw(follower(), [3, 3, 3, 3, 3, 3, 0], 2, Sampling(temperature=0)) == [1, 2]


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


def test_past_the_context_the_window_moves_on(model: SparseGPT) -> None:
    """n_ctx is 6: up to the sixth token one at a time, then on the last six again."""
    for temperature in (0.0, 1.0):
        for prompt in ([3], [1, 2, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4, 3, 2]):
            expected = without_cache(model, prompt, 14, temperature)
            assert draw(model, prompt, 14, Sampling(temperature=temperature)) == expected


def test_a_text_ends_with_its_document(alphabet: SparseGPT, tokenizer: Tokenizer) -> None:
    (sample,) = generate(alphabet, "wx", tokenizer=tokenizer, tokens=10)
    assert (sample.text, sample.ended, sample.seed) == ("yz", "document", 0)
    assert sample.tokens == tuple(tokenizer.encode("yz"))
    (begun,) = generate(alphabet, tokenizer=tokenizer)  # far beyond n_ctx = 4
    assert (begun.text, begun.ended) == ("abcdefghijklmnopqrstuvwxyz", "document")


def test_or_with_its_length(alphabet: SparseGPT, tokenizer: Tokenizer) -> None:
    (sample,) = generate(alphabet, tokenizer.encode("ab"), tokenizer=tokenizer, tokens=3)
    assert (sample.text, sample.ended) == ("cde", "length")


@pytest.mark.parametrize(
    ("stop", "text", "ended", "tokens"),
    [
        ("fg", "cde", "stop", 5),
        (("xyz", "e"), "cd", "stop", 3),
        ("c", "", "stop", 1),
        ("fx", "cdefghij", "length", 8),
    ],
)
def test_or_before_a_stop_text(
    alphabet: SparseGPT, tokenizer: Tokenizer, stop: str, text: str, ended: str, tokens: int
) -> None:
    pieces: list[str] = []
    (sample,) = generate(
        alphabet, "ab", tokenizer=tokenizer, tokens=8, stop=stop, watch=lambda _, piece: pieces.append(piece)
    )
    assert (sample.text, sample.ended, len(sample.tokens)) == (text, ended, tokens)
    assert "".join(pieces) == text  # nothing of a stop text was shown


def test_pieces_are_whole_characters(tokenizer: Tokenizer) -> None:
    """a, then ä of two bytes, € of three, an emoji of four; every byte a token of its own."""
    text = "aä€😀b"
    pieces: list[tuple[int, str]] = []
    model = letters(tokenizer, text)
    (sample,) = generate(model, tokenizer=tokenizer, watch=lambda *piece: pieces.append(piece))
    assert sample.text == text
    assert len(sample.tokens) == 1 + 2 + 3 + 4 + 1
    assert pieces == [(0, "a"), (0, "ä"), (0, "€"), (0, "😀"), (0, "b")]
    (cut,) = generate(model, tokenizer=tokenizer, tokens=5)
    assert cut.text == "aä\ufffd"


def test_bytes_that_are_no_text_do_not_hold_up_the_rest(tokenizer: Tokenizer) -> None:
    characters = Characters(tokenizer)
    broken = next(id for id in range(256) if tokenizer.token_bytes(id) == b"\xff")
    assert [characters.add(broken) for _ in range(3)] == ["\ufffd"] * 3
    assert characters.add(*tokenizer.encode("a")) == "a"
    assert characters.rest() == ""


class Pieces:
    """A tokenizer with a token for each of some pieces of a text's bytes."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def token_bytes(self, id: int) -> bytes:
        return self._pieces[id]


def test_tokens_may_end_one_character_and_begin_the_next() -> None:
    """Each token ends within a character, the last but one of each four bytes: nothing is cut in between."""
    whole = "€€€€€€".encode()
    pieces = [whole[:2], *(whole[at : at + 3] for at in range(2, 17, 3)), whole[17:]]
    characters = Characters(Pieces(*pieces))  # type: ignore[arg-type]
    assert [characters.add(id) for id in range(7)] == ["", *["€"] * 6]
    assert characters.rest() == ""


def test_a_seed_gives_one_text_and_sample_i_is_that_of_seed_plus_i(
    model: SparseGPT, tokenizer: Tokenizer
) -> None:
    wide = SparseGPT(GPTConfig(vocab_size=257, n_layer=1, d_model=8, d_head=4, n_ctx=8, init_std=0.5))
    three = generate(wide, "ab", tokenizer=tokenizer, tokens=12, count=3, seed=5)
    alone = [generate(wide, "ab", tokenizer=tokenizer, tokens=12, seed=seed)[0] for seed in (5, 6, 7)]
    assert three == alone
    assert len({sample.tokens for sample in three}) == 3


def test_a_run_brings_its_tokenizer(alphabet: SparseGPT, tokenizer: Tokenizer) -> None:
    class Run:
        def model(self) -> SparseGPT:
            return alphabet

        def tokenizer(self) -> Tokenizer:
            return tokenizer

    assert generate(Run(), "x")[0].text == "yz"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tokens": 0}, "generate: tokens is 0; it must be at least 1"),
        ({"count": 0}, "generate: count is 0; it must be at least 1"),
        ({"stop": ""}, "generate: a stop text is empty"),
        ({"temperature": -1.0}, "Sampling.temperature is -1.0; it must not be negative"),
        ({"top_k": 0}, "Sampling.top_k is 0; it must be at least 1"),
        ({"top_p": 0.0}, "Sampling.top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.5}, "Sampling.top_p is 1.5"),
        ({"tokenizer": None}, "generate: a model alone knows no text"),
    ],
)
def test_mistakes(
    alphabet: SparseGPT, tokenizer: Tokenizer, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        generate(alphabet, "x", **{"tokenizer": tokenizer, **settings})  # type: ignore[arg-type]


def test_stop_texts_in_parts() -> None:
    assert first_of(["b", "ab"], "xaby") == 1
    assert held_back(["abc"], "xab") == 2
    assert held_back(["abc", "b"], "xa") == 1
    assert held_back([], "xab") == 0
