"""Tasks written as templates."""

from __future__ import annotations

import pytest

from sparsecircuits.data.idioms.names import NOUNS
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.surroundings import Surroundings, Templates, fill
from sparsecircuits.tasks.template import BLOCKS, OPENERS, behind, crossed, template_task

EVERYWHERE = ("train", "validation", "heldout")
WORDS = {"train": ("cat",), "validation": ("dog",), "heldout": ("cow",)}


def make(**changes):
    options = {
        "answer": "<<'|\">>)\n",
        "templates": dict.fromkeys(EVERYWHERE, ("print(<<'|\">>$a",)),
        "slots": {"a": WORDS},
        "surroundings": None,
        "min_tokens": 1,
    } | changes
    return template_task("quotes", "how was it opened?", **options)


def test_the_marks_are_the_only_difference():
    (pair,) = make().texts("validation", 1)
    assert (pair.left, pair.left_answer) == ("print('dog", "')\n")
    assert (pair.right, pair.right_answer) == ('print("dog', '")\n')
    assert pair.template == "print(<<'|\">>$a"


def test_lines_stand_in_front_of_both_sides_with_other_words():
    slots = {"a": {"train": ("cat", "hen", "owl", "fox"), "validation": ("dog",), "heldout": ("cow",)}}
    lines = Surroundings(dict.fromkeys(EVERYWHERE, ("$a = 1\n",)))
    for pair in make(slots=slots, surroundings=lines).texts("train", 20):
        *front, last = pair.left.splitlines()
        quoted = last.removeprefix("print('")
        assert len(front) % 2 == 1  # train has 1, 3, 5, ... lines
        assert {line.removesuffix(" = 1") for line in front} <= {"cat", "hen", "owl", "fox"} - {quoted}
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
            {"surroundings": Surroundings(dict.fromkeys(EVERYWHERE, ("$a = $q\n",)))},
            "unknown slot $q in '$a = $q\\n'",
        ),
    ],
)
def test_mistakes_are_named_at_construction(changes: dict, words: str):
    with pytest.raises(TaskError) as error:
        make(**changes)
    assert words in str(error.value)


def test_fill():
    assert fill("$a = $b$a", {"a": "x", "b": "y"}) == "x = yx"


def test_crossed_gives_every_split_every_statement_and_opener_but_no_combination_twice():
    statements = tuple(f"{letter} <<1|2>>" for letter in "pqrs")
    dealt = crossed(statements)
    assert {split: len(dealt[split]) for split in EVERYWHERE} == {"train": 16, "validation": 8, "heldout": 8}
    assert len({text for split in EVERYWHERE for text in dealt[split]}) == 4 * len(OPENERS) == 32
    for split in EVERYWHERE:
        assert {text[-9] for text in dealt[split]} == set("pqrs")
        assert {text[:-9] for text in dealt[split]} == set(OPENERS)


def test_crossed_indents_every_line_of_a_statement():
    dealt = crossed(("p\n<<1|2>>",) * 4, openers=("", "if $a:\n    "))
    assert set(dealt["train"]) == {"p\n<<1|2>>", "if $a:\n    p\n    <<1|2>>"}


def test_too_few_statements_to_cross():
    with pytest.raises(TaskError, match="3 statements to cross with openers; at least four"):
        crossed(("a", "b", "c"))


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
