"""Shifted variants: the question of their task, and the shift that their name promises."""

from __future__ import annotations

import re

import pytest

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.tasks import SUITES, TASKS, VARIANTS, get_task, variants_of
from sparsecircuits.tasks.pairs import TextPair


def texts(name: str) -> list[TextPair]:
    return [pair for split in SPLITS for pair in VARIANTS[name].texts(split, 60)]


def test_each_belongs_to_a_task():
    for name, variant in VARIANTS.items():
        assert variant.name == name
        assert variant.base in SUITES[variant.suite]
    assert {variant.name for variant in variants_of(TASKS["bracket_counting"])} == {
        "bracket_counting:distractor",
        "bracket_counting:long",
    }
    assert variants_of(TASKS["with_as"]) == []
    assert get_task("set_or_string:distractor") is VARIANTS["set_or_string:distractor"]


@pytest.mark.parametrize("name", [name for name, task in VARIANTS.items() if task.suite == "python"])
@pytest.mark.parametrize("split", SPLITS)
def test_candidates_are_those_of_the_task(tokenizer: Tokenizer, name: str, split: Split):
    shifted = VARIANTS[name].pairs(tokenizer, split, 20)
    plain = TASKS[VARIANTS[name].base].pairs(tokenizer, split, 20)
    assert shifted.target.tolist() == plain.target.tolist()
    assert shifted.form == plain.form


def test_a_bracket_in_a_comment_is_never_closed():
    for pair in texts("bracket_counting:distractor"):
        for prompt, opened in ((pair.left, 1), (pair.right, 2)):
            comments = re.findall(r"#.*", prompt)
            assert [comment.count("[") for comment in comments] == [1]
            assert prompt.count("[") == opened + 1
            assert "]" not in prompt


def test_long_lists_fill_the_prompt(tokenizer: Tokenizer):
    for split in SPLITS:
        pairs = VARIANTS["bracket_counting:long"].pairs(tokenizer, split, 60, max_tokens=128)
        entries = [pair.left.count(",") + 1 for pair in pairs.texts]
        # A list of n entries has n names and n-1 commas; around it stand "⏎", "x = y", "z = [" and the start.
        assert min(entries) >= 7
        assert max(entries) > 50
        assert all(pair.left.count("\n") == 1 for pair in pairs.texts)
        assert all(pair.right == pair.left.replace("[", "[[") for pair in pairs.texts)


def test_a_string_with_the_other_mark_is_closed_before():
    for pair in texts("single_double_quote:distractor"):
        for prompt, own, other in ((pair.left, "'", '"'), (pair.right, '"', "'")):
            assert (prompt.count(own), prompt.count(other)) == (1, 2)
            assert prompt.rindex(other) < prompt.index(own)


def test_the_other_mark_stands_in_a_comment_alone():
    for pair in texts("single_double_quote:unmatched"):
        for prompt, own, other in ((pair.left, "'", '"'), (pair.right, '"', "'")):
            assert (prompt.count(own), prompt.count(other)) == (1, 1)
            assert re.search(rf"#[^\n]*{other}[^\n]*\n", prompt)


def test_another_variable_is_of_the_other_kind():
    orders = set()
    for pair in texts("set_or_string:distractor"):
        for prompt, own in ((pair.left, "set()"), (pair.right, '""')):
            kinds = dict(re.findall(r"(\w+) = (set\(\)|\"\")\n", prompt))
            asked = prompt.split()[-1]
            assert kinds[asked] == own
            assert sorted(kinds.values()) == ['""', "set()"]
            orders.add((own, next(iter(kinds)) == asked))
    assert len(orders) == 4  # either kind is first in some prompts
