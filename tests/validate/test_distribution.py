"""A circuit on ordinary text: every number again by another way, on planted models; and the pictures."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.edges import edge_blocks
from sparsecircuits.errors import DataError
from sparsecircuits.model import Node, SparseGPT, intervene, record
from sparsecircuits.model.sites import WRITES
from sparsecircuits.train import evaluate
from sparsecircuits.validate.binarise import Binarised, Step, StepEffect, binarise
from sparsecircuits.validate.distribution import (
    PERCENTILES,
    Change,
    Distribution,
    NodeUse,
    distribution,
    on_distribution,
)
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.steps import activations
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.text import spaced_windows
from sparsecircuits.viz.style import save_chart
from sparsecircuits.viz.truth_charts import MOST_ROWS, binarise_chart, distribution_chart
from tests.validate.subjects import subject

#: The text of most tests, all of it.
WINDOWS = 6


def text(under: Subject) -> np.ndarray:
    assert under.corpus is not None
    return np.asarray(under.corpus[: WINDOWS * under.model.config.n_ctx + 1])


def measured(under: Subject, steps: dict[Node, Step] | None = None) -> Distribution:
    return on_distribution(under, tokens=text(under), windows=WINDOWS, steps=steps)


def bars(axes: Axes) -> list[float]:
    """How far each goes, in the order in which they are drawn."""
    return [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]


def window_losses(model: SparseGPT, tokens: np.ndarray) -> torch.Tensor:
    """[windows] by the model's own loss, one window after another."""
    n_ctx = model.config.n_ctx
    return torch.tensor(
        [evaluate(model, tokens[start : start + n_ctx + 1]) for start in range(0, len(tokens) - 1, n_ctx)]
    )


def other_at(under: Subject, node: Node, value: float) -> torch.Tensor:
    """[windows] changes of the loss with ``node`` at ``value``."""

    def change(x: torch.Tensor) -> torch.Tensor:
        held = x.clone()
        held[:, :, node.index] = value
        return held

    tokens = text(under)
    with intervene(under.model, {str(node.at): change}):
        there = window_losses(under.model, tokens)
    return there - window_losses(under.model, tokens)


def test_a_change_by_hand() -> None:
    # Mean 2, standard deviation sqrt((1 + 0 + 1) / 2) = 1, over sqrt(3).
    assert Change.of(torch.tensor([1.0, 2.0, 3.0])) == (2, pytest.approx(1 / math.sqrt(3)))
    assert math.isnan(Change.of(torch.tensor([1.0])).error)


def test_windows_lie_end_to_end_and_evenly() -> None:
    # 101 tokens hold ten windows of 10; of these every second.
    found = spaced_windows(np.arange(101, dtype=np.uint16), 5, 10)
    assert found[:, 0].tolist() == [0, 20, 40, 60, 80]
    assert found[1].tolist() == list(range(20, 31))
    assert len(spaced_windows(np.arange(101), 16, 10)) == 10
    with pytest.raises(DataError, match="10 tokens; a context of 10 needs at least 11"):
        spaced_windows(np.arange(10), 1, 10)
    with pytest.raises(ValueError, match="windows is 0"):
        spaced_windows(np.arange(101), 0, 10)


@pytest.mark.parametrize(("name", "level"), [("quote", 1), ("variable", 3)])
def test_every_change_by_another_way(name: str, level: int) -> None:
    under = subject(name, 0, level)
    report = measured(under)
    assert [use.node for use in report.nodes] == sorted(under.circuit.nodes)
    assert report.loss == pytest.approx(evaluate(under.model, text(under)), abs=1e-5)
    assert (report.windows, report.tokens) == (WINDOWS, WINDOWS * under.model.config.n_ctx)
    for use in report.nodes:
        changes = other_at(under, use.node, use.mean)
        assert use.frozen.mean == pytest.approx(float(changes.mean()), abs=2e-6)
        assert use.frozen.error == pytest.approx(float(changes.std()) / math.sqrt(WINDOWS), abs=2e-6)
        assert use.mean == float(under.circuit.frozen[str(use.node.at)][use.node.index])
        changes = other_at(under, use.node, use.task_mean)
        assert use.constant.mean == pytest.approx(float(changes.mean()), abs=2e-6)
    with under.circuit.removed(under.model):
        without = evaluate(under.model, text(under))
    assert report.removed.mean == pytest.approx(without - report.loss, abs=1e-5)
    assert max(abs(use.frozen.mean) for use in report.nodes) > 1e-3  # there is something to see
    assert not any(module._forward_hooks for module in under.model.modules())


def test_a_step_holds_its_levels() -> None:
    """A step that lies below or above all activations is a constant; between them it is neither."""
    under = subject("quote")
    node = next(node for node in sorted(under.circuit.nodes) if node.site == "attn.resid_delta")
    low, high = (other_at(under, node, value) for value in (-0.5, 2.0))
    for at, expected in ((1e9, low), (-1e9, high)):
        report = measured(under, steps={node: Step(-0.5, 2.0, at)})
        stepped = {use.node: use.stepped for use in report.nodes}
        found = stepped.pop(node)
        assert found is not None
        assert found.mean == pytest.approx(float(expected.mean()), abs=2e-6)
        assert set(stepped.values()) == {None}


def test_a_rescaled_node_has_no_gain_in_the_model() -> None:
    """Its step within the circuit lies elsewhere; by -2 it is upside down as well."""
    under = subject("quote")
    node = next(node for node in sorted(under.circuit.nodes) if node.site == "attn.resid_delta")
    step = Step(-0.5, 2.0, 0.25)
    mean = float(under.circuit.frozen[str(node.at)][node.index])
    plain = {use.node: use.stepped for use in measured(under, steps={node: step}).nodes}[node]
    for gain in (3.0, -2.0):
        levels = sorted(mean + gain * (value - mean) for value in step[:2])
        inside = Step(levels[0], levels[1], mean + gain * (step.at - mean))
        gained = under.about(under.circuit.rescaled(node, gain))
        found = {use.node: use.stepped for use in measured(gained, steps={node: inside}).nodes}[node]
        assert plain is not None
        assert found is not None
        assert found.mean == pytest.approx(plain.mean, abs=1e-6)
    nothing = under.about(under.circuit.rescaled(node, 0.0))
    use = {use.node: use for use in measured(nothing, steps={node: step}).nodes}[node]
    assert use.stepped == pytest.approx(use.frozen)


def test_the_constant_is_the_mean_on_the_task() -> None:
    """In the full model: within a circuit that lacks its first neuron's read, what comes after differs."""
    whole = subject("quote")
    under = whole.about(whole.circuit.without([min(whole.circuit.nodes)]))
    pairs = under.train.first(64)
    with record(under.model) as cache, torch.no_grad():
        under.model(pairs.tokens)
    inside = activations(under.model, sorted(under.circuit.nodes), pairs, under.circuit)
    differ = 0
    for use in measured(under).nodes:
        values = [
            cache[str(use.node.at)][row, : int(last) + 1, use.node.index]
            for row, last in enumerate(pairs.last)
        ]
        assert use.task_mean == pytest.approx(float(torch.cat(values).mean()), abs=1e-6)
        differ += abs(use.task_mean - float(inside[use.node].mean())) > 0.01
    assert differ


def test_activations_on_text() -> None:
    under = subject("quote", 0, 3)
    windows = torch.from_numpy(text(under).astype(np.int64))[:-1].view(WINDOWS, -1)
    with record(under.model) as cache, torch.no_grad():
        under.model(windows)
    shares: set[float] = set()
    for use in measured(under).nodes:
        values = cache[str(use.node.at)][:, :, use.node.index].flatten().numpy()
        assert use.nonzero == pytest.approx(float(np.count_nonzero(values)) / len(values))
        assert use.percentiles == pytest.approx(np.percentile(values, PERCENTILES), abs=1e-5)
        shares.add(use.nonzero)
    assert min(shares) < 0.2 < 0.5 < max(shares)


@pytest.mark.parametrize(("name", "level"), [("quote", 1), ("induction", 2)])
def test_edges_used_and_there(name: str, level: int) -> None:
    under = subject(name, 0, level)
    cut = under.circuit.edges(under.model)[0]
    under = under.about(under.circuit.cutting([cut.ends]))
    there = {
        (Node(block.source, column), Node(block.target, row))
        for block in edge_blocks(under.model)
        for row, column in torch.nonzero(block.weight).tolist()
    }
    used = {edge.ends for edge in under.circuit.edges(under.model)}
    assert cut.ends in there - used
    report = measured(under)
    kept = under.circuit.nodes
    assert report.edges == len(used)
    assert report.component_edges == sum(source in kept or target in kept for source, target in there)
    for use in report.nodes:
        assert use.used_edges == sum(use.node in ends for ends in used)
        assert use.all_edges == sum(use.node in ends for ends in there)


def test_nodes_that_are_never_active_change_nothing() -> None:
    """A false circuit makes no difference where the true one does."""
    under = subject("quote", 0, 3)
    windows = torch.from_numpy(text(under).astype(np.int64))[:-1].view(WINDOWS, -1)
    names = [str(at) for at in under.model.config.site_names() if at.site in WRITES]
    with record(under.model, names) as cache, torch.no_grad():
        under.model(windows)
    silent = {name: torch.nonzero((values == 0).all(0).all(0)).flatten() for name, values in cache.items()}
    site = max(silent, key=lambda name: len(silent[name]))
    frozen = {**under.circuit.frozen, site: torch.zeros_like(under.circuit.frozen[site])}
    nodes = [Node.parse(f"{site}.{index}") for index in silent[site][:2].tolist()]
    false = under.about(Circuit(under.task.name, frozenset(nodes), frozen))
    report = measured(false, {})
    assert [use.nonzero for use in report.nodes] == [0, 0]
    assert all(use.frozen == (0, 0) for use in report.nodes)
    assert report.removed == (0, 0)
    assert abs(measured(under).removed.mean) > 1e-3


def test_a_few_nodes() -> None:
    under = subject("quote")
    report = on_distribution(under, windows=2, most_nodes=3, draws=0)
    assert (len(report.nodes), report.left_out) == (3, len(under.circuit) - 3)
    assert report.random_removed is None
    assert report.windows == 2
    assert all(use.stepped is not None for use in report.nodes)


def test_outcome() -> None:
    under = subject("quote")
    outcome = distribution(under, tokens=text(under), windows=WINDOWS)
    report = measured(under)
    assert (outcome.test, outcome.passed) == ("D", None)
    assert outcome.estimate == report.removed.mean
    assert report.random_removed is not None
    assert outcome.control == report.random_removed.mean
    assert outcome.interval is not None
    assert outcome.interval.low < report.removed.mean < outcome.interval.high
    assert outcome.to_dict() == json.loads(json.dumps(outcome.to_dict()))
    node = outcome.figures["nodes"][str(report.nodes[0].node)]
    assert node["frozen"] == list(report.nodes[0].frozen)
    assert outcome.note == "a report, not judged: the circuit uses 10 of the 22 edges of its nodes"


def test_where_there_is_no_text() -> None:
    under = dataclasses.replace(subject("quote"), corpus=None)
    with pytest.raises(DataError, match="no text"):
        on_distribution(under)
    for outcome in (distribution(under), distribution(under, tokens=np.zeros(3, np.int64))):
        assert (outcome.estimate, outcome.passed) == (None, None)
        assert outcome.note == "less than one window of ordinary text is at hand"
    empty = under.about(under.circuit.keeping([]))
    assert distribution(empty).note == "a circuit without nodes does nothing on ordinary text"


def test_one_window_has_no_error() -> None:
    report = on_distribution(subject("bigram"), windows=1, draws=1)
    assert math.isnan(report.removed.error)
    assert report.to_dict()["removed"] == [report.removed.mean, None]
    distribution_chart(report)


def steps_report(changes: list[float]) -> Binarised:
    nodes = [Node.parse(f"0.attn.q.{index}") for index in range(len(changes))]
    step = Step(0, 1, 0.5)
    effects = [
        StepEffect(node=node, step=step, change=change, interval=Interval(change - 0.1, change + 0.2))
        for node, change in zip(nodes, changes, strict=True)
    ]
    return Binarised(
        effects=tuple(effects),
        steps=dict.fromkeys(nodes, step),
        left_out=3,
        plain=0.05,
        loss=0.4,
        interval=Interval(0.3, 0.5),
        refitted=0.2,
        scale=0.5,
        plain_accuracy=1.0,
        accuracy=0.75,
        curve=((0.0, 0.05), (0.5, 0.3), (1.0, 0.4)),
        limit=0.17,
        taken=tuple(nodes[:1]),
        taken_loss=0.1,
    )


def test_picture_of_steps() -> None:
    alone, together = binarise_chart(steps_report([0.1, 0.3, -0.2]), "quote").axes
    assert bars(alone)[:3] == pytest.approx([0.3, 0.1, -0.2])  # the worst on top
    names = [label.get_text() for label in alone.get_yticklabels()]
    assert names == ["0.attn.q.1", "0.attn.q.0", "0.attn.q.2"]
    colours = {name: bar.get_facecolor() for name, bar in zip(names, alone.patches, strict=False)}
    assert colours["0.attn.q.1"] == colours["0.attn.q.2"] != colours["0.attn.q.0"]  # the one taken
    assert "3 more nodes are not shown" in alone.get_xlabel()
    assert np.asarray(together.lines[0].get_xydata()).tolist() == [[0, 0.05], [0.5, 0.3], [1, 0.4]]
    assert [line.get_ydata()[0] for line in together.lines[1:]] == [0.05, 0.17, 0.2]  # type: ignore[index]
    assert "1 of 3 nodes" in together.get_xlabel()
    assert "75.0% all in steps" in together.get_xlabel()


def test_pictures_of_many_nodes() -> None:
    alone, _ = binarise_chart(steps_report([index / 100 for index in range(MOST_ROWS + 5)])).axes
    assert len(alone.get_yticks()) == MOST_ROWS
    assert "8 more nodes are not shown" in alone.get_xlabel()
    assert bars(alone)[0] == pytest.approx((MOST_ROWS + 4) / 100)


def use(index: int, change: float, stepped: float | None) -> NodeUse:
    return NodeUse(
        node=Node.parse(f"0.attn.v.{index}"),
        mean=0.0,
        task_mean=0.0,
        frozen=Change(change, 0.01),
        constant=Change(2 * change, 0.02),
        stepped=None if stepped is None else Change(stepped, 0.03),
        used_edges=index + 1,
        all_edges=5,
        nonzero=1.0,
        percentiles=(0.0,) * 7,
    )


def test_picture_of_text() -> None:
    report = Distribution(
        nodes=(use(0, 0.1, 0.5), use(1, -1.0, None)),
        left_out=0,
        loss=2.0,
        windows=4,
        tokens=40,
        removed=Change(0.25, 0.1),
        removed_changes=torch.tensor([0.25]),
        random_removed=Change(0.0625, 0.1),
        edges=3,
        component_edges=9,
    )
    cost, edges = distribution_chart(report, "quote").axes
    assert [label.get_text() for label in cost.get_yticklabels()] == ["0.attn.v.1", "0.attn.v.0"]
    found = {}
    for container in cost.containers:
        (points, *_) = container.get_children()
        found[container.get_label()] = points.get_xdata().tolist()  # type: ignore[attr-defined]
    assert found == {
        "at its pretraining mean": [-1.0, 0.1],
        "at its mean on the task": [-2.0, 0.2],
        "a step": [0.5],
    }
    assert "without the whole circuit +0.25, without a random one +0.0625" in cost.get_xlabel()
    assert bars(edges) == [5, 5, 2, 1]
    assert [note.get_text() for note in edges.texts] == ["2 / 5", "1 / 5"]
    assert edges.get_xlabel() == "edges; 3 of 9 in all"


def test_pictures_as_files(tmp_path: Path) -> None:
    under = subject("quote")
    steps = binarise(under)
    for name, figure in (
        ("steps", binarise_chart(steps)),
        ("text", distribution_chart(measured(under, steps=dict(steps.steps)))),
    ):
        save_chart(figure, tmp_path / f"{name}.png", dpi=50)
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
