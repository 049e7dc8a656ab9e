"""All twenty tasks: their tokens, their splits, and that no shortcut solves them."""

from __future__ import annotations

import re
import time
from collections import Counter

import pytest
import torch

from sparsecircuits.data.idioms.names import SPLITS
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks import TASKS, describe_tasks, get_task, overlapping
from sparsecircuits.tasks.template import PLAIN_CONTEXTS

NAMES = list(TASKS)

CANDIDATES = {
    "single_double_quote": ("')\n", '")\n'),
    "bracket_counting": ("]\n", "]]\n"),
    "set_or_string_fixedvarname": (".add", " +="),
    "set_or_string": (".add", " +="),
    "for_while": (" in", ":\n"),
    "lambda_func": (":", "():\n"),
    "with_as": ('")', '")\n'),
    "if_equals": (" ==", " ="),
    "var_if": (":\n", "\n"),
    "bracket_brace": (":", ","),
    "enumerate_range": (" enumerate", " range"),
    "while_return_true": (":\n", "\n"),
    "fstring_brace": (" {", "not  {"),
    "if_ternary": (":\n", " else"),
    "else_elif": (":\n", "not :\n"),
    "final_kwarg": ("=None", "):\n"),
    "with_open": ("r", "w"),
    "indent_for": ("       ", "   "),
}


def test_there_are_twenty():
    assert len(TASKS) == 20
    assert all(task.name == name and "\n" not in task.about for name, task in TASKS.items())


def test_candidates_are_what_the_tokenizer_makes_of_the_continuations(tokenizer: Tokenizer):
    rows = {row.name: row for row in describe_tasks(tokenizer)}
    assert {name: rows[name].candidates for name in CANDIDATES} == CANDIDATES
    swap = rows["var_swap"]
    x, y = swap.candidates
    assert swap.example.left.endswith(f"{x[1:]},{y} ={y},")
    assert swap.example.right.endswith(f"{y[1:]},{x} ={x},")
    copied = rows["class_init"]
    assert copied.example.left.endswith(f"self.{copied.candidates[0][1:]} =")
    assert copied.example.right.endswith(f"self.{copied.candidates[1][1:]} =")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", SPLITS)
def test_pairs_are_aligned_and_short(tokenizer: Tokenizer, name: str, split):
    task = TASKS[name]
    pairs = task.pairs(tokenizer, split, 100)
    n, rows = len(pairs), torch.arange(200)
    assert torch.equal(pairs.last[:n], pairs.last[n:])
    assert (pairs.tokens[:, 0] == tokenizer.eot_id).all()
    assert pairs.tokens.shape[1] <= 40
    assert pairs.marked.any(1).all()
    ends = pairs.tokens[rows, pairs.last]
    assert torch.equal(ends[:n], ends[n:]) == task.same_last
    for i in (0, 57):
        prompt = tokenizer.decode(pairs.tokens[i, 1 : int(pairs.last[i]) + 1].tolist())
        assert prompt == pairs.texts[i].left


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_template_and_no_name(name: str):
    kinds = {split: TASKS[name].texts(split, 300) for split in SPLITS}
    full = {split: {pair.template for pair in texts} for split, texts in kinds.items()}
    assert len(full["train"]) >= 4
    assert len(full["validation"]) >= 3
    assert len(full["heldout"]) >= 3
    assert len(set.union(*full.values())) == sum(map(len, full.values()))
    words = {
        split: set(re.findall(r"[A-Za-z_]+", " ".join(t.left + " " + t.right for t in texts)))
        for split, texts in kinds.items()
    }
    shared = (words["train"] & words["heldout"]) | (words["train"] & words["validation"])
    assert shared <= {
        "_", "and", "as", "class", "csv", "current", "def", "elif", "else", "enumerate", "f", "for",
        "if", "import", "in", "lambda", "None", "open", "or", "range", "return", "self", "set", "True",
        "txt", "while", "with", "__init__",
    }  # fmt: skip


SURROUNDINGS = {
    "call": r"(^|\n) *\$[fg]\(",
    "method": r"\.\$[fg]\(",
    "attribute": r"\$\w\.\$[a-e]\b",
    "inside a block": r"(if|for|while)\b[^\n]*:\n +\S+",
    "inside a function": r"def [^\n]*:\n",
}
"""What may stand around the marks, and how a template or a context shows it."""


@pytest.mark.parametrize("name", NAMES)
def test_no_surrounding_is_new_after_train(name: str):
    """A circuit is chosen on ``train``: what the other splits put around the marks must occur there."""
    seen = {
        split: {
            kind
            for pair in TASKS[name].texts(split, 300)
            for kind, pattern in SURROUNDINGS.items()
            if re.search(pattern, pair.template)
        }
        for split in SPLITS
    }
    assert seen["validation"] | seen["heldout"] <= seen["train"]


def test_all_splits_have_contexts_of_the_same_kinds():
    lines = [line for split in SPLITS for line in PLAIN_CONTEXTS[split]]
    assert len(set(lines)) == len(lines)
    for split in SPLITS:
        assert len(PLAIN_CONTEXTS[split]) >= 4
        for kind in (r" [-+*] ", r"^(\$a = )?\$f\(", r"\$\w\.\$[a-e]\b", r"\.\$f\(", r","):
            assert sum(bool(re.search(kind, line)) for line in PLAIN_CONTEXTS[split]) >= 1, (split, kind)


@pytest.mark.parametrize("name", ["set_or_string", "set_or_string_fixedvarname"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_line_that_evens_out_the_lengths_is_on_either_side(name: str, split):
    """A kind of statement that is the longer one in one template is the shorter one in another."""
    marks = {
        pair.template: re.findall(r"<<(.*?)\|(.*?)>>", pair.template, re.DOTALL)
        for pair in TASKS[name].texts(split, 300)
    }
    assert {found[1] for found in marks.values()} == {("set()", '""')}
    shorter, longer = zip(*(found[0] for found in marks.values()), strict=True)
    assert len(set(shorter) & set(longer)) == len(marks) - 1


@pytest.mark.parametrize("name", [name for name in NAMES if TASKS[name].same_last])
def test_a_bigram_model_is_at_chance(tokenizer: Tokenizer, documents: list[str], name: str):
    """Counting which token follows the last one, both sides of a pair get the same answer."""
    follows = Counter(
        pair for ids in tokenizer.encode_batch(documents) for pair in zip(ids, ids[1:], strict=False)
    )
    pairs = TASKS[name].pairs(tokenizer, "train", 200)
    n = len(pairs)
    left, right = pairs.target[:n].tolist(), (pairs.target[n:] if pairs.form == "contrast" else None)
    last = pairs.tokens[torch.arange(2 * n), pairs.last].tolist()
    right_answers = 0.0
    for i in range(n):
        for row, wants_left in ((last[i], True), (last[n + i], False)):
            seen_left = follows[row, left[i]]
            seen_right = (
                follows[row, int(right[i])]
                if right is not None
                else sum(c for (a, _), c in follows.items() if a == row) - seen_left
            )
            right_answers += 0.5 if seen_left == seen_right else float((seen_left > seen_right) == wants_left)
    assert 0.45 <= right_answers / (2 * n) <= 0.55


@pytest.mark.parametrize("name", NAMES)
def test_prompts_are_hardly_ever_in_the_corpus(documents: list[str], name: str):
    texts = TASKS[name].texts("train", 300)
    prompts = {prompt for pair in texts for prompt in (pair.left, pair.right)}
    assert len(overlapping(prompts, documents)) <= 0.03 * len(prompts)


def test_a_thousand_pairs_take_little_time(tokenizer: Tokenizer):
    start = time.process_time()
    TASKS["class_init"].pairs(tokenizer, "train", 1000)
    assert time.process_time() - start < 2


def test_unknown_task_names_the_closest():
    with pytest.raises(TaskError, match="unknown task 'brackets_counting'; did you mean 'bracket_counting'"):
        get_task("brackets_counting")
