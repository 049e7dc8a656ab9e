"""Prompts that are found in a corpus of tokens, and only those."""

from __future__ import annotations

import numpy as np
import pytest

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.tasks import found_in, get_task, prompts_of, without_overlap

PROMPT = "for x in data:\n    show(x)\nwhile data:\n    data.value = cost\nname = find('item"


def corpus_of(tokenizer: Tokenizer, *texts: str) -> np.ndarray:
    ids = [index for text in texts for index in (*tokenizer.encode(text), tokenizer.eot_id)]
    return np.array(ids, dtype=np.uint16)


@pytest.mark.parametrize(
    "before", ["", "a = b\n", "if a:\n    ", "(", "\n\n"], ids=["first", "line", "indented", "bracket", "gap"]
)
def test_a_planted_prompt_is_found_wherever_it_stands(tokenizer: Tokenizer, before: str):
    prompts = [tokenizer.encode(PROMPT), tokenizer.encode(PROMPT.replace("cost", "size"))]
    corpus = corpus_of(tokenizer, "x = 1\n", before + PROMPT + "')\n", "x = 2\n")
    assert found_in(prompts, corpus, tokenizer).tolist() == [True, False]


def test_every_token_counts(tokenizer: Tokenizer):
    prompt = tokenizer.encode(PROMPT)
    assert len(prompt) > 20
    for changed in range(1, len(prompt)):
        other = list(prompt)
        other[changed] = (other[changed] + 1) % tokenizer.eot_id
        corpus = np.array([tokenizer.eot_id, *other, tokenizer.eot_id], dtype=np.uint16)
        assert not found_in([prompt], corpus, tokenizer)[0], changed


def test_a_word_that_goes_on_to_the_left_is_another_word(tokenizer: Tokenizer):
    prompt = tokenizer.encode("x = data + cost\nname")
    assert not found_in([prompt], corpus_of(tokenizer, "max = data + cost\nname = 1\n"), tokenizer)[0]
    assert found_in([prompt], corpus_of(tokenizer, "(x = data + cost\nname = 1\n"), tokenizer)[0]


def test_nothing_to_look_for(tokenizer: Tokenizer):
    corpus = corpus_of(tokenizer, "a = b\n")
    assert found_in([], corpus, tokenizer).tolist() == []
    assert found_in([[]], corpus, tokenizer).tolist() == [False]
    assert found_in([tokenizer.encode(PROMPT)], corpus[:0], tokenizer).tolist() == [False]


def test_without_overlap_drops_both_sides_of_a_pair(tokenizer: Tokenizer):
    pairs = get_task("for_while").pairs(tokenizer, "train", 8)
    corpus = corpus_of(tokenizer, "x = 1\n" + pairs.texts[3].right + " more\n")
    kept = without_overlap(pairs, corpus, tokenizer)
    assert kept.texts == pairs.texts[:3] + pairs.texts[4:]
    assert kept.tokens.shape[0] == 14
    assert len(prompts_of(kept)) == 14
