"""Every mistake that a list of pairs can have, in JSONL and in YAML: refused with file, row and reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskFileError
from sparsecircuits.tasks.own import check_fit, read_task, try_task
from tests.tasks.own.conftest import File, RowsAs, fine_rows, lines, mistakes

Rows = list[dict[str, Any]]

SPLITS = ("train", "train", "train", "validation", "heldout", "heldout")


def split_rows() -> Rows:
    """The fine rows, each with its split."""
    return [{**row, "split": split} for row, split in zip(fine_rows(), SPLITS, strict=True)]


def changed(number: int, **values: Any) -> Callable[[], Rows]:
    """The fine rows with one of them (from 1) changed; None takes a key away."""

    def rows() -> Rows:
        found = fine_rows()
        row = {**found[number - 1], **values}
        found[number - 1] = {key: value for key, value in row.items() if value is not None}
        return found

    return rows


def one_label() -> Rows:
    return [{**row, "right_answer": row["left_answer"]} for row in fine_rows()]


def leaking() -> Rows:
    rows = split_rows()
    rows[4]["left"] = rows[0]["left"]
    return rows


def leaking_template() -> Rows:
    rows = [{**row, "template": f"t{i}"} for i, row in enumerate(split_rows())]
    rows[5]["template"] = "t1"
    return rows


def repeated() -> Rows:
    rows = fine_rows()
    rows[3] = {**rows[1], "left": rows[1]["right"], "right": rows[1]["left"], "left_answer": ".add"}
    rows[3]["right_answer"] = " +="
    return rows


def contradicting() -> Rows:
    rows = fine_rows()
    rows[3]["left"] = rows[1]["right"]
    return rows


NUL, EOT = "\0\0item = str()", "<|endoftext|>item = str()"
PADDING = "which is padding; prompts are written without, and each begins with <|endoftext|> by itself"
SAY = "prompts are made equally long by what they say"
NEEDED = "a pair has left, right, left_answer, right_answer"

TEXT_MISTAKES: list[tuple[Callable[[], Rows], list[str]]] = [
    (changed(2, right=None), [f"row 2: missing 'right'; {NEEDED}"]),
    (changed(2, left=None, right_answer=None), [f"row 2: missing 'left' and 'right_answer'; {NEEDED}"]),
    (changed(3, left=""), ["row 3: left is empty"]),
    (changed(3, right=" \n"), ["row 3: right is nothing but white space"]),
    (changed(3, left_answer=""), ["row 3: left_answer is empty"]),
    (
        changed(4, right_answer=" +="),
        ["row 4: equal answers: left_answer and right_answer are both ' +='"],
    ),
    (
        one_label,
        [
            "row 1: equal answers: left_answer and right_answer are both ' +='",
            "row 1: all one label: ' +=' is the only right answer of this row and of all others; "
            "a task needs two",
            *(f"row {n}: equal answers: left_answer and right_answer are both ' +='" for n in range(2, 7)),
        ],
    ),
    (
        leaking,
        [
            r"row 5: leakage: its prompt 'item = str()\nif x:\n    item' is in heldout here and in train "
            "in row 1; splits share none"
        ],
    ),
    (
        leaking_template,
        ["row 6: leakage: its template 't1' is in heldout here and in train in row 2; splits share none"],
    ),
    (repeated, ["row 4: the same pair as row 2"]),
    (contradicting, ["row 4: its answer to the prompt of row 2 is ' +='; there it is '.add'"]),
    (changed(2, right=fine_rows()[1]["left"]), ["row 2: equal prompts: left and right are the same text"]),
    (
        changed(2, right=fine_rows()[1]["left"] + " "),
        ["row 2: equal prompts: left and right differ in nothing but spaces at their ends"],
    ),
    (
        changed(2, right="   " + fine_rows()[1]["right"]),
        [f"row 2: padding: spaces in front, 0 of left and 3 of right; {SAY}"],
    ),
    (
        changed(2, left=fine_rows()[1]["left"] + " "),
        [f"row 2: padding: spaces at the end, 1 of left and 0 of right; {SAY}"],
    ),
    (changed(1, left=NUL), [rf"row 1: left holds '\x00', {PADDING}"]),
    (changed(1, right=EOT), [f"row 1: right holds '<|endoftext|>', {PADDING}"]),
    (changed(1, right="[PAD] item = set()"), [f"row 1: right holds '[PAD]', {PADDING}"]),
    (changed(1, left="0 0 0 item = str()"), [f"row 1: left holds '0 0 0 ', {PADDING}"]),
    (changed(1, right="item = set() 0 0"), [f"row 1: right holds ' 0 0', {PADDING}"]),
    (changed(1, left="item   "), [f"row 1: left holds '   ', {PADDING}"]),
    (
        changed(5, left=None, left_tokens=[0, 0, 7]),
        [
            "row 5: 'left_tokens': token ids are not taken; prompts are text, without any padding",
            f"row 5: missing 'left'; {NEEDED}",
        ],
    ),
    (
        changed(5, right_anser="]"),
        ["row 5: unknown key 'right_anser'; did you mean 'right_answer' or 'left_answer' or 'right'?"],
    ),
    (
        changed(6, split="test"),
        ["row 6: unknown split 'test'; known: heldout, train, validation"],
    ),
    (changed(6, left=["x"]), ["row 6: left is ['x'] (list); a text is needed"]),
    (
        changed(6, left=True),
        ["row 6: left is true, not a text; put quotes around words such as yes, no, on and off"],
    ),
    (
        lambda: [*split_rows()[:5], fine_rows()[5]],
        ["row 6: no split, but row 1 has one; give every row a split, or none"],
    ),
    (
        lambda: [{**row, "split": "train"} for row in fine_rows()],
        [
            "row 6: too few pairs: up to this last row validation has 0, and it needs 1",
            "row 6: too few pairs: up to this last row heldout has 0, and it needs 1",
        ],
    ),
    (
        lambda: [{**row, "template": "one"} for row in fine_rows()],
        [
            f"row 6: too few pairs: up to this last row {split} has 0, and it needs 1; no row names its "
            "split, so rows with a prompt or a template in common went to one"
            for split in ("validation", "heldout")
        ],
    ),
    (
        lambda: [*changed(2, right=None)()[:4], *changed(5, left="")()[4:]],
        [f"row 2: missing 'right'; {NEEDED}", "row 5: left is empty"],
    ),
]


@pytest.mark.parametrize(("rows", "expected"), TEXT_MISTAKES)
def test_a_row_of_jsonl_is_refused(rows_as: RowsAs, rows: Callable[[], Rows], expected: list[str]) -> None:
    path = rows_as("jsonl", rows())
    assert mistakes(path) == expected
    with pytest.raises(TaskFileError) as error:
        read_task(path)
    assert all(line.startswith(f"{path}: row ") for line in error.value.lines)


@pytest.mark.parametrize(("rows", "expected"), TEXT_MISTAKES)
def test_the_same_row_of_yaml_is_refused(
    rows_as: RowsAs, rows: Callable[[], Rows], expected: list[str]
) -> None:
    path = rows_as("yaml", rows())
    found = try_task(path).problems.in_order
    text = path.read_text().splitlines()
    for place, _ in found:
        assert place.line is not None
        assert text[place.line - 1].startswith("- ")  # where the row begins
    without_lines = [f"row {place.row}: {reason}" for place, reason in found]
    assert [_unlined(line) for line in without_lines] == expected


def _unlined(reason: str) -> str:
    """Without the lines beside the rows that a reason names."""
    head, *rest = reason.split(" (line ")
    return head + "".join(part.split(")", 1)[1] for part in rest)


LONG = "x = y\n" * 40
TOKEN_MISTAKES: list[tuple[Callable[[], Rows], list[str]]] = [
    (
        changed(2, left_answer=" += x.y"),
        ["row 2: the left answer is 4 tokens, ' +=' ' x' '.' 'y'; an answer is one token"],
    ),
    (
        changed(3, right="line = set()\nif x.y:\n    line"),
        [
            "row 3: the prompts have 9 and 11 tokens; from where they part: "
            r"' str' '()\n' 'if' ' x' ':\n' '   ' … and ' set' '()\n' 'if' ' x' '.' 'y' …"
        ],
    ),
    (
        changed(6, left=LONG + fine_rows()[5]["left"], right=LONG + fine_rows()[5]["right"]),
        ["row 6: longer than the context: 170 tokens with <|endoftext|>, above 64"],
    ),
    (
        changed(4, right=fine_rows()[3]["right"].replace("    word", "    item")),
        ["row 4: the prompts end in different tokens, ' word' and ' item'"],
    ),
    (
        changed(4, left="word = str(", left_answer=")\n", right="word = set(", right_answer="x"),
        [
            "row 4: the left prompt's tokens change when its answer follows: '(' becomes '()\\n'",
            "row 4: the right prompt's tokens change when its answer follows: '(' becomes '(x'",
        ],
    ),
    (
        changed(1, left="!!item = str()\nif x:\n    item", right="!!item = set()\nif x:\n    item"),
        [
            "row 1: padding: left begins or ends with '!', the token of id 0, over and over",
            "row 1: padding: right begins or ends with '!', the token of id 0, over and over",
        ],
    ),
]


@pytest.mark.parametrize("ending", ["jsonl", "yaml"])
@pytest.mark.parametrize(("rows", "expected"), TOKEN_MISTAKES)
def test_a_row_that_does_not_fit_the_tokenizer(
    rows_as: RowsAs, tokenizer: Tokenizer, rows: Callable[[], Rows], expected: list[str], ending: str
) -> None:
    reading = try_task(rows_as(ending, rows()))
    assert reading.task is not None
    assert not reading.problems.found
    with pytest.raises(TaskFileError) as error:
        check_fit(reading.task, tokenizer, 64, reading.problems)
    found = [_unlined(line) for line in lines(error.value)]
    assert found == expected


def test_text_and_tokens_are_judged_together(rows_as: RowsAs, tokenizer: Tokenizer) -> None:
    rows = changed(2, left_answer=" += x")()
    del rows[4]["right"]
    reading = try_task(rows_as("jsonl", rows))
    assert reading.task is not None
    with pytest.raises(TaskFileError) as error:
        check_fit(reading.task, tokenizer, 64, reading.problems)
    assert lines(error.value) == [
        "row 2: the left answer is 2 tokens, ' +=' ' x'; an answer is one token",
        f"row 5: missing 'right'; {NEEDED}",
    ]


def test_evaluation_refuses_what_the_check_does(rows_as: RowsAs, tokenizer: Tokenizer) -> None:
    task = read_task(rows_as("jsonl", changed(1, left_answer=" += x")()))
    with pytest.raises(TaskFileError, match=r"mine.jsonl: row 1: the left answer is 2 tokens, ' \+=' ' x'"):
        task.pairs(tokenizer, "train", 8)


ARRAY = "a JSON array; in a .jsonl file each line is one object, with no brackets around"
ONE_LINE = "not JSON: in a .jsonl file each object is on one line"
MAPPING = "a task file is a mapping, with 'pairs:' or 'templates:' at the left margin, and the rows below it"
BLOCK = "line 3: not YAML: expected <block end>, but found '<block mapping start>'"
NAMES = "letters of the alphabet, digits, _ and -, 64 at most, no - in front"
BROKEN: list[tuple[str, str, list[str]]] = [
    ("mine.jsonl", "", ["row 1: the file is empty"]),
    ("mine.jsonl", "\n \n", ["row 1: the file is empty"]),
    ("mine.jsonl", '{"name": "mine"}\n', [f"row 1: no pairs: each row has {NEEDED[11:]}"]),
    ("mine.jsonl", '{"left": \n', ["row 1: not JSON: Expecting value (column 9)"]),
    (
        "mine.jsonl",
        '{"left": "a"},\n',
        ["row 1: not JSON: a comma after the object; each line is one object, with nothing between them"],
    ),
    (
        "mine.jsonl",
        '\n[{"left": "a"}]\n',
        [f"row 2: {ARRAY}"],
    ),
    ("mine.jsonl", '{\n "left": "a"\n', [f"row {n}: {ONE_LINE}" for n in (1, 2)]),
    (
        "mine.jsonl",
        "5\n",
        ["row 1: a number, where an object is needed: {left, right, left_answer, right_answer}"],
    ),
    ("mine.jsonl", "[" * 100_000, [f"row 1: {ARRAY}"]),
    ("mine.jsonl", '{"a":' * 100_000, ["row 1: not JSON that can be read: nested too deeply"]),
    ("mine.yaml", "", ["row 1: the file is empty"]),
    ("mine.yaml", "# nothing\n", ["row 1: no pairs: a file has rows below 'pairs:' or below 'templates:'"]),
    ("mine.yaml", "name: mine\n", ["row 1: no pairs: a file has rows below 'pairs:' or below 'templates:'"]),
    ("mine.yaml", "pairs: []\n", [f"row 1: no pairs: each row has {NEEDED[11:]}"]),
    ("mine.yaml", "pairs:\n", ["line 1: pairs: a list is needed, a '-' for each row"]),
    ("mine.yaml", "- a\n", [f"line 1: {MAPPING}"]),
    ("mine.yaml", "pairs:\n  - left: a\n   right: b\n", [BLOCK]),
    (
        "mine.yaml",
        "pairs:\n\t- left: a\n",
        ["line 2: not YAML: found character '\\t' that cannot start any token"],
    ),
    ("mine.yaml", "a: &a [x]\nb: *a\n", ["line 2: not YAML: aliases such as *name are not taken"]),
    ("mine.yaml", "a: 1\n---\nb: 2\n", ["line 2: not YAML: but found another document"]),
    ("mine.yaml", "pairs:\n  - left: a\0b\n", ["line 2: the character '\\x00' cannot stand in YAML"]),
    ("mine.yaml", "pairs: " + "[" * 5000, ["not YAML that can be read: nested too deeply"]),
    ("mine.yaml", "pairz: []\n", ["line 1: unknown key 'pairz'; did you mean 'pairs'?"]),
    ("mine.yaml", "name: a\nname: b\n", ["line 2: the key 'name' occurs twice"]),
    ("mine.yaml", "pairs: []\ntemplates: []\n", ["line 2: both 'pairs' and 'templates'; give one of them"]),
    (
        "mine.yaml",
        "about: !!python/name:os.system x\n",
        [
            "line 1: the tag 'tag:yaml.org,2002:python/name:os.system' is not taken",
            "line 1: about is missing: nothing is given for it",
        ],
    ),
    ("mine.txt", "x", ["ends in '.txt'; a task file ends in .jsonl, .yaml, .yml, .py"]),
    ("mine", "x", ["has no ending; a task file ends in .jsonl, .yaml, .yml, .py"]),
]


@pytest.mark.parametrize(("name", "text", "expected"), BROKEN)
def test_a_file_that_cannot_be_read(file: File, name: str, text: str, expected: list[str]) -> None:
    assert mistakes(file(name, text)) == expected


def test_a_missing_file_and_one_of_other_bytes(tmp_path) -> None:
    path = tmp_path / "mine.jsonl"
    assert mistakes(path) == ["cannot be read: No such file or directory"]
    path.write_bytes(b'{"left": "a"}\n{"left": "\xff"}\n')
    assert mistakes(path) == ["row 2: byte 0xff is not UTF-8 text; save the file as UTF-8"]
    path.unlink()
    path.mkdir()
    assert mistakes(path) == ["cannot be read: Is a directory"]


HEADERS = [
    ("name: var_swap", "the name 'var_swap' is that of a built-in task; choose another with 'name'"),
    ("name: Var_Swap", "the name 'Var_Swap' is that of a built-in task; choose another with 'name'"),
    ("name: ../x", f"the task's name is '../x'; allowed: {NAMES}"),
    ("form: contrst", "form is 'contrst'; did you mean 'contrast'?"),
    ("same_last: maybe", "same_last is 'maybe'; it is true or false"),
    ("name: 5", "name is 5 (int), not a text; write it in quotes: '5'"),
    ("answer: x", "'answer' goes with 'templates', not with 'pairs'"),
]


@pytest.mark.parametrize(("line", "reason"), HEADERS)
def test_settings_that_are_wrong(rows_as: RowsAs, line: str, reason: str) -> None:
    path = rows_as("yaml", fine_rows())
    path.write_text(f"{line}\n{path.read_text()}")
    assert mistakes(path) == [f"line 1: {reason}"]


def test_headers_of_jsonl(rows_as: RowsAs) -> None:
    rows = fine_rows()
    assert mistakes(rows_as("jsonl", [{"name": "mine", "abuot": "x"}, *rows])) == [
        "row 1: unknown key 'abuot'; did you mean 'about'?"
    ]
    assert mistakes(rows_as("jsonl", [*rows, {"name": "mine"}])) == [
        f"row 7: only the file's first row can be a header; {NEEDED}"
    ]
    rows[2]["form"] = "contrast"
    assert mistakes(rows_as("jsonl", rows)) == [
        "row 3: the key 'form' belongs into a header, the file's first row"
    ]


def test_a_key_twice_in_a_row_of_jsonl(file: File, rows_as: RowsAs) -> None:
    path = rows_as("jsonl", fine_rows())
    path.write_text(path.read_text().replace('{"left": "line', '{"left": "x", "left": "line'))
    assert mistakes(path) == ["row 3: the key 'left' occurs twice"]
