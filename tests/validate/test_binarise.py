"""Nodes as steps: levels worked out by hand, and planted circuits with nodes that are switches or are not."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.model import Node, record
from sparsecircuits.tasks.score import pair_logits
from sparsecircuits.validate.binarise import (
    SHARES,
    TIE,
    Step,
    binarise,
    binarised,
    binarising,
    find_steps,
    mixed,
)
from sparsecircuits.validate.steps import activations
from sparsecircuits.validate.subject import Subject
from tests.validate.subjects import subject, truth

X = torch.linspace(-1, 5, 601)


def loss(under: Subject, steps: dict[Node, Step], progress: float = 1.0) -> float:
    """On held-out pairs, by another way than the report's: all tokens of all prompts."""
    pairs = under.some
    with torch.no_grad(), binarised(under.model, under.circuit, steps, progress):
        logits = under.model(pairs.tokens, pairs.last)
    return float(under.losses(logits, pairs).mean())


@pytest.mark.parametrize(
    ("values", "share", "step"),
    [
        ([0.0, 0.0, 0.0, 4.0], 0.5, Step(0, 4, 2)),
        # The range is 0 to 8. Parted at 2: {0, 1} and {2, 8}; at 4 and at 6: {0, 1, 2} and {8}.
        ([0.0, 1.0, 2.0, 8.0], 0.25, Step(0.5, 5, 2.75)),
        ([0.0, 1.0, 2.0, 8.0], 0.5, Step(1, 8, 4.5)),
        ([0.0, 1.0, 2.0, 8.0], 0.75, Step(1, 8, 4.5)),
        ([-3.0, -3.0, -1.0], 0.5, Step(-3, -1, -2)),
        ([1.5, 1.5], 0.25, Step(1.5, 1.5, 1.5)),
    ],
)
def test_levels_by_hand(values: list[float], share: float, step: Step) -> None:
    assert Step.parting(torch.tensor(values), share) == step


def test_rounding_does_not_part() -> None:
    """0 lies on the threshold half-way between -1 and 1, and a little rounding leaves it where it was."""
    for noise in (-1e-6, 0.0, 1e-6):
        step = Step.parting(torch.tensor([-1.0, 0.0, 1.0 + noise]), 0.5)
        assert step == pytest.approx(Step(-1, 0.5, -0.25), abs=1e-5)


def test_rounding_does_not_choose() -> None:
    """A write of -1, 0 or 1 bears two thresholds equally well; which is taken decides how all nodes do."""
    under = subject("quote")
    node = Node.parse("0.mlp.resid_delta.29")
    values = activations(under.model, [node], under.train.first(64), under.circuit)[node]
    first, last = (Step.parting(values, share) for share in (SHARES[0], SHARES[-1]))
    assert first != last
    assert loss(under, {node: first}) == pytest.approx(loss(under, {node: last}), abs=TIE)
    steps = find_steps(under)
    assert steps[node] == first
    assert loss(under, steps) < 0.1
    assert loss(under, steps | {node: last}) > 1


def mix(step: Step, progress: float, x: torch.Tensor = X) -> torch.Tensor:
    low, high, at = (torch.tensor([float(one)]) for one in step)
    return mixed(x[:, None], low, high, at, progress)[:, 0]


def test_the_way_to_a_step() -> None:
    step = Step(0, 4, 2)
    assert torch.equal(mix(step, 0), X)
    assert mix(step, 1).tolist() == [4 if x >= 2 else 0 for x in X.tolist()]
    grid = [mix(step, progress / 10) for progress in range(11)]
    assert all(bool((values.diff() >= 0).all()) for values in grid)
    distances = [float((values - grid[-1]).abs().mean()) for values in grid]
    assert all(near > nearer for near, nearer in itertools.pairwise(distances))


def test_the_way_by_hand() -> None:
    # Half-way 1/32 of the activation is left. At the middle all is 2; at 4 the sigmoid's argument is
    # 8 * 2 / (4 / 32) = 128, so that is 4 but for rounding; at 5: 5 / 32 + 31 / 32 * 4.
    found = mix(Step(0, 4, 2), 0.5, torch.tensor([2.0, 4.0, 5.0])).tolist()
    assert found == pytest.approx([2, 4, 5 / 32 + 31 / 8])
    # At progress 0.2 there is 0.8^5 = 0.32768 left: at 2.5 the argument is 8 * 0.5 / (4 * 0.32768).
    sigmoid = float(torch.tensor(1 / 0.32768).sigmoid())
    found = mix(Step(0, 4, 2), 0.2, torch.tensor([2.5])).tolist()
    assert found == pytest.approx([0.32768 * 2.5 + 0.67232 * 4 * sigmoid])


@pytest.mark.parametrize("progress", [0.3, 1.0])
def test_a_constant_step(progress: float) -> None:
    rest = (1 - progress) ** 5
    assert torch.allclose(mix(Step(2, 2, 2), progress), rest * X + (1 - rest) * 2, atol=1e-6)


def test_progress_out_of_range() -> None:
    with pytest.raises(ValueError, match="progress is 1.5"):
        mix(Step(0, 1, 0.5), 1.5)


@pytest.mark.parametrize("level", [1, 3])
def test_a_binarised_circuit_has_two_levels(level: int) -> None:
    under = subject("quote", 0, level)
    steps = find_steps(under)
    assert set(steps) == under.circuit.nodes
    with binarised(under.model, under.circuit, steps), record(under.model) as cache, torch.no_grad():
        under.model(under.some.tokens, under.some.last)
    for node, step in steps.items():
        seen = set(cache[str(node.at)][..., node.index].flatten().tolist())
        assert seen <= set(torch.tensor([step.low, step.high]).tolist())
    # Deleted nodes are at their means.
    site = "0.mlp.post_act"
    deleted = ~under.circuit.keep_masks()[site]
    assert torch.equal(cache[site][0, 0, deleted], under.circuit.frozen[site][deleted])


def test_no_progress_is_the_circuit() -> None:
    under = subject("depth", 0, 2)
    steps = find_steps(under)
    with torch.no_grad():
        with under.circuit.installed(under.model, sealed=True):
            plain = pair_logits(under.model, under.some)
        with binarised(under.model, under.circuit, steps, 0.0):
            assert torch.equal(pair_logits(under.model, under.some), plain)
        with binarised(under.model, under.circuit, {}):
            assert torch.equal(pair_logits(under.model, under.some), plain)


def test_a_constant_step_is_a_frozen_node() -> None:
    under = subject()
    node = min(under.circuit.nodes)
    frozen = under.circuit.with_frozen(node, 0.7)
    with torch.no_grad(), frozen.installed(under.model):
        logits = under.model(under.some.tokens, under.some.last)
    expected = float(under.losses(logits, under.some).mean())
    assert loss(under, {node: Step(0.7, 0.7, 0.7)}) == pytest.approx(expected, abs=1e-6)


def test_padding_does_not_count() -> None:
    under = subject()
    pairs = under.train.first(16)
    nodes = sorted(under.circuit.nodes)
    assert int(pairs.last.min()) < pairs.tokens.shape[1] - 1
    found = activations(under.model, nodes, pairs, under.circuit)
    assert all(len(values) == int((pairs.last + 1).sum()) for values in found.values())
    padding = torch.arange(pairs.tokens.shape[1]) > pairs.last[:, None]
    pairs.tokens.masked_fill_(padding, 5)
    other = activations(under.model, nodes, pairs, under.circuit)
    assert all(torch.allclose(found[node], other[node], atol=1e-6) for node in nodes)


def test_levels_are_those_within_the_circuit() -> None:
    """With a gain of 3 a node is three times as far from its frozen value."""
    under = subject("quote")
    node = next(node for node in sorted(under.circuit.nodes) if node.site == "attn.v")
    frozen = float(under.circuit.frozen[str(node.at)][node.index])
    plain = activations(under.model, [node], under.train, under.circuit)[node]
    gained = activations(under.model, [node], under.train, under.circuit.rescaled(node, 3.0))[node]
    assert float(plain.std()) > 0.01
    assert torch.allclose(gained, frozen + 3 * (plain - frozen), atol=1e-5)


def test_thresholds_of_least_harm() -> None:
    under = subject("depth")
    train = under.train.first(64)
    steps = find_steps(under)
    values = activations(under.model, sorted(steps), train, under.circuit)
    better = 0
    for node, step in steps.items():
        harm = {}
        for share in SHARES:
            other = Step.parting(values[node], share)
            with torch.no_grad(), binarised(under.model, under.circuit, {node: other}):
                harm[other] = float(under.losses(pair_logits(under.model, train), train).mean())
        good = [other for other, lost in harm.items() if lost <= min(harm.values()) + TIE]
        assert step == good[0]  # in the order of the shares
        better += max(harm.values()) > harm[step] + 1e-3
    assert better  # the choice is not idle


def test_a_few_nodes_are_tried() -> None:
    under = subject()
    steps = find_steps(under, most_nodes=2)
    values = activations(under.model, sorted(steps), under.train.first(64), under.circuit)
    for node in sorted(steps)[2:]:
        assert steps[node] == Step.parting(values[node], 0.5)
    report = binarise(under, most_nodes=2)
    assert (len(report.effects), report.left_out, set(report.steps)) == (
        2,
        len(under.circuit) - 2,
        under.circuit.nodes,
    )


@pytest.mark.parametrize(("name", "level"), [("quote", 1), ("quote", 3), ("depth", 1), ("bigram", 2)])
def test_what_the_report_says(name: str, level: int) -> None:
    under = subject(name, 0, level)
    report = binarise(under)
    steps = dict(report.steps)
    assert report.plain == pytest.approx(loss(under, {}), abs=1e-5)
    assert report.loss == pytest.approx(loss(under, steps), abs=1e-5)
    assert report.curve[0] == (0.0, pytest.approx(report.plain, abs=1e-6))
    assert report.curve[-1] == (1.0, pytest.approx(report.loss, abs=1e-6))
    for one in report.effects:
        assert one.change == pytest.approx(loss(under, {one.node: one.step}) - report.plain, abs=1e-5)
        assert one.interval.low - 1e-6 <= one.change <= one.interval.high + 1e-6
    taken = {node: steps[node] for node in report.taken}
    assert report.taken_loss == pytest.approx(loss(under, taken), abs=1e-5)
    assert report.taken_loss <= report.limit == pytest.approx(under.target + 0.02)
    assert report.interval.low - 1e-6 <= report.loss <= report.interval.high + 1e-6
    assert json.loads(json.dumps(report.to_dict()))["loss"] == report.loss
    assert not any(module._forward_hooks for module in under.model.modules())


def test_a_circuit_of_switches_and_one_that_counts() -> None:
    """Whether a quote is open is a switch; how many brackets are is not, as a mean over tokens carries it."""
    quote, depth = binarise(subject("quote")), binarise(subject("depth"))
    assert quote.accuracy == 1
    assert quote.loss < 0.1
    assert set(quote.taken) == subject("quote").circuit.nodes
    assert depth.plain < 0.01
    assert depth.accuracy == pytest.approx(0.5, abs=0.05)
    assert depth.loss > 1
    # The best scale is near 0, and leaves a coin's loss.
    assert depth.refitted == pytest.approx(0.7, abs=0.05)
    assert len(depth.taken) < len(depth.steps)


def test_false_levels_do_harm() -> None:
    under = subject("quote")
    steps = find_steps(under)
    swapped = {node: Step(step.high, step.low, step.at) for node, step in steps.items()}
    assert loss(under, swapped) > 0.5 > loss(under, steps)


def test_a_circuit_that_lacks_a_node() -> None:
    under = subject("quote")
    write = max(under.circuit.nodes)
    report = binarise(under.about(under.circuit.without([write])))
    assert report.plain > report.limit
    assert report.accuracy == pytest.approx(0.5, abs=0.1)


def _neighbour(under: Subject, index: int) -> Node:
    return Node(min(under.circuit.nodes).at, index)


def test_a_node_that_the_circuit_lacks() -> None:
    under = subject()
    other = next(node for index in range(40) if (node := _neighbour(under, index)) not in under.circuit.nodes)
    with (
        pytest.raises(CheckpointError, match=f"a step of {other}"),
        binarised(under.model, under.circuit, {other: Step(0, 1, 0.5)}),
    ):
        pass


def test_outcome() -> None:
    under = subject("quote")
    outcome = binarising(under)
    assert (outcome.test, outcome.passed, outcome.word) == ("B", None, "n/a")
    assert outcome.estimate == pytest.approx(loss(under, find_steps(under)), abs=1e-5)
    assert outcome.control == pytest.approx(loss(under, {}), abs=1e-5)
    assert outcome.note == "a report, not judged: 12 of 12 nodes can be steps together within 0.17 nats"
    assert binarising(under).to_dict() == json.loads(json.dumps(outcome.to_dict()))


def test_an_empty_circuit() -> None:
    empty = Circuit("quote", frozenset(), truth().frozen)
    outcome = binarising(subject().about(empty))
    assert (outcome.estimate, outcome.note) == (None, "a circuit without nodes has nothing to make steps of")
