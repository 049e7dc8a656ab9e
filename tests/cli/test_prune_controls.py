"""prune --control, on a model whose circuit is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.cli.progress import Bar
from sparsecircuits.cli.prune_modes import Steps
from sparsecircuits.train import Run
from tests.cli.conftest import NAME, QUICK
from tests.prune import planted

pytestmark = pytest.mark.usefixtures("the_task")


def test_table_and_json(call, folder: Path) -> None:
    words = ("prune", folder, NAME, "--control", "nonsense:1", "shuffled-weights:1", *QUICK)
    done = call(*words)
    assert done.code == 0
    lines = done.out.strip().splitlines()
    titles = ["task", "control", "seed", "nodes", "edges", "held-out loss", "nodes come back", "ratio"]
    assert lines[0].split() == " ".join(titles).split()
    assert lines[2].split()[:5] == [NAME, "real", "–", "3", "2"]
    assert lines[2].split()[-1] == "1.00"
    assert lines[3].split()[:5] == [NAME, "nonsense-pair", "0", "–", "–"]
    assert lines[3].split()[-1] == "unreachable"
    (t8,) = [line for line in lines if line.startswith(f"{NAME}: T8")]
    assert "T8 open: not pruned yet: nonsense-constant-0, nonsense-pair-1" in t8  # one of five is no verdict
    assert lines[-1].startswith(f"controls: {folder / 'controls' / NAME} ")
    assert f"control {NAME}" in done.err
    (row,) = call(*words, "--json").json["tasks"]
    assert [one["kind"] for one in row["controls"]] == ["real", "nonsense-pair", "shuffled-weights"]
    assert [one["ratio"] for one in row["controls"][:2]] == [1.0, None]
    assert [one["test"] for one in row["outcomes"]] == ["T8", "T9"]
    assert load_circuit(Path(row["folder"]) / "real").nodes == planted.ATTENTION_CIRCUIT


def test_the_bar_says_which_control_its_loss_and_the_time_left() -> None:
    now = [0.0]
    bar = Bar("control task", 10, lambda bar: None, lambda: now[0])
    steps = Steps(bar)
    now[0] = 4.0
    steps.told("real", 0.5)
    steps.told("nonsense-pair-0", 0.6)
    assert (bar.done, bar.note()) == (2, "nonsense-pair-0  loss 0.600  0:16 left")  # 2 of 10 in 4 s
    steps.choosing("real", 1200, 0.1)
    assert (bar.done, bar.note()) == (2, "real  loss 0.100  choosing: 1,200 nodes  0:04 so far")
    steps.told(3, 0.2)  # a number is no name
    assert bar.note().startswith("loss 0.200")


def test_a_control_that_is_found_has_its_ratio() -> None:
    from sparsecircuits.cli.prune_controls import _sentence
    from sparsecircuits.validate.controls import ControlResult, nonsense_control

    real = ControlResult(kind="real", nodes=4, edges=2)
    found = ControlResult(kind="nonsense-pair", nodes=6, edges=2)
    told = nonsense_control(real, [found], target=0.15).to_dict()
    assert (
        _sentence(told) == "T8 FAIL: 1 of 1 controls reach the target; the smallest has 1.50 times the nodes"
    )


def test_a_model_that_cannot_do_the_task(call, folder: Path) -> None:
    run = Run.open(folder)
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    done = call("prune", folder, NAME, "--control", "nonsense:1", *QUICK)
    assert done.code == 1
    assert "the full model's own loss is 0.693" in done.out
    assert not (folder / "controls").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--control", "nonsense:1", "--complete"), "--complete and --control: give one of them"),
        (("--control", "noise:1"), "unknown control 'noise'; known: nonsense, random-weights, shuffled"),
        (("--control", "nonsense:6"), "'nonsense:6' is not nonsense:COUNT, such as nonsense:3; the count is"),
    ],
)
def test_mistakes(call, folder: Path, words: tuple[str, ...], message: str) -> None:
    done = call("prune", folder, NAME, *words)
    assert done.code == 2
    assert message in done.err


def test_help_says_in_which_order_the_maps_come(call) -> None:
    out = " ".join(call("prune", "--help").out.replace("│", " ").split())
    assert "pair-0, wrong, constant, pair-1, pair-2" in out
