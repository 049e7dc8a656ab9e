"""What stands around a prompt: how many lines, which ones, and where."""

from __future__ import annotations

import random
import re

import pytest

from sparsecircuits.data.idioms.names import NOUNS, SLOTS, SPLITS, Split
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.surroundings import (
    EVERYTHING,
    FUNCTIONS,
    IFS,
    LOOPS,
    PLAIN,
    Surroundings,
    Templates,
    lines_for,
)

NUMBERS: Templates = dict.fromkeys(SPLITS, ("$a = 1\n",))
ONLY_NUMBERS = Surroundings(NUMBERS)


def put(surroundings: Surroundings, prompt: str, room: int, *, split: Split = "train", seed: int = 0) -> str:
    return surroundings.put(random.Random(seed), split, prompt, room, SLOTS, frozenset())


@pytest.mark.parametrize(
    ("split", "counts"),
    [("train", [1, 1, 3, 5, 9, 19]), ("validation", [4, 4, 4, 4, 8, 20]), ("heldout", [2, 2, 2, 6, 10, 18])],
)
def test_numbers_of_lines_by_hand(split: Split, counts: list[int]):
    assert [lines_for(split, wanted) for wanted in (-5, 0, 3.2, 5.1, 9, 19)] == counts


def test_no_number_of_lines_is_in_two_splits():
    found = {split: {lines_for(split, wanted / 4) for wanted in range(400)} for split in SPLITS}
    assert sum(map(len, found.values())) == len(set.union(*found.values()))


def test_all_splits_have_lines_of_the_same_kinds():
    kinds = (r" [-+*] ", r"^\$f\(", r"^\$a = \$f\(", r"\$\w\.\$[a-e]\b", r"\.\$f\(", r",")
    for split in SPLITS:
        for kind in kinds:
            assert any(re.search(kind, line) for line in PLAIN[split]), (split, kind)
        assert {text.split()[0] + str("==" in text) for text in IFS[split]} == {"ifFalse", "ifTrue"}
        assert {text.split()[0] for text in LOOPS[split]} == {"for", "while"}
        assert {text.split()[0] for text in FUNCTIONS[split]} == {"def"}


@pytest.mark.parametrize("table", [PLAIN, IFS, LOOPS, FUNCTIONS])
def test_no_line_is_in_two_splits(table: Templates):
    lines = [line for split in SPLITS for line in table[split]]
    assert len(set(lines)) == len(lines)
    assert EVERYTHING.lines.keys() == set(SPLITS)
    assert all(line in EVERYTHING.lines[split] for split in SPLITS for line in table[split])


def test_more_room_more_lines():
    # "abcd = 1⏎" has 9 characters, "show(" has 5: at 5 + 2 * 9 there is room for 3 lines rather than 1.
    heights = [put(ONLY_NUMBERS, "show(", room).count("\n") for room in (0, 22, 24, 42, 96)]
    assert heights == [1, 1, 3, 5, 11]


def test_room_is_kept_roughly_on_average():
    for split in SPLITS:
        rooms = [60 + 2 * i for i in range(100)]
        sizes = [len(put(EVERYTHING, "show(", room, split=split, seed=room)) for room in rooms]
        assert sum(sizes) == pytest.approx(sum(rooms), rel=0.2)


def test_lines_go_into_the_block_that_the_prompt_begins_with_or_before_it():
    shape = re.compile(r"((?:\w+ = 1\n)*)if name:\n((?:    \w+ = 1\n)*)    show\(")
    found = [shape.fullmatch(put(ONLY_NUMBERS, "if name:\n    show(", 60, seed=seed)) for seed in range(200)]
    counts = [[found.count("\n") for found in match.groups()] for match in found if match]
    assert len(counts) == 200
    assert {front + nested for front, nested in counts} == {5}  # 18 characters, and 9 for a line
    assert {nested for _, nested in counts} == {0, 1, 2, 3, 4, 5}


@pytest.mark.parametrize("prompt", ["show(", "if <<a|b>>:\n    show(", "class Dog:\n    def show("])
def test_lines_stay_outside_of_what_is_no_plain_block(prompt: str):
    assert all(put(ONLY_NUMBERS, prompt, 90, seed=seed).endswith(f"= 1\n{prompt}") for seed in range(9))


def test_words_are_few_and_none_that_the_prompt_uses():
    taken = frozenset(NOUNS["train"][:6])
    for seed in range(20):
        rng = random.Random(seed)
        text = ONLY_NUMBERS.put(rng, "train", "", 400, SLOTS, taken)
        words = set(re.findall(r"[a-z]+", text))
        assert words <= set(NOUNS["train"]) - taken
        assert len(words) <= 5


def test_words_are_shared_where_there_are_no_others():
    pool = {"a": dict.fromkeys(SPLITS, ("cat", "dog"))}
    text = ONLY_NUMBERS.put(random.Random(0), "train", "", 100, pool, frozenset({"cat"}))
    assert set(re.findall(r"[a-z]+", text)) == {"cat", "dog"}


def test_without_leaves_lines_out():
    bare = EVERYTHING.without(",")
    for split in SPLITS:
        assert bare.lines[split] == tuple(line for line in EVERYTHING.lines[split] if "," not in line)


def test_a_split_without_a_line_of_its_own_is_refused():
    with pytest.raises(TaskError, match="the split 'validation' has no statement of one line"):
        Surroundings({"train": ("$a\n",), "validation": ("if $a:\n    $b\n",), "heldout": ("$a\n",)})
    with pytest.raises(TaskError, match="the split 'heldout'"):
        Surroundings({"train": ("$a\n",), "validation": ("$a\n",)})
