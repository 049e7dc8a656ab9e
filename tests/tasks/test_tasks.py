"""All twenty tasks and their variants: their tokens, their splits, and that no shortcut solves them."""

from __future__ import annotations

import re
import time
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
import torch

from sparsecircuits.data.idioms.names import SPLITS, Split
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks import TASKS, VARIANTS, describe_tasks, get_task
from sparsecircuits.tasks.overlap import found_in, prompts_of
from sparsecircuits.tasks.pairs import MIN_TOKENS, TokenPairs

NAMES = list(TASKS)
ALL = [name for name, task in {**TASKS, **VARIANTS}.items() if task.suite == "python"]
TEMPLATED = [name for name in ALL if name != "bracket_counting:long"]
"""Those whose prompts are templates; that one grows by its list, not by lines around it."""

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


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("limit", "long"), [(64, 50), (128, 100)])
def test_pairs_are_aligned_and_of_all_lengths(
    tokenizer: Tokenizer, name: str, split: Split, limit: int, long: int
):
    task = get_task(name)
    pairs = task.pairs(tokenizer, split, 100, max_tokens=limit)
    n, rows = len(pairs), torch.arange(200)
    lengths = pairs.last + 1
    assert torch.equal(lengths[:n], lengths[n:])
    assert MIN_TOKENS == 20 <= int(lengths.min()) <= 35
    assert long < int(lengths.max()) <= limit
    assert pairs.tokens.shape[1] == int(lengths.max())
    assert (pairs.tokens[:, 0] == tokenizer.eot_id).all()
    assert pairs.marked.any(1).all()
    ends = pairs.tokens[rows, pairs.last]
    assert torch.equal(ends[:n], ends[n:]) == task.same_last
    assert pairs.left_out == ()
    for i in (0, 57):
        prompt = tokenizer.decode(pairs.tokens[i, 1 : int(pairs.last[i]) + 1].tolist())
        assert prompt == pairs.texts[i].left


@dataclass(frozen=True)
class Parts:
    """A prompt taken apart: what stands around its template, and the words in the template's slots."""

    front: str
    nested: str
    words: dict[str, str]

    @property
    def lines(self) -> int:
        return (self.front + self.nested).count("\n")


def parts(prompt: str, template: str, side: int) -> Parts:
    """Take the left (1) or right (2) prompt of a template apart; it must be the template, word for word."""
    text = re.sub(r"<<(.*?)\|(.*?)>>", lambda mark: mark[side], template, flags=re.DOTALL)
    seen: set[str] = set()

    def slot(match: re.Match[str]) -> str:
        again = match[1] in seen
        seen.add(match[1])
        return f"(?P={match[1]})" if again else rf"(?P<{match[1]}>\w+)"

    head, line_end, rest = re.sub(r"\\\$([a-z])", slot, re.escape(text)).partition("\\\n")
    opens = re.match(r"(if|for|while|def)\b[^\n<]*:\n", template)
    nested = "(?P<nested>(?: {4}[^\n]*\n)*)" if opens else "(?P<nested>)"
    whole = re.fullmatch(rf"(?P<front>(?:[^\n]*\n)*){head}{line_end}{nested}{rest}", prompt)
    assert whole, f"{prompt!r} is not {text!r} with lines around it"
    words = whole.groupdict()
    return Parts(words.pop("front"), words.pop("nested"), words)


@pytest.mark.parametrize("name", TEMPLATED)
def test_only_the_marked_places_differ(name: str):
    """Lines around are the same on both sides, and so is the word in a slot."""
    for split in SPLITS:
        for pair in get_task(name).texts(split, 100):
            left, right = parts(pair.left, pair.template, 1), parts(pair.right, pair.template, 2)
            assert (left.front, left.nested) == (right.front, right.nested)
            assert all(left.words[slot] == right.words[slot] for slot in left.words.keys() & right.words)


@pytest.mark.parametrize("name", TEMPLATED)
def test_no_number_of_surrounding_lines_is_in_two_splits(tokenizer: Tokenizer, name: str):
    counts = {
        split: {
            parts(pair.left, pair.template, 1).lines
            for pair in get_task(name).pairs(tokenizer, split, 200, max_tokens=128).texts
        }
        for split in SPLITS
    }
    assert counts["train"] <= set(range(1, 40, 2))
    assert counts["validation"] <= set(range(4, 40, 4))
    assert counts["heldout"] <= set(range(2, 40, 4))
    assert all(len(found) >= 3 for found in counts.values())


@pytest.mark.parametrize("name", ALL)
def test_splits_share_no_template_and_no_name(name: str):
    """Of what is written in letters (surroundings included) the splits share Python's words only."""
    kinds = {split: get_task(name).texts(split, 300) for split in SPLITS}
    full = {split: {pair.template for pair in texts} for split, texts in kinds.items()}
    if name in NAMES:
        assert len(full["train"]) >= 4
        assert len(full["validation"]) >= 3
        assert len(full["heldout"]) >= 3
    words = {
        split: set(re.findall(r"[A-Za-z_]+", " ".join(t.left + " " + t.right for t in texts)))
        for split, texts in kinds.items()
    }
    for one, other in combinations(SPLITS, 2):
        assert not full[one] & full[other]
        assert words[one] & words[other] <= {
            "as", "class", "csv", "current", "def", "elif", "else", "f", "for", "if", "import", "in",
            "lambda", "None", "open", "or", "return", "self", "set", "True", "txt", "while", "with",
            "__init__",
        }  # fmt: skip


SURROUNDINGS = {
    "call": r"(^|\n) *\$[fg]\(",
    "method": r"\.\$[fg]\(",
    "attribute": r"\$\w\.\$[a-e]\b",
    "inside a block": r"(if|for|while)\b[^\n]*:\n +\S+",
    "inside a function": r"def [^\n]*:\n",
}
"""What may stand around the marks, and how a template shows it."""


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


@pytest.mark.parametrize("name", ["set_or_string", "set_or_string_fixedvarname"])
@pytest.mark.parametrize("split", SPLITS)
def test_the_line_that_evens_out_the_lengths_is_on_either_side(name: str, split: Split):
    """A kind of statement that is the longer one in one template is the shorter one in another."""
    marks = {
        pair.template: re.findall(r"<<(.*?)\|(.*?)>>", pair.template, re.DOTALL)
        for pair in TASKS[name].texts(split, 300)
    }
    assert {found[1] for found in marks.values()} == {("set()", '""')}
    shorter, longer = zip(*(found[0] for found in marks.values()), strict=True)
    assert len(set(shorter) & set(longer)) == len(marks) - 1


def bigram_accuracy(pairs: TokenPairs, follows: Counter[tuple[int, int]]) -> float:
    """The share of prompts that are answered rightly by counting what follows their last token."""
    n = len(pairs)
    last = pairs.tokens[torch.arange(2 * n), pairs.last].tolist()
    occurs: Counter[int] = Counter()
    for (token, _), count in follows.items():
        occurs[token] += count
    right = 0.0
    for i in range(n):
        left_candidate, right_candidate = int(pairs.target[i]), int(pairs.target[n + i])
        for token, wants_left in ((last[i], True), (last[n + i], False)):
            seen_left = follows[token, left_candidate]
            contrast = pairs.form == "contrast"
            seen_right = follows[token, right_candidate] if contrast else occurs[token] - seen_left
            right += 0.5 if seen_left == seen_right else float((seen_left > seen_right) == wants_left)
    return right / (2 * n)


@pytest.mark.parametrize("name", [name for name in ALL if get_task(name).same_last])
@pytest.mark.parametrize("split", SPLITS)
def test_a_bigram_model_is_at_chance(
    tokenizer: Tokenizer, follows: Counter[tuple[int, int]], name: str, split: Split
):
    """Counting which token follows the last one, both sides of a pair get the same answer."""
    assert 0.45 <= bigram_accuracy(get_task(name).pairs(tokenizer, split, 200), follows) <= 0.55


@pytest.mark.parametrize("split", SPLITS)
def test_only_else_elif_is_left_to_bigrams(
    tokenizer: Tokenizer, follows: Counter[tuple[int, int]], split: Split
):
    """Its prompts end in ``else`` and ``elif``: a bigram table does know which is followed by a colon."""
    assert [name for name in ALL if not get_task(name).same_last] == ["else_elif"]
    assert bigram_accuracy(TASKS["else_elif"].pairs(tokenizer, split, 200), follows) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_is_in_the_corpus(
    tokenizer: Tokenizer, documents: list[str], corpus: np.ndarray, name: str
):
    pairs = TASKS[name].pairs(tokenizer, "train", 300)
    assert found_in(prompts_of(pairs), corpus, tokenizer).sum() == 0


@pytest.mark.parametrize("name", ALL)
def test_same_seed_same_pairs(tokenizer: Tokenizer, name: str):
    task = get_task(name)
    hashes = [task.pairs(tokenizer, "heldout", 20, seed=seed).hash for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize("name", ALL)
def test_a_thousand_pairs_take_little_time(tokenizer: Tokenizer, name: str):
    start = time.process_time()
    get_task(name).pairs(tokenizer, "train", 1000)
    assert time.process_time() - start < 2


def test_unknown_task_names_the_closest():
    with pytest.raises(TaskError, match="unknown task 'brackets_counting'; did you mean 'bracket_counting'"):
        get_task("brackets_counting")
