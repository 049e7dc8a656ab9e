"""The questions about plain English: aligned, split, and not for a model that sees the last word only."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
import torch

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.data.stories import endless_stories
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.tasks import STORY_TASKS, SUITES, found_in, get_task, prompts_of

NAMES = list(STORY_TASKS)


@pytest.fixture(scope="module")
def stories() -> list[str]:
    return list(islice(endless_stories(11), 3000))


@pytest.fixture(scope="module")
def speaker(stories: list[str]) -> Tokenizer:
    return train_tokenizer(stories, 600)


@pytest.fixture(scope="module")
def tokens(stories: list[str], speaker: Tokenizer) -> np.ndarray:
    ids = [index for row in speaker.encode_batch(stories) for index in (*row, speaker.eot_id)]
    return np.array(ids, dtype=np.uint16)


def test_there_are_at_least_five_in_their_suite():
    assert len(NAMES) >= 5
    assert SUITES["stories"] is STORY_TASKS
    assert all(get_task(name).suite == "stories" for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_aligned_and_long_enough(speaker: Tokenizer, tokens: np.ndarray, name: str, split):
    pairs = STORY_TASKS[name].pairs(speaker, split, 100)
    n, rows = len(pairs), torch.arange(200)
    assert torch.equal(pairs.last[:n], pairs.last[n:])
    assert 20 <= int(pairs.last.min()) + 1 <= int(pairs.last.max()) + 1 <= 64
    ends = pairs.tokens[rows, pairs.last]
    assert torch.equal(ends[:n], ends[n:])
    assert found_in(prompts_of(pairs), tokens, speaker).sum() == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_a_bigram_model_is_at_chance(speaker: Tokenizer, tokens: np.ndarray, name: str, split):
    follows = Counter(pairwise(tokens.tolist()))
    pairs = STORY_TASKS[name].pairs(speaker, split, 200)
    last = pairs.tokens[torch.arange(400), pairs.last].tolist()
    right = 0.0
    for row, target, other in zip(last, pairs.target.tolist(), pairs.other.tolist(), strict=True):
        seen = follows[row, target], follows[row, other]
        right += 0.5 if seen[0] == seen[1] else float(seen[0] > seen[1])
    assert 0.45 <= right / 400 <= 0.55


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_template_and_no_number_of_lines(name: str):
    texts = {split: STORY_TASKS[name].texts(split, 200) for split in SPLITS}
    templates = {split: {pair.template for pair in pairs} for split, pairs in texts.items()}
    assert len(set.union(*templates.values())) == sum(map(len, templates.values()))
    around = {
        split: {
            pair.left.count("\n") - re.sub(r"<<(.*?)\|.*?>>", r"\1", pair.template).count("\n")
            for pair in pairs
        }
        for split, pairs in texts.items()
    }
    assert not around["train"] & around["heldout"]
    assert not around["train"] & around["validation"]
