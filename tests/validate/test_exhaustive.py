"""Every prompt of a small domain: true circuits agree with their models and programs on all of them."""

from __future__ import annotations

import dataclasses
import random
import re
from pathlib import Path

import pytest
import torch

import sparsecircuits
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import ConfigError, TaskError
from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.exhaustive import (
    TOLD,
    Domain,
    all_prompts,
    choices,
    exhaustive,
    quote_domain,
)
from sparsecircuits.validate.planted.domain import answer, planted_domain
from sparsecircuits.validate.planted.texts import MATTER, SHORTEST
from tests.validate.subjects import PROGRAMS, planted, subject

DEMO = Path(sparsecircuits.__file__).parent / "examples" / "demo"


def texts(domain: Domain, name: str = "quote") -> list[str]:
    return [planted(name).tokenizer.decode(prompt[1:]) for prompt in domain.prompts]


def test_all_prompts_by_hand() -> None:
    assert list(all_prompts([9], [1, 2], 2, [7])) == [
        (9, 7),
        (9, 1, 7),
        (9, 2, 7),
        (9, 1, 1, 7),
        (9, 1, 2, 7),
        (9, 2, 1, 7),
        (9, 2, 2, 7),
    ]
    assert len(list(all_prompts([], range(10), 5))) == 111_111
    assert len(list(all_prompts([], range(10), 5, shortest=5))) == 100_000
    with pytest.raises(ConfigError, match="1111111 prompts"):
        all_prompts([], range(10), 6)


@pytest.mark.parametrize(
    ("name", "longest", "defined"),
    [
        ("quote", 7, "i+['\"]i+"),
        ("depth", 8, r"i+\[i+|i+\[i*\[i+"),
        ("bigram", 7, "i+[mn]"),
        ("induction", 7, "i+.+i+.+.+"),
    ],
)
def test_a_domain_has_every_prompt_that_is_defined(name: str, longest: int, defined: str) -> None:
    """All strings over its characters and filler, those left out that no prompt of the task looks like."""
    tokenizer = planted(name).tokenizer
    alphabet = [tokenizer.encode(character)[0] for character in MATTER[name] + "i"]
    every = [tokenizer.decode(prompt) for prompt in all_prompts([], alphabet, longest)]
    wanted = [text for text in every if re.fullmatch(defined, text)]
    if name == "induction":  # two letters, what follows each, and one of the two again
        shape = re.compile("i([pqru])([pqru])i([pqru])([pqru])([pqru])")
        found = [(text, shape.fullmatch(text)) for text in every]
        groups = [(text, match.groups()) for text, match in found if match]
        wanted = [
            text
            for text, (one, first, two, second, last) in groups
            if one != two and last in (one, two)
            for asked, own, other, beside in [(one, first, two, second), (two, second, one, first)]
            if last == asked and own != asked and beside not in (asked, other)
        ]
    domain = planted_domain(planted(name), longest)
    assert sorted(texts(domain, name)) == sorted(wanted)
    assert len(wanted) > 10


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_prompt_that_is_drawn_is_in_the_domain(name: str) -> None:
    """Its filler made one letter; and the program in plain Python gives the task's answers."""
    rng = random.Random(0)
    drawn = [planted(name).task.generate(rng, "heldout", SHORTEST) for _ in range(60)]
    domain = set(texts(planted_domain(planted(name), SHORTEST + 1), name))
    for pair in drawn:
        for text, right in ((pair.left, pair.left_answer), (pair.right, pair.right_answer)):
            assert answer(name, text) == right
            plain = "".join(character if character in MATTER[name] else "i" for character in text)
            assert plain in domain


@pytest.mark.parametrize(("name", "level"), [*((name, 3) for name in PROGRAMS), ("depth", 1)])
def test_a_true_circuit_never_disagrees(name: str, level: int) -> None:
    of = subject(name, level=level, pairs=4)
    found = exhaustive(of, planted_domain(planted(name, level=level), 9))
    assert found.passed
    assert found.estimate == 1
    assert found.control is not None
    assert found.control < 1
    assert found.figures["disagreements"] == []
    assert found.figures["circuit_against_program"] == found.figures["model_against_program"] == 0


def test_a_circuit_that_lacks_a_node_disagrees_on_half() -> None:
    """Without the neuron for one mark, or what is carried, all prompts get one answer."""
    of = subject("quote", pairs=4)
    gone = [node for node in of.circuit.nodes if str(node.at) == "1.attn.v"]
    domain = planted_domain(planted("quote"), 9)
    found = exhaustive(of.about(of.circuit.without(gone)), domain)
    assert found.passed is False
    assert found.estimate == 0.5
    assert found.figures["circuit_against_model"] == len(domain.prompts) / 2 == 28
    told = found.figures["disagreements"]
    assert len(told) == TOLD
    assert {one["circuit"] for one in told} in ({"'"}, {'"'})
    assert all(one["model"] == one["program"] == answer("quote", one["prompt"]) for one in told)
    assert set(told[0]["prompt"]) <= set("i'\"")


def test_another_program_than_the_model_s_is_found_out() -> None:
    of = subject("quote", pairs=4)
    domain = planted_domain(planted("quote"), 6)
    found = exhaustive(of, domain._replace(oracle=lambda prompt: domain.candidates[0]))
    assert found.passed is False
    assert found.estimate == 1
    assert found.figures["circuit_against_program"] == len(domain.prompts) / 2
    alone = exhaustive(of, domain._replace(oracle=None))
    assert alone.passed
    assert alone.figures["circuit_against_program"] is None
    assert "program" not in alone.settings


@torch.no_grad()
def test_choices_are_those_of_prompts_run_alone() -> None:
    """Of different lengths, over several batches; and the model is as it was."""
    of = subject("induction", level=3, pairs=4)
    before = pair_logits(of.model, of.some)
    domain = planted_domain(planted("induction", level=3), 9)
    step = domain.prompts[::37]
    for circuit in (None, of.circuit):
        found = choices(of.model, domain.prompts, domain.candidates, circuit)[::37]
        for prompt, place in zip(step, found.tolist(), strict=True):
            tokens = torch.tensor([prompt])
            logits = of.model(tokens) if circuit is None else circuit.logits(of.model, tokens)
            assert int(logits[0, -1, list(domain.candidates)].argmax()) == place
    assert torch.equal(pair_logits(of.model, of.some), before)


def test_a_circuit_s_bias_counts() -> None:
    """On the left candidate: so much that it always wins, or never."""
    of = subject("quote", pairs=4)
    domain = planted_domain(planted("quote"), 5)
    for bias, place in ((100.0, 0), (-100.0, 1)):
        circuit = dataclasses.replace(of.circuit, bias=bias)
        assert set(choices(of.model, domain.prompts, domain.candidates, circuit).tolist()) == {place}


def test_domains_that_cannot_be() -> None:
    of, plant = subject("quote", pairs=4), planted("quote")
    for filler in ("", "'", "i'"):
        with pytest.raises(ConfigError, match="filler"):
            planted_domain(plant, 5, filler=filler)
    with pytest.raises(ConfigError, match="room for 23"):
        planted_domain(plant, 24)
    with pytest.raises(ConfigError, match="0 prompts"):
        planted_domain(plant, 2)
    with pytest.raises(ConfigError, match="from 1 to 1000000"):
        planted_domain(plant, 23, filler="ij")
    with pytest.raises(ConfigError, match="at least two candidates"):
        exhaustive(of, Domain([(1, 2)], (3, 3)))
    with pytest.raises(ConfigError, match="0 prompts"):
        exhaustive(of, Domain([], (3, 4)))
    with pytest.raises(ConfigError, match="no planted program 'quota'"):
        answer("quota", "i'i")


def test_more_filler_is_a_larger_domain() -> None:
    """Two characters in 1 to 3 places before and after the mark: 2**n of each length."""
    domain = planted_domain(planted("quote"), 5, filler="i[")
    assert len(domain.prompts) == 2 * (4 + 2 * 8 + 3 * 16)
    assert exhaustive(subject("quote", pairs=4), domain).passed


def test_quotes_of_a_real_tokenizer() -> None:
    tokenizer = Tokenizer.load(DEMO / "tokenizer.json")
    domain = quote_domain(tokenizer, openings=2, alphabet=3, longest=2)
    shown = [tokenizer.decode(prompt[1:]) for prompt in domain.prompts]
    assert len(shown) == 4 * (3 + 9) == len(set(domain.prompts))
    assert domain.oracle is not None
    for prompt, text in zip(domain.prompts, shown, strict=True):
        mark = re.search("\\((['\"])[a-z]+$", text)
        assert mark is not None
        assert tokenizer.text(domain.oracle(prompt)).startswith(mark[1])
    assert tokenizer.text(domain.candidates[0]).startswith("'")
    with pytest.raises(TaskError, match="tokens of small letters"):
        quote_domain(tokenizer, alphabet=100_000)
