"""Prompts that are found in a text, and only those."""

from __future__ import annotations

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.tasks import get_task, overlapping, without_overlap


def test_finds_prompts_at_line_starts():
    texts = ["a = b\nfor x in y:\n    show(x)\n", "c = d\n"]
    prompts = ["for x in", "for x in y:\n    show", "x in y", "for y", "c = d\n", ""]
    assert overlapping(prompts, texts) == {"for x in", "for x in y:\n    show", "c = d\n"}


def test_nothing_to_look_for():
    assert overlapping([], ["a\n"]) == set()
    assert overlapping(["", ""], ["a\n"]) == set()


def test_without_overlap_drops_both_sides_of_a_pair(tokenizer: Tokenizer):
    pairs = get_task("for_while").pairs(tokenizer, "train", 8)
    kept = without_overlap(pairs, ["x = 1\n" + pairs.texts[3].right + " more\n"])
    assert kept.texts == pairs.texts[:3] + pairs.texts[4:]
    assert kept.tokens.shape[0] == 14
