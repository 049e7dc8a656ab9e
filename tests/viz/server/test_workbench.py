"""What changes to nodes do to odds, on a model whose circuit is known, against the circuit's own edits."""

from __future__ import annotations

import pytest
import torch

from sparsecircuits.errors import ConfigError
from sparsecircuits.model import Node
from sparsecircuits.viz.server.changes import Change, read_changes
from sparsecircuits.viz.server.workbench import MOST_CANDIDATES, TOP, Workbench
from tests.prune import planted

VALUE = Node.parse(f"0.attn.v.{planted.VALUE}")
READ = Node.parse(f"0.attn.act_in.{planted.QUOTE}")


@pytest.fixture(scope="module")
def bench(served_run) -> Workbench:
    from sparsecircuits.circuit import load_circuit

    circuit = load_circuit(served_run.circuits / planted.STRING_CLOSING.name)
    return Workbench(served_run.model(), served_run.tokenizer(), circuit, planted.STRING_CLOSING)


@pytest.fixture(scope="module")
def tokens(bench: Workbench) -> tuple[int, ...]:
    return bench.encode("f('abc")


def odds(bench: Workbench, name: str, tokens: tuple[int, ...], *changes: Change) -> torch.Tensor:
    return bench.read(name, tokens, changes).log_odds


def single(bench: Workbench, name: int, text: str, *changes: Change) -> float:
    """The share of the single quote between the two."""
    rows = bench.ask(bench.encode(text), changes)["models"][name]["candidates"]
    return next(row["share_after"] for row in rows if row["text"] == "'")


def logits(model, tokens: tuple[int, ...]) -> torch.Tensor:
    return torch.log_softmax(model(torch.tensor([tokens]))[0, -1].double(), -1).float()


def test_the_models_do_the_task_and_not_without_the_circuit(bench: Workbench, tokens) -> None:
    told = bench.ask(tokens)
    assert told["tokens"] == ["<|endoftext|>", "f", "(", "'", "a", "b", "c"]
    full, circuit, without = told["models"]
    for model in (full, circuit):
        assert model["candidates"][0]["text"] == "'"
        assert model["candidates"][0]["share_after"] > 0.95
    assert without["candidates"][0]["share_after"] < 0.5
    # It says the same of both prompts.
    assert single(bench, 2, "f('abc") == pytest.approx(single(bench, 2, 'f("abc'), abs=0.02)
    assert all(row["before"] == row["after"] for model in told["models"] for row in model["top"])
    assert [len(model["top"]) for model in told["models"]] == [TOP] * 3
    for model in told["models"]:
        assert sum(row["share_after"] for row in model["candidates"]) == pytest.approx(1)


def test_no_change_and_scale_one_leave_every_bit(bench: Workbench, tokens) -> None:
    for name in ("full", "circuit", "without"):
        plain = odds(bench, name, tokens)
        assert torch.equal(plain, odds(bench, name, tokens))
        assert torch.allclose(plain, odds(bench, name, tokens, Change(VALUE, "scale", 1.0)), atol=1e-6)
    assert torch.equal(odds(bench, "full", tokens), logits(bench.model, tokens))


def test_ablating_is_the_circuit_without_the_node(bench: Workbench, tokens) -> None:
    smaller = bench.circuit.without([VALUE])
    with smaller.installed(bench.model):
        expected = logits(bench.model, tokens)
    found = odds(bench, "circuit", tokens, Change(VALUE, "ablate"))
    assert torch.allclose(found, expected, atol=1e-6)
    row = bench.ask(tokens, [Change(VALUE, "ablate")])["models"][1]["candidates"][0]
    assert row["share_before"] > 0.95
    assert row["share_after"] < 0.5
    # Which quote it was, nothing knows any more.
    ablated = Change(VALUE, "ablate")
    assert single(bench, 1, "f('abc", ablated) == pytest.approx(
        single(bench, 1, 'f("abc', ablated), abs=0.001
    )


def test_holding_is_the_circuit_with_that_value(bench: Workbench, tokens) -> None:
    with bench.circuit.with_frozen(VALUE, -1.5).installed(bench.model):
        expected = logits(bench.model, tokens)
    assert torch.allclose(odds(bench, "circuit", tokens, Change(VALUE, "clamp", -1.5)), expected, atol=1e-6)
    quote = bench.ask(tokens, [Change(VALUE, "clamp", -1.5)])["models"][1]["candidates"]
    assert {row["text"]: row["share_after"] > 0.9 for row in quote} == {"'": False, '"': True}


def test_scaling_is_the_circuit_rescaled(bench: Workbench, tokens) -> None:
    with bench.circuit.rescaled(VALUE, -0.7).installed(bench.model):
        expected = logits(bench.model, tokens)
    assert torch.allclose(odds(bench, "circuit", tokens, Change(VALUE, "scale", -0.7)), expected, atol=1e-5)


def test_changes_stack_in_order(bench: Workbench, tokens) -> None:
    held, doubled = Change(VALUE, "clamp", 1.0), Change(VALUE, "scale", 2.0)
    mean = float(bench.circuit.frozen[str(VALUE.at)][VALUE.index])
    first = bench.read("circuit", tokens, [held, doubled], VALUE).activations[VALUE]
    assert torch.allclose(first, torch.full((7,), 2.0 - mean), atol=1e-6)
    second = bench.read("circuit", tokens, [doubled, held], VALUE).activations[VALUE]
    assert torch.equal(second, torch.ones(7))
    both = odds(bench, "circuit", tokens, Change(READ, "ablate"), Change(VALUE, "clamp", 1.0))
    assert torch.allclose(
        both, odds(bench, "circuit", tokens, held), atol=1e-6
    )  # what is held needs no reader


def test_one_token_alone(bench: Workbench, tokens) -> None:
    told = bench.ask(tokens, [Change(VALUE, "clamp", 9.0, position=3)], VALUE)
    for model in told["models"]:
        before, after = model["activations"]["before"], model["activations"]["after"]
        assert after[3] == 9.0
        assert [a == b for a, b in zip(before, after, strict=True)] == [True] * 3 + [False] + [True] * 3
    assert told["models"][0]["activations"]["before"][3] == pytest.approx(
        8 / 3**0.5, abs=3
    )  # it reads the quote


def test_a_place_behind_the_end_changes_nothing(bench: Workbench, tokens) -> None:
    assert torch.equal(
        odds(bench, "full", tokens, Change(VALUE, "clamp", 9.0, 7)), odds(bench, "full", tokens)
    )


def test_the_model_is_left_as_it_was(bench: Workbench, tokens) -> None:
    before = odds(bench, "full", tokens)
    bench.ask(tokens, [Change(VALUE, "ablate"), Change(READ, "scale", 3.0)], VALUE)
    assert not any(module._forward_hooks for module in bench.model.modules())
    assert torch.equal(before, odds(bench, "full", tokens))


def test_prompts_are_the_tasks_own(bench: Workbench) -> None:
    first, second = bench.prompts[:2]
    assert (first.side, second.side, first.pair, second.pair) == ("left", "right", 0, 0)
    assert bench.encode(first.text) == first.tokens
    assert first.text.replace("'", '"') == second.text
    names = [bench.tokenizer.text(id) for id in bench.candidates(first.tokens)]
    assert names == ["'", '"']
    assert [bench.tokenizer.text(id) for id in bench.candidates(second.tokens)] == ['"', "'"]
    assert 1 < len(bench.candidates(bench.encode("anything"))) <= MOST_CANDIDATES


def test_ranges_hold_what_was_seen(bench: Workbench) -> None:
    ranges = bench.ranges()
    assert set(ranges) == bench.circuit.nodes
    low, high = ranges[VALUE]
    values = [
        value
        for prompt in bench.prompts
        for value in bench.read("full", prompt.tokens, (), VALUE).activations[VALUE].tolist()
    ]
    assert low <= min(values) < 0 < max(values) <= high


def test_prompts_that_are_too_long(bench: Workbench) -> None:
    assert len(bench.encode("a" * 15)) == 16
    with pytest.raises(ConfigError, match=r"17 tokens, its <\|endoftext\|> counted; the model reads 16"):
        bench.encode("a" * 16)
    with pytest.raises(ConfigError, match="20,001 characters"):
        bench.encode("a" * 20_001)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("no list", "a list of at most 64"),
        ([{}] * 65, "a list of at most 64"),
        ([[]], "a node and a kind"),
        ([{"node": str(VALUE)}], "a node and a kind"),
        ([{"node": str(VALUE), "kind": "ablate", "more": 1}], "a node and a kind"),
        ([{"node": 3, "kind": "ablate"}], "a node is a name such as"),
        ([{"node": "0.attn.v", "kind": "ablate"}], "is a site, not a node"),
        ([{"node": "0.attn.v.8", "kind": "ablate"}], "no such node"),
        ([{"node": "7.attn.v.0", "kind": "ablate"}], "no such node"),
        ([{"node": "0.attn.v." + "9" * 200, "kind": "ablate"}], "a node is a name such as"),
        ([{"node": str(VALUE), "kind": "remove"}], "one of ablate, clamp, scale"),
        ([{"node": str(VALUE), "kind": "clamp"}], "a number of size 1e6 at most"),
        ([{"node": str(VALUE), "kind": "clamp", "value": "1"}], "a number of size 1e6 at most"),
        ([{"node": str(VALUE), "kind": "clamp", "value": True}], "a number of size 1e6 at most"),
        ([{"node": str(VALUE), "kind": "scale", "value": 1e7}], "a number of size 1e6 at most"),
        ([{"node": str(VALUE), "kind": "scale", "value": float("nan")}], "a number of size 1e6 at most"),
        ([{"node": str(VALUE), "kind": "ablate", "position": 7}], "0 to 6"),
        ([{"node": str(VALUE), "kind": "ablate", "position": -1}], "0 to 6"),
        ([{"node": str(VALUE), "kind": "ablate", "position": True}], "0 to 6"),
        ([{"node": str(VALUE), "kind": "ablate", "position": 1.0}], "0 to 6"),
    ],
)
def test_changes_that_are_none(bench: Workbench, asked: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_changes(asked, bench.circuit, 7)


def test_changes_as_they_are_asked_for(bench: Workbench) -> None:
    asked = [
        {"node": str(VALUE), "kind": "ablate", "value": None, "position": None},
        {"node": "0.mlp.post_act.0", "kind": "scale", "value": 2, "position": 6},
    ]
    expected = (Change(VALUE, "ablate"), Change(Node.parse("0.mlp.post_act.0"), "scale", 2.0, 6))
    assert read_changes(asked, bench.circuit, 7) == expected
