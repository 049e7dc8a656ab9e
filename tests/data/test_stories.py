"""The stories: reproducible, consistent in who is who and when, and friendly to a small vocabulary."""

from __future__ import annotations

import random
import re
from collections import Counter
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


def test_words_of_time_decide_the_tense_whatever_the_story_is_told_in(documents: list[str]):
    past = r"(?:Yesterday|One day|Last week|Long ago) .*\b[a-z]+ed (?:in|with) "
    present = r"(?:Today|Every day|Every week|Right now) .*\b[a-z]+s (?:in|with) "
    lines = [line for text in documents for line in text.splitlines()]
    timed = [line for line in lines if re.match(r"Yesterday|One day|Last|Long|Today|Every|Right", line)]
    told = Counter(bool(re.match(past, line)) for line in timed)
    assert all(re.match(past, line) or re.match(present, line) for line in timed)
    assert 0.45 <= told[True] / len(timed) <= 0.55
    mixed = [text for text in documents if re.search(past, text) and re.search(present, text)]
    assert len(mixed) * 10 >= len(documents)


def test_every_story_has_one_scene_in_which_something_is_given(documents: list[str]):
    assert {len(re.findall(r"\b(?:gave|gives|showed|shows)\b", text)) for text in documents} == {1}


def test_like_sentences_come_in_runs(documents: list[str]):
    # One story in nine favours shouts: at least half of its other sentences are shouts, on average.
    shouts = Counter(sum(line.endswith("!") for line in text.splitlines()) for text in documents)
    assert sum(n for count, n in shouts.items() if count >= 3) * 25 >= len(documents)


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
