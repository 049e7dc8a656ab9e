"""Shifted variants in plain English: the question of their task, and the shift that their name promises."""

from __future__ import annotations

import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch

from sparsecircuits.data.idioms.names import SPLITS, Split, words
from sparsecircuits.data.stories import endless_stories
from sparsecircuits.data.stories.lexicon import BOYS, GIRLS
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.tasks import STORY_TASKS, VARIANTS, found_in, get_task, prompts_of, variants_of
from sparsecircuits.tasks.pairs import TextPair
from sparsecircuits.tasks.story_variants import STORY_VARIANTS


@pytest.fixture(scope="module")
def stories() -> list[str]:
    return list(islice(endless_stories(11), 3000))


@pytest.fixture(scope="module")
def speaker(stories: list[str]) -> Tokenizer:
    return train_tokenizer(stories, 640)


@pytest.fixture(scope="module")
def tokens(stories: list[str], speaker: Tokenizer) -> np.ndarray:
    ids = [index for row in speaker.encode_batch(stories) for index in (*row, speaker.eot_id)]
    return np.array(ids, dtype=np.uint16)


def texts(name: str) -> list[TextPair]:
    return [pair for split in SPLITS for pair in STORY_VARIANTS[name].texts(split, 60)]


def test_each_is_found_by_name_and_by_its_task():
    assert list(STORY_VARIANTS) == [
        "pronoun:distractor",
        "quotation:distractor",
        "number_agreement:attractor",
    ]
    for name, variant in STORY_VARIANTS.items():
        assert get_task(name) is variant is VARIANTS[name]
        assert variants_of(STORY_TASKS[variant.base]) == [variant]
        assert variant.suite == "stories"
    assert variants_of(STORY_TASKS["tense"]) == []


@pytest.mark.parametrize("name", STORY_VARIANTS)
@pytest.mark.parametrize("split", SPLITS)
def test_pairs_ask_the_question_of_their_task(
    speaker: Tokenizer, tokens: np.ndarray, name: str, split: Split
):
    shifted = STORY_VARIANTS[name].pairs(speaker, split, 100)
    plain = STORY_TASKS[STORY_VARIANTS[name].base].pairs(speaker, split, 100)
    assert shifted.target.tolist() == plain.target.tolist()
    assert shifted.form == plain.form
    ends = shifted.tokens[torch.arange(200), shifted.last]
    assert torch.equal(ends[:100], ends[100:])
    assert 20 <= int(shifted.last.min()) + 1 <= int(shifted.last.max()) + 1 <= 64
    assert shifted.left_out == ()
    assert found_in(prompts_of(shifted), tokens, speaker).sum() == 0


@pytest.mark.parametrize("name", STORY_VARIANTS)
def test_splits_share_no_template(name: str):
    templates = [{pair.template for pair in STORY_VARIANTS[name].texts(split, 200)} for split in SPLITS]
    assert len(set.union(*templates)) == sum(map(len, templates))


def test_a_person_of_the_other_kind_comes_before():
    for pair in texts("pronoun:distractor"):
        people = [
            [word for word in re.findall(r"\w+", prompt) if word in words(BOYS) + words(GIRLS)]
            for prompt in (pair.left, pair.right)
        ]
        girl, boy = people[0]
        assert girl in words(GIRLS)
        assert boy in words(BOYS)
        assert people[1] == [boy, girl]
        assert Counter(pair.left.split()) == Counter(pair.right.split())


def test_speech_in_the_other_marks_is_closed_before():
    for pair in texts("quotation:distractor"):
        for prompt, own, other in ((pair.left, '"', "'"), (pair.right, "'", '"')):
            assert (prompt.count(own), prompt.count(other)) == (1, 2)
            assert prompt.rindex(other) < prompt.index(own)
            assert prompt[prompt.rindex(other) + 1] == "\n"


def test_a_noun_of_the_other_number_stands_between():
    for pair in texts("number_agreement:attractor"):
        for prompt, several in ((pair.left, False), (pair.right, True)):
            subject, between, _ = re.split(r" near | with | by | in ", prompt.splitlines()[-1])
            assert subject.endswith("s") == several
            assert between.endswith("s") != several
