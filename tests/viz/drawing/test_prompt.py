"""Which prompt and which answers a drawing is of."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.tasks import TASKS
from sparsecircuits.viz.drawing.prompt import prompt_path
from tests.viz.drawing.conftest import Example

QUOTES = "single_double_quote"


def test_the_first_held_out_prompt_with_its_own_candidates(example: Example) -> None:
    circuit, task = example.circuits[QUOTES], example.tasks[QUOTES]
    path = prompt_path(example.model, example.tokenizer, circuit, task)
    config = circuit.info["config"]
    pairs = task.pairs(example.tokenizer, "heldout", 32, seed=config["seed"], max_tokens=config["max_tokens"])
    assert list(path.tokens) == pairs.tokens[0, : int(pairs.last[0]) + 1].tolist()
    assert path.answers == (int(pairs.target[0]), int(pairs.other[0]))


def test_a_typed_prompt_has_the_likelier_candidate_first(example: Example) -> None:
    texts = [example.tokenizer.text(token) for token in _quote(example, "print('hello").answers]
    assert texts == ["')\n", '")\n']
    assert _quote(example, "print('hello").lead > 0
    assert example.tokenizer.decode(list(_quote(example, "a b").tokens[1:])) == "a b"


def _quote(example: Example, text: str):
    return prompt_path(
        example.model, example.tokenizer, example.circuits[QUOTES], example.tasks[QUOTES], text
    )


def test_the_bias_stays_on_the_left_candidate(example: Example) -> None:
    circuit = dataclasses.replace(example.circuits[QUOTES], bias=-50.0)
    task = example.tasks[QUOTES]
    plain = _quote(example, "print('hello")
    path = prompt_path(example.model, example.tokenizer, circuit, task, "print('hello")
    assert path.answers == plain.answers[::-1]
    assert path.lead == pytest.approx(50 - plain.lead, abs=1e-3)
    held_out = prompt_path(example.model, example.tokenizer, circuit, task)
    before = prompt_path(example.model, example.tokenizer, example.circuits[QUOTES], task)
    assert held_out.lead == pytest.approx(before.lead - 50, abs=1e-3)


def test_a_task_of_one_token_against_all_has_that_token(example: Example) -> None:
    task = next(task for task in TASKS.values() if task.form == "one_against_all")
    path = prompt_path(example.model, example.tokenizer, example.circuits[QUOTES], task, "if x")
    assert len(path.answers) == 1
    assert len(prompt_path(example.model, example.tokenizer, example.circuits[QUOTES], task).answers) == 1


def test_candidates_that_vary_give_way_to_the_likeliest_tokens(example: Example) -> None:
    circuit, task = example.circuits[QUOTES], TASKS["class_init"]
    path = prompt_path(example.model, example.tokenizer, circuit, task, "for x in")
    tokens = torch.tensor([path.tokens])
    assert list(path.answers) == circuit.logits(example.model, tokens)[0, -1].topk(2).indices.tolist()


def test_too_long_a_prompt(example: Example) -> None:
    with pytest.raises(ConfigError, match="tokens, but the model's n_ctx is 64"):
        _quote(example, "print(" * 100)
