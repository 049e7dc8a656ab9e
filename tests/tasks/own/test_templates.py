"""Templates: slots, words that no split shares, dealing, surroundings, and every mistake."""

from __future__ import annotations

import random

import pytest

from sparsecircuits.data.idioms.names import NOUNS, SPLITS
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskFileError
from sparsecircuits.tasks.own import check_fit, read_task, try_task
from sparsecircuits.tasks.own.slots import POOLS, drawn, filled, slots_in
from tests.tasks.own.conftest import File, lines, mistakes

GROWS = r"""
name: grows
about: how a variable grows
answer: "<< +=|.add>>"
templates:
  - "$noun = <<str|set>>()\nif x:\n    $noun"
  - "$noun = <<str|set>>()\nif $noun2:\n    $noun"
  - "$noun = <<str|set>>()\nwhile x:\n    $noun"
  - "$noun = <<str|set>>()\nwhile $noun2:\n    $noun"
"""


def test_slots() -> None:
    text = "$noun ${noun}s $noun2 $read_file ${verb2}2 $$noun $5"
    assert slots_in(text) == {
        "noun": "noun",
        "noun2": "noun",
        "read_file": "read_file",
        "verb2": "verb",
    }
    words = {"noun": "item", "noun2": "line", "read_file": "input", "verb2": "save"}
    assert filled(text, words) == "item items line input save2 $noun $5"


def test_no_word_is_drawn_twice_even_from_two_pools() -> None:
    slots = slots_in("$name $name2 $noun $noun2 $letter")
    for seed in range(50):
        words = drawn(random.Random(seed), slots, POOLS, "heldout")
        assert len(set(words.values())) == 5
        assert words["noun"] in NOUNS["heldout"]


def test_templates_are_dealt_and_words_are_the_splits_own(file: File) -> None:
    task = read_task(file("grows.yaml", GROWS))
    assert (task.name, task.form, task.strict, task.line) == ("grows", "contrast", True, None)
    found = {split: task.texts(split, 40) for split in SPLITS}
    templates = {split: {pair.template.partition("()")[2] for pair in found[split]} for split in SPLITS}
    assert templates == {
        "train": {"\nif x:\n    $noun", "\nwhile $noun2:\n    $noun"},
        "validation": {"\nif $noun2:\n    $noun"},
        "heldout": {"\nwhile x:\n    $noun"},
    }
    for split in SPLITS:
        for pair in found[split]:
            assert (pair.left_answer, pair.right_answer) == (" +=", ".add")
            assert pair.left.replace("str", "set") == pair.right
            assert pair.words <= set(NOUNS[split])


def test_splits_may_be_named(file: File) -> None:
    head, *rows = GROWS.split("  - ")
    named = f"{head}  train: [{rows[0]}, {rows[1]}]\n  validation: [{rows[2]}]\n  heldout: [{rows[3]}]\n"
    task = read_task(file("grows.yaml", named))
    heads = {split: {pair.template.split("\n")[1] for pair in task.texts(split, 40)} for split in SPLITS}
    assert heads == {
        "train": {"if x:", "if $noun2:"},
        "validation": {"while x:"},
        "heldout": {"while $noun2:"},
    }


def test_a_row_may_have_its_own_answer(file: File) -> None:
    text = GROWS + '  - {prompt: "$noun = <<[]|()>>", answer: "<<]|)>>", split: train}\n'
    assert mistakes(file("grows.yaml", text))[0].startswith(
        "row 1 (line 6): no split, but row 5 (line 10) has"
    )
    text = GROWS + '  - {prompt: "$noun = <<[|(>>$noun2", answer: "<<]|)>>"}\n'
    answers = {
        (p.left_answer, p.right_answer) for p in read_task(file("grows.yaml", text)).texts("train", 60)
    }
    assert answers == {(" +=", ".add"), ("]", ")")}


def test_words_of_ones_own(file: File) -> None:
    slots = "slots:\n  fruit: [apple, pear, plum, fig]\n  noun: {train: [a], validation: [b], heldout: [c]}\n"
    text = slots + GROWS.replace("if x", "if $fruit.x").replace("$noun2", "$fruit")
    task = read_task(file("grows.yaml", text))
    assert {word for pair in task.texts("train", 60) for word in pair.words} == {"apple", "fig", "a"}
    assert {word for pair in task.texts("validation", 60) for word in pair.words} == {"pear", "b"}


@pytest.mark.parametrize(
    ("surroundings", "shown"),
    [("python", "\n"), ("stories", " the "), ("['$noun = $noun2', 'pass', '$verb()']", "pass")],
)
def test_lines_around(file: File, surroundings: str, shown: str) -> None:
    task = read_task(file("grows.yaml", GROWS + f"surroundings: {surroundings}\n"))
    for split in ("train", "validation"):
        pairs = task.texts(split, 20)
        assert all(pair.left.count("\n") > 2 for pair in pairs)
    assert any(shown in pair.left for pair in task.texts("validation", 20))
    bare = read_task(file("grows.yaml", GROWS + "surroundings: false\n"))
    assert all(pair.left.count("\n") == 2 for pair in bare.texts("train", 20))


def test_lines_of_ones_own_keep_to_their_split(file: File) -> None:
    lines_of = "{train: ['$noun()'], validation: ['$noun.x', '$verb(\n  $noun)\n'], heldout: [pass]}"
    task = read_task(file("grows.yaml", GROWS + f"surroundings: {lines_of}\n"))
    first = {split: {pair.left.split("\n")[0] for pair in task.texts(split, 40)} for split in SPLITS}
    assert first["heldout"] == {"pass"}
    assert all(line.endswith("()") for line in first["train"])
    used = {line[:-2] for line in first["train"]}
    assert used <= set(NOUNS["train"])


def test_templates_fit_a_tokenizer(file: File, tokenizer: Tokenizer) -> None:
    reading = try_task(file("grows.yaml", GROWS))
    assert reading.task is not None
    checked = check_fit(reading.task, tokenizer, 64, reading.problems)
    assert checked.templates == {"train": 2, "validation": 1, "heldout": 1}
    assert checked.longest == 10
    assert checked.last_token == 0.5


def test_every_template_that_never_fits_is_named(file: File, tokenizer: Tokenizer) -> None:
    text = GROWS.replace("<<str|set>>()\\nif", "<<str|set()>>()\\nif")
    reading = try_task(file("grows.yaml", text))
    assert reading.task is not None
    with pytest.raises(TaskFileError) as error:
        check_fit(reading.task, tokenizer, 64, reading.problems)
    assert [line.split(";")[0] for line in lines(error.value)] == [
        "row 1 (line 6): the prompts have 9 and 10 tokens",
        "row 2 (line 7): the prompts have 9 and 10 tokens",
    ]


def test_an_answer_of_several_tokens(file: File, tokenizer: Tokenizer) -> None:
    reading = try_task(file("grows.yaml", GROWS.replace(".add>>", ".add(x>>")))
    assert reading.task is not None
    with pytest.raises(TaskFileError) as error:
        check_fit(reading.task, tokenizer, 64, reading.problems)
    reason = "the right answer is 2 tokens, '.add' '(x'; an answer is one token"
    assert lines(error.value) == [f"row {n} (line {n + 5}): {reason}" for n in (1, 2, 3, 4)]


A, B, C = (f'"{statement}\\n<<for|while>> x"' for statement in ("a = b", "b = c", "c = d"))
ANSWER = 'answer: "<< in|:>>"\n'
NONE_FOR = "too few templates: up to this last row there is none for"

REFUSED: list[tuple[str, list[str]]] = [
    (
        f"templates: [{A}, {B}, {C}]",
        [
            f"row {n} (line 1): missing 'answer', in the row or for all rows at the file's left margin"
            for n in (1, 2, 3)
        ],
    ),
    (ANSWER + "templates: []", ["row 1: no templates: each row has a prompt with a mark, <<left|right>>"]),
    (
        ANSWER + "templates: {a: b}",
        ["line 2: templates: unknown split 'a'; known: heldout, train, validation"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}]",
        [f"row 2 (line 2): {NONE_FOR} heldout; each of three splits needs its own"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {A}]",
        [
            "row 3 (line 2): leakage: the same template is in heldout here and in train in row 1 (line 2); "
            "splits share none"
        ],
    ),
    (ANSWER + f"templates: [{A}, {B}, {C}, {A}]", ["row 4 (line 2): the same template as row 1 (line 2)"]),
    (
        ANSWER + f"templates: [{A}, {B}, no mark]",
        ["row 3 (line 2): prompt 'no mark' marks no difference, as in <<left|right>>"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, '<<x|x>> y']",
        ["row 3 (line 2): equal prompts: both sides of '<<x|x>> y' are 'x y'"],
    ),
    (
        ANSWER.replace(":>>", " in>>") + f"templates: [{A}]",
        [
            "row 1 (line 2): equal answers: both sides of '<< in| in>>' are ' in'",
            "row 1 (line 2): all one label: ' in' is the only right answer of this row and of all others; "
            "a task needs two",
        ],
    ),
    (
        ANSWER.replace(":>>", ">>") + f"templates: [{A}]",
        ["row 1 (line 2): the right answer of '<< in|>>' is empty"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, '<<x|y>> $nuon']",
        ["row 3 (line 2): unknown slot $nuon; did you mean 'noun'?"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, '<<x|y>> $boy $boy2 $boy3']",
        ["row 3 (line 2): 3 words of $boy are needed, and heldout has 2"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {{prompt: {C}, anser: x}}]",
        ["row 3 (line 2): unknown key 'anser'; did you mean 'answer'?"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {{answer: x}}]",
        ["row 3 (line 2): missing 'prompt'; a template has a prompt and an answer"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, 5]",
        ["row 3 (line 2): prompt is 5 (int), not a text; write it in quotes: '5'"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nsurroundings: pyton",
        ["line 3: surroundings is 'pyton'; did you mean 'python'?"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nsurroundings: [a, b]",
        ["line 3: surroundings has 2 lines; each of three splits needs lines of its own"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nsurroundings: {{train: [a]}}",
        ["line 3: surroundings has no lines for validation and heldout"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nslots: [a]",
        ["line 3: slots: a mapping is needed, from a slot's name to its words"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nslots: {{fruit: [a, b]}}",
        ["line 3: slots: fruit has 2 words; each of three splits needs words of its own"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nslots: {{Fruit: [a, b, c]}}",
        ["line 3: slots: 'Fruit' cannot be a slot's name; letters a to z and _ can"],
    ),
    (
        ANSWER + f"templates: [{A}, {B}, {C}]\nslots: {{f: {{train: [a], validation: [b], heldout: [a]}}}}",
        ["line 3: leakage: slots: f: 'a' is in train and in heldout"],
    ),
    (
        ANSWER + "templates: ['<<a|b>>', '<<b|c>>', '<<d|e>>']",
        [
            "row 2 (line 2): leakage: its prompt 'b' is drawn for validation here and for train "
            "in row 1 (line 2); splits share none"
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), REFUSED)
def test_what_is_refused(file: File, text: str, expected: list[str]) -> None:
    assert mistakes(file("mine.yaml", text + "\n")) == expected
