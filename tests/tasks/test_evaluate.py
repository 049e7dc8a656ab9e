"""A planted model does its task, one that knows nothing does not."""

from __future__ import annotations

import dataclasses
import math

import pytest

from sparsecircuits.errors import TaskError
from sparsecircuits.tasks.evaluate import Measured, PairSet, TaskScore, evaluate_task
from sparsecircuits.tasks.pairs import Task, TextPair
from tests.prune import planted


def test_a_model_that_does_the_task():
    tokenizer = planted.byte_tokenizer()
    found = evaluate_task(planted.attention_model(tokenizer), planted.STRING_CLOSING, tokenizer, pairs=32)
    assert found.task == "string_closing"
    assert found.done
    assert found.accuracy == 1.0
    assert 0 <= found.loss < 0.001
    assert found.scale > 0


def test_a_model_that_knows_nothing():
    tokenizer = planted.byte_tokenizer()
    found = evaluate_task(planted.refusing_model(tokenizer), planted.STRING_CLOSING, tokenizer, pairs=32)
    assert (found.loss, found.raw_loss) == pytest.approx((math.log(2), math.log(2)))
    assert found.scale == pytest.approx(1.0)
    assert found.accuracy == 0.0  # all logits are 0, and a tie is not an answer
    assert not found.done


def test_one_side_right_is_a_coin_toss():
    tokenizer = planted.byte_tokenizer()
    model = planted.neuron_model(tokenizer)  # knows the last quote only, not one further back
    found = evaluate_task(model, planted.STRING_CLOSING, tokenizer, pairs=32)
    assert not found.done


def test_every_split_is_measured_and_says_on_which_pairs():
    tokenizer = planted.byte_tokenizer()
    task = planted.STRING_CLOSING
    found = evaluate_task(planted.attention_model(tokenizer), task, tokenizer, pairs=8, train_pairs=4)
    assert list(found.splits) == ["train", "validation", "heldout"]
    for split, measured in found.splits.items():
        assert measured.pairs.split == split
        assert measured.pairs.count == 8
        assert measured.pairs.first == (4 if split == "train" else 0)
    drawn = task.pairs(tokenizer, "train", 12, max_tokens=16)
    assert found.fitted_on.sha256 == drawn.rows(slice(4)).hash
    assert (found.fitted_on.first, found.fitted_on.count, found.fitted_on.drawn) == (0, 4, 12)
    assert found.splits["train"].pairs.sha256 == drawn.rows(slice(4, None)).hash
    assert found.gap == found.splits["heldout"].loss - found.splits["train"].loss
    assert TaskScore.from_dict(found.to_dict()) == found


@pytest.mark.parametrize("pairs", [1, 8, 300])
def test_the_scale_is_fitted_on_256_pairs_whatever_is_measured(pairs: int):
    tokenizer = planted.byte_tokenizer()
    found = evaluate_task(planted.attention_model(tokenizer), planted.STRING_CLOSING, tokenizer, pairs=pairs)
    assert (found.fitted_on.count, found.fitted_on.drawn) == (256, 256 + pairs)
    assert {measured.pairs.count for measured in found.splits.values()} == {pairs}


def test_only_the_splits_that_are_asked_for():
    tokenizer = planted.byte_tokenizer()
    model, task = planted.attention_model(tokenizer), planted.STRING_CLOSING
    every = evaluate_task(model, task, tokenizer, pairs=8)
    heard: list[str] = []
    some = evaluate_task(
        model, task, tokenizer, pairs=8, splits=("heldout",), watch=lambda pairs: heard.append(pairs.split)
    )
    assert heard == ["heldout"]
    assert some == dataclasses.replace(every, splits={"heldout": every.splits["heldout"]})
    assert some.gap is None


@pytest.mark.parametrize(("listed", "fitted", "measured"), [(30, 4, 8), (11, 4, 7), (6, 3, 3), (2, 1, 1)])
def test_of_a_short_list_half_go_to_the_scale(listed: int, fitted: int, measured: int):
    """Wanted are 4 and 8; a list of 6 has 3 and 3."""
    tokenizer = planted.byte_tokenizer()
    texts = planted.STRING_CLOSING.texts("train", listed)
    fixed = {"train": texts, "validation": texts, "heldout": texts}
    task = dataclasses.replace(planted.STRING_CLOSING, fixed=fixed)
    found = evaluate_task(planted.attention_model(tokenizer), task, tokenizer, pairs=8, train_pairs=4)
    assert (found.fitted_on.count, found.splits["train"].pairs.count) == (fitted, measured)


def test_a_list_of_one_cannot_be_fitted_and_measured():
    tokenizer = planted.byte_tokenizer()
    texts = planted.STRING_CLOSING.texts("train", 1)
    task = dataclasses.replace(planted.STRING_CLOSING, fixed={"train": texts, "heldout": texts})
    with pytest.raises(TaskError, match="1 pair for the split 'train'; at least two are needed"):
        evaluate_task(planted.attention_model(tokenizer), task, tokenizer)


def test_templates_are_counted():
    tokenizer = planted.byte_tokenizer()
    found = evaluate_task(planted.attention_model(tokenizer), planted.STRING_CLOSING, tokenizer, pairs=8)
    assert found.splits["heldout"].pairs.templates == {"f(<<'|\">>$w": 8}
    assert found.fitted_on.templates == {"f(<<'|\">>$w": 256}


@pytest.mark.parametrize(
    ("loss", "accuracy", "done"), [(0.15, 0.95, True), (0.1501, 1.0, False), (0.01, 0.949, False)]
)
def test_done_needs_both(loss: float, accuracy: float, done: bool):
    which = PairSet(task="t", split="heldout", seed=0, first=0, count=9, max_tokens=64, sha256="0")
    measured = Measured(loss=loss, raw_loss=9.0, accuracy=accuracy, pairs=which)
    found = TaskScore(task="t", scale=1.0, fitted_on=which, splits={"heldout": measured})
    assert (found.done, found.gap) == (done, None)


def test_prompts_longer_than_the_context_are_the_tasks_error():
    tokenizer = planted.byte_tokenizer()
    pair = TextPair("f('" + 20 * "a", 'f("' + 20 * "a", "')\n", '")\n', "t")
    long = Task("long", "24 tokens, but n_ctx is 16", "contrast", lambda rng, split, room: pair)
    with pytest.raises(TaskError, match="above 16"):
        evaluate_task(planted.attention_model(tokenizer), long, tokenizer)
