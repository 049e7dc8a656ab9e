"""The stories: reproducible, consistent in who is who and when, and friendly to a small vocabulary."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from sparsecircuits.data.idioms.names import SPLITS, words
from sparsecircuits.data.sources import read_source
from sparsecircuits.data.stories import endless_stories, in_tense, story_document
from sparsecircuits.data.stories.lexicon import ANIMALS, BOYS, FRIENDS, GIRLS, PLACES, STORY_SLOTS, THINGS


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return list(islice(endless_stories(7), 2000))


def test_same_seed_same_stories():
    assert list(islice(endless_stories(3), 20)) == list(islice(endless_stories(3), 20))
    assert list(islice(endless_stories(3), 20)) != list(islice(endless_stories(4), 20))
    assert story_document(random.Random(5)) == story_document(random.Random(5))


def test_they_are_a_source():
    first = next(read_source("stories", 3))
    assert first.text == next(endless_stories(3))
    assert first.origin == "stories"


def test_tense():
    assert in_tense("Tom {was|is} sad; Ben {played|plays}.", "past") == "Tom was sad; Ben played."
    assert in_tense("Tom {was|is} sad; Ben {played|plays}.", "present") == "Tom is sad; Ben plays."


def test_one_sentence_a_line_and_no_slot_left(documents: list[str]):
    for text in documents[:500]:
        assert text.endswith("\n")
        assert "$" not in text
        assert "{" not in text
        for line in text.splitlines():
            assert re.search(r"[.?!]['\"]?$", line), line


def test_no_word_belongs_to_two_splits():
    for pool in (*STORY_SLOTS.values(), BOYS, GIRLS, FRIENDS, ANIMALS, THINGS, PLACES):
        assert len(set(words(pool))) == sum(len(pool[split]) for split in SPLITS)


@pytest.mark.parametrize(
    "pattern",
    [r"\bHe\b|\bhe\b", r"\bShe\b|\bshe\b", r"\?\n", r"\." '"', r"\.'", r"gave|showed", r"\bare\b|\bwere\b"],
)
def test_each_construction_is_frequent(documents: list[str], pattern: str):
    assert len(re.findall(pattern, "".join(documents))) * 20 >= len(documents)
