"""From text pairs to tensors: what fits, what is drawn again, and what is an error."""

from __future__ import annotations

import random

import pytest
import torch

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.pairs import Form, Task, TextPair, listed_only

QUOTES = TextPair("show('name", 'show("name', "')\n", '")\n', "quotes")


def fixed(*texts: TextPair, form: Form = "contrast", same_last: bool = True) -> Task:
    """A task that draws from the given pairs."""
    return Task("toy", "a toy", form, lambda rng, split, room: rng.choice(texts), same_last)


def test_rows_are_left_then_right(tokenizer: Tokenizer):
    pairs = fixed(QUOTES).pairs(tokenizer, "train", 2)
    left, right = tokenizer.encode(QUOTES.left), tokenizer.encode(QUOTES.right)
    eot = tokenizer.eot_id
    assert pairs.tokens.tolist() == [[eot, *left], [eot, *left], [eot, *right], [eot, *right]]
    assert pairs.last.tolist() == [3, 3, 3, 3]
    single, double = tokenizer.encode("')\n")[0], tokenizer.encode('")\n')[0]
    assert pairs.target.tolist() == [single, single, double, double]
    assert pairs.other.tolist() == [double, double, single, single]
    assert pairs.marked.tolist() == [[False, False, True, False]] * 2
    assert pairs.templates == ("quotes", "quotes")


def test_one_against_all_marks_the_missing_side(tokenizer: Tokenizer):
    texts = TextPair("x = y\nelse", "x = y\nelif", ":\n", " name == x:\n", "else")
    pairs = fixed(texts, form="one_against_all", same_last=False).pairs(tokenizer, "train", 1)
    colon = tokenizer.encode(":\n")[0]
    assert pairs.target.tolist() == [colon, -1]
    assert pairs.other.tolist() == [-1, colon]


def test_shorter_prompts_are_padded_on_the_right(tokenizer: Tokenizer):
    longer = TextPair("x = y\nshow('name", 'x = y\nshow("name', "')\n", '")\n', "longer")
    pairs = fixed(QUOTES, longer).pairs(tokenizer, "train", 20)
    for row, last in zip(pairs.tokens.tolist(), pairs.last.tolist(), strict=True):
        assert row[last + 1 :] == [tokenizer.eot_id] * (7 - last)
        assert tokenizer.text(row[last]) == "name"


def test_same_seed_same_hash(tokenizer: Tokenizer):
    def generate(rng: random.Random, split: str, room: int) -> TextPair:
        name = rng.choice(("item", "data", "line", "word"))
        return TextPair(f"show('{name}", f'show("{name}', "')\n", '")\n', "t")

    task = Task("toy", "a toy", "contrast", generate)
    hashes = {
        task.pairs(tokenizer, split, 32, seed=seed).hash for split in ("train", "heldout") for seed in (0, 1)
    }
    assert len(hashes) == 4
    assert task.pairs(tokenizer, "train", 32).hash == task.pairs(tokenizer, "train", 32).hash


@pytest.mark.parametrize("index", [[4, 1], slice(1, 5, 3), torch.tensor([1, 4])])
def test_rows_of_a_subset(tokenizer: Tokenizer, index):
    def generate(rng: random.Random, split: str, room: int) -> TextPair:
        name = rng.choice(("item", "data", "line", "word"))
        return TextPair(f"show('{name}", f'show("{name}', "')\n", '")\n', name)

    pairs = Task("toy", "a toy", "contrast", generate).pairs(tokenizer, "train", 6)
    some = pairs.rows(index)
    order = [4, 1] if isinstance(index, list) else [1, 4]
    assert len(some) == 2
    assert some.texts == tuple(pairs.texts[i] for i in order)
    assert torch.equal(some.tokens, pairs.tokens[[*order, *(i + 6 for i in order)]])
    assert torch.equal(some.target, pairs.target[[*order, *(i + 6 for i in order)]])


def test_a_rare_misfit_is_drawn_again(tokenizer: Tokenizer):
    misfit = TextPair("show('name item", 'show("name', "')\n", '")\n', "quotes")
    pairs = fixed(QUOTES, QUOTES, QUOTES, misfit).pairs(tokenizer, "train", 40)
    assert pairs.texts == (QUOTES,) * 40


MISFITS = [
    (TextPair("show('name item", 'show("name', "')\n", '")\n', "t"), "the prompts have 4 and 3 tokens"),
    (TextPair("show('name", 'show("item', "')\n", '")\n', "t"), "end in different tokens"),
    (TextPair("show('name", 'show("name', "'\n", "'\n", "t"), "both answers begin with the same token"),
    (TextPair("show('name", "show('name", "')\n", '")\n', "t"), "the two prompts are equal"),
    (TextPair("show('name", 'show("name', "", '")\n', "t"), "left prompt's tokens change"),
    (TextPair("x = (", "y = (", "'a')\n", "b)\n", "t"), "left prompt's tokens change"),
    (TextPair("", "", "a", "b", "t"), "an empty prompt"),
]


@pytest.mark.parametrize(("texts", "reason"), MISFITS)
def test_misfits_are_shown(tokenizer: Tokenizer, texts: TextPair, reason: str):
    with pytest.raises(TaskError) as error:
        fixed(texts).pairs(tokenizer, "train", 1)
    assert reason in str(error.value)
    assert "\n  left  " in str(error.value)
    assert "\n  right " in str(error.value)


def test_the_error_shows_the_tokens_of_both_sides(tokenizer: Tokenizer):
    with pytest.raises(TaskError) as error:
        fixed(MISFITS[0][0]).pairs(tokenizer, "train", 1)
    message = str(error.value)
    assert """left  'show' "('" 'name' ' item' => "')\\n\"""" in message
    assert """right 'show' '("' 'name' => '")\\n'""" in message


NEVER = [TextPair("show('name item", 'show("name', "')\n", '")\n', f"odd {i}") for i in range(2)]


def test_a_template_that_never_fits_is_left_out_and_named(tokenizer: Tokenizer):
    pairs = fixed(QUOTES, NEVER[0]).pairs(tokenizer, "train", 40)
    assert pairs.texts == (QUOTES,) * 40
    assert pairs.left_out == ("odd 0",)
    assert pairs.rows([0]).left_out == ("odd 0",)
    assert fixed(QUOTES).pairs(tokenizer, "train", 40).left_out == ()


def test_most_templates_never_fit(tokenizer: Tokenizer):
    with pytest.raises(TaskError, match=r"40 of 40 pairs fit .*none of the template 'odd \d':\n.* 4 and 3"):
        fixed(QUOTES, *NEVER).pairs(tokenizer, "train", 40)


def test_what_can_never_fit_is_shown_rather_than_a_length(tokenizer: Tokenizer):
    texts = TextPair("show('name item item", 'show("name item', "')\n", '")\n', "t")
    with pytest.raises(TaskError, match="the prompts have 5 and 4 tokens"):
        fixed(texts).pairs(tokenizer, "train", 1, max_tokens=3)


def test_too_long_for_the_context(tokenizer: Tokenizer):
    assert len(fixed(QUOTES).pairs(tokenizer, "train", 1, max_tokens=4)) == 1
    with pytest.raises(TaskError, match="4 tokens with <|endoftext|>, above 3"):
        fixed(QUOTES).pairs(tokenizer, "train", 1, max_tokens=3)


def test_bad_arguments(tokenizer: Tokenizer):
    with pytest.raises(TaskError, match="unknown split 'held-out'; did you mean 'heldout'"):
        fixed(QUOTES).pairs(tokenizer, "held-out", 1)  # type: ignore[arg-type]
    with pytest.raises(TaskError, match="count is 0"):
        fixed(QUOTES).pairs(tokenizer, "train", 0)


LISTED = tuple(TextPair(f"show('{w}", f'show("{w}', "')\n", '")\n', w) for w in ("name", "item", "data"))


def test_a_fixed_list_gives_what_it_has_each_pair_once(tokenizer: Tokenizer):
    task = Task("toy", "a toy", "contrast", listed_only, fixed={"train": LISTED, "heldout": LISTED[:1]})
    drawn = [task.pairs(tokenizer, "train", 9, seed=seed) for seed in range(8)]
    assert all(sorted(pairs.templates) == ["data", "item", "name"] for pairs in drawn)
    assert len({pairs.templates for pairs in drawn}) > 1
    assert len(task.pairs(tokenizer, "train", 2)) == 2
    assert task.texts("heldout", 5) == [LISTED[0]]
    with pytest.raises(TaskError, match="no pairs for the split 'validation'"):
        task.pairs(tokenizer, "validation", 1)


def test_a_fixed_list_with_a_misfit_is_refused(tokenizer: Tokenizer):
    misfit = TextPair("show('name item", 'show("name', "')\n", '")\n', "row 4")
    task = Task("toy", "a toy", "contrast", listed_only, fixed={"train": (*LISTED, misfit)})
    with pytest.raises(TaskError, match=r"task toy \(train\), row 4:\n  the prompts have 4 and 3 tokens"):
        task.pairs(tokenizer, "train", 4)
