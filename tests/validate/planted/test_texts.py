"""Every prompt asks what its program answers, worked out again from the text alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.tasks.pairs import Task
from sparsecircuits.validate.planted import texts


def quote(prompt: str) -> str:
    (found,) = [character for character in prompt if character in "'\""]
    return found


def depth(prompt: str) -> str:
    return str(prompt.count("["))


def variable(prompt: str) -> str:
    name = prompt[-1]
    kind = prompt[prompt.index(f"{name}=") + 2]
    return {"s": "+", "t": "-"}[kind]


def induction(prompt: str) -> str:
    before = prompt[:-1]
    assert before.count(prompt[-1]) == 1
    return before[before.index(prompt[-1]) + 1]


def bigram(prompt: str) -> str:
    return {"m": "!", "n": "?"}[prompt[-1]]


ASKED = [
    (texts.QUOTE, quote),
    (texts.DEPTH, depth),
    (texts.VARIABLE, variable),
    (texts.INDUCTION, induction),
    (texts.BIGRAM, bigram),
]


@pytest.mark.parametrize(("task", "answer"), ASKED)
@pytest.mark.parametrize("split", SPLITS)
def test_the_answer_is_right_and_the_sides_differ_in_one_character(
    task: Task, answer: Callable[[str], str], split: texts.Split
) -> None:
    for pair in task.texts(split, 100):
        assert answer(pair.left) == pair.left_answer
        assert answer(pair.right) == pair.right_answer
        assert sum(a != b for a, b in zip(pair.left, pair.right, strict=True)) == 1
        assert texts.SHORTEST <= len(pair.left) <= texts.LONGEST + 1


@pytest.mark.parametrize(("task", "_answer"), ASKED)
def test_no_prompt_is_in_two_splits(task: Task, _answer: object) -> None:
    prompts = {split: {pair.left for pair in task.texts(split, 100)} for split in SPLITS}
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["train"] & prompts["heldout"]
    assert not prompts["validation"] & prompts["heldout"]


def test_characters_that_matter_to_others_are_in_the_filler_but_never_ones_own() -> None:
    joined = "".join(pair.left for pair in texts.DEPTH.texts("train", 200))
    assert set("'\"xyst=pqrumn") <= set(joined)
    joined = "".join(pair.left[:-1] for pair in texts.BIGRAM.texts("train", 200))
    assert not set("mn") & set(joined)


def test_the_corpus_holds_every_task_and_its_answers() -> None:
    tokenizer = texts.byte_tokenizer()
    documents = tokenizer.decode(texts.corpus().tolist()).split("<|endoftext|>")[1:]
    assert len(documents) == 5 * 3 * texts.DOCUMENTS * 2
    answers = {document[-1] for document in documents}
    assert answers == set("'\"12+-pqru!?")
