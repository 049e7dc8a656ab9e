"""Tasks written as templates."""

from __future__ import annotations

import pytest

from sparsecircuits.data.idioms.names import NOUNS
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.template import BLOCKS, Templates, behind, fill, template_task

EVERYWHERE = ("train", "validation", "heldout")
WORDS = {"train": ("cat",), "validation": ("dog",), "heldout": ("cow",)}


def make(**changes):
    options = {
        "answer": "<<'|\">>)\n",
        "templates": dict.fromkeys(EVERYWHERE, ("print(<<'|\">>$a",)),
        "slots": {"a": WORDS},
        "context_counts": (0,),
    } | changes
    return template_task("quotes", "how was it opened?", **options)


def test_the_marks_are_the_only_difference():
    (pair,) = make().texts("validation", 1)
    assert (pair.left, pair.left_answer) == ("print('dog", "')\n")
    assert (pair.right, pair.right_answer) == ('print("dog', '")\n')
    assert pair.template == "print(<<'|\">>$a"


def test_context_stands_in_front_of_both_sides_with_other_words():
    slots = {"a": {"train": ("cat", "hen"), "validation": ("dog",), "heldout": ("cow",)}}
    task = make(slots=slots, contexts=dict.fromkeys(EVERYWHERE, ("$a = 1\n",)), context_counts=(2,))
    for pair in task.texts("train", 20):
        quoted = pair.left.split("'")[1]
        other = {"cat": "hen", "hen": "cat"}[quoted]
        assert pair.left == f"{other} = 1\n{other} = 1\nprint('{quoted}"
        assert pair.right == pair.left.replace("'", '"')


def test_no_word_twice_in_a_template():
    templates = dict.fromkeys(EVERYWHERE, ("$a $b $c $d <<'|\">>",))
    task = make(templates=templates, slots=dict.fromkeys("abcd", NOUNS))
    for pair in task.texts("validation", 50):
        assert len(set(pair.left.split()[:4])) == 4


def test_users_task_resolves_to_tokens(tokenizer: Tokenizer):
    pairs = make().pairs(tokenizer, "heldout", 3)
    assert [tokenizer.text(i) for i in pairs.target.tolist()] == ["')\n"] * 3 + ['")\n'] * 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"templates": {"train": ("<<a|b>>",)}}, "no templates for the split 'validation'"),
        ({"templates": dict.fromkeys(EVERYWHERE, ("print($a",))}, "marks no difference"),
        ({"templates": dict.fromkeys(EVERYWHERE, ("<<a|b>>$b",))}, "unknown slot $b"),
        ({"slots": {"a": WORDS, "b": WORDS}, "answer": "<<$a|$b>>"}, "needs 2 different words"),
        (
            {"contexts": {"train": ("$a\n",)}, "context_counts": (1,)},
            "no contexts for the split 'validation'",
        ),
    ],
)
def test_mistakes_are_named_at_construction(changes: dict, words: str):
    with pytest.raises(TaskError) as error:
        make(**changes)
    assert words in str(error.value)


def test_fill():
    assert fill("$a = $b$a", {"a": "x", "b": "y"}) == "x = yx"


def test_behind_puts_the_prompt_after_every_surrounding():
    surroundings: Templates = {"train": ("if $a:\n", "$b\n"), "heldout": ("$c\n",)}
    assert behind(surroundings, "<<x|y>>") == {
        "train": ("if $a:\n<<x|y>>", "$b\n<<x|y>>"),
        "heldout": ("$c\n<<x|y>>",),
    }


def test_all_splits_have_the_same_blocks_with_different_bodies():
    heads = {
        split: {block.split()[0] + str("==" in block) for block in BLOCKS[split]} for split in EVERYWHERE
    }
    assert heads["train"] == heads["validation"] == heads["heldout"]
    assert len({block for split in EVERYWHERE for block in BLOCKS[split]}) == 7 + 5 + 5
