"""Controls of a run: kept, gone on with, compared with the real task's circuit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.study import controls as module
from sparsecircuits.study.controls import (
    COUNTS,
    RESULT_FILE,
    control_outcomes,
    folder_of,
    missing_controls,
    parse_controls,
    run_controls,
)
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.train import Run
from sparsecircuits.validate.nonsense import MAPS
from sparsecircuits.validate.prune_controls import Control, prune_controls
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING

BOTH = {"nonsense": 2, "shuffled-weights": 1}


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture(scope="module")
def pruned_once(unpruned: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, set[tuple[str, str]]]:
    run = Run.open(shutil.copytree(unpruned.folder, tmp_path_factory.mktemp("pruned") / "run"))
    heard: set[tuple[str, str]] = set()
    run_controls(
        RunPruner(run, SETTINGS), STRING_CLOSING, BOTH, lambda name, stage, *_: heard.add((name, stage))
    )
    return run, heard


@pytest.fixture
def pruned(pruned_once: tuple[Run, set[tuple[str, str]]], tmp_path: Path) -> Run:
    """A copy to write into."""
    return Run.open(shutil.copytree(pruned_once[0].folder, tmp_path / "run"))


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What is pruned from now on, round by round; the second round is interrupted where it says "die"."""
    seen: list[list[str]] = []

    def watched(model: Any, some: list[Control], *others: Any, **more: Any) -> Any:
        if seen and seen[-1] == ["die"]:
            raise KeyboardInterrupt
        seen.append([one.name for one in some])
        return prune_controls(model, some, *others, **more)

    monkeypatch.setattr(module, "prune_controls", watched)
    return seen


def test_each_control_has_a_folder(pruned_once: tuple[Run, set[tuple[str, str]]]) -> None:
    run, heard = pruned_once
    folder = folder_of(RunPruner(run, SETTINGS), STRING_CLOSING)
    assert folder == run.folder / "controls" / "string_closing"
    names = {"real", "nonsense-pair-0", "nonsense-wrong-0", "shuffled-weights-0"}
    assert {name for name, stage in heard if stage == "masks"} == names
    assert ("real", "nodes") in heard  # and which circuits of the masks are tried
    assert {path.name for path in folder.iterdir()} == names
    assert load_circuit(folder / "real").nodes == planted.ATTENTION_CIRCUIT
    assert load_circuit(folder / "real").info["control"]["nodes"] == 3
    # Nothing reads these tokens off: no circuit, and so a result alone.
    assert [path.name for path in (folder / "nonsense-pair-0").iterdir()] == [RESULT_FILE]
    told = json.loads((folder / "nonsense-pair-0" / RESULT_FILE).read_text())
    assert told["task"] == "string_closing:nonsense-pair-0"
    assert told["result"]["unreachable"] is True
    assert told["result"]["loss"] == pytest.approx(0.693, abs=0.001)


def test_what_is_there_is_not_pruned_again(pruned: Run, rounds: list[list[str]]) -> None:
    pruner = RunPruner(pruned, SETTINGS)
    study = run_controls(pruner, STRING_CLOSING, BOTH)
    assert rounds == []
    assert missing_controls(pruner, STRING_CLOSING, BOTH) == []
    assert (study.real.nodes, study.real.edges) == (3, 2)
    assert [one.name for one in study.controls] == [
        "nonsense-pair-0",
        "nonsense-wrong-0",
        "shuffled-weights-0",
    ]
    assert [outcome.word for outcome in study.outcomes] == ["pass", "pass"]
    one_more = run_controls(pruner, STRING_CLOSING, {"nonsense": 3})
    assert rounds == [["nonsense-constant-0"]]
    assert len(one_more.controls) == 3


def test_an_interrupted_one_goes_on(unpruned: Run, tmp_path: Path, rounds: list[list[str]]) -> None:
    run = Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))
    pruner = RunPruner(run, SETTINGS)
    run_controls(pruner, STRING_CLOSING, {})
    rounds.append(["die"])
    with pytest.raises(KeyboardInterrupt):
        run_controls(pruner, STRING_CLOSING, {"nonsense": 1})
    rounds.clear()
    run_controls(pruner, STRING_CLOSING, {"nonsense": 1})
    assert rounds == [["nonsense-pair-0"]]


@pytest.mark.parametrize("change", ["settings", "model", "damage"])
def test_anything_else_is_pruned_anew(pruned: Run, change: str) -> None:
    config = SETTINGS
    path = pruned.folder / "controls" / "string_closing" / "nonsense-pair-0" / RESULT_FILE
    if change == "settings":
        config = SETTINGS.replace(seed=1)
    elif change == "model":
        pruned.finish(planted.neuron_model(pruned.tokenizer()), pruned.result() or {})
    else:
        path.write_text(path.read_text()[:40])
    missing = missing_controls(RunPruner(pruned, config), STRING_CLOSING, BOTH)
    names = [one.name for one in missing]
    assert names == ["nonsense-pair-0"] if change == "damage" else len(names) == 4


def test_the_objective_is_always_the_task(pruned: Run) -> None:
    faithful = RunPruner(pruned, SETTINGS.replace(objective="faithful"))
    assert missing_controls(faithful, STRING_CLOSING, BOTH) == []


def test_outcomes_of_what_is_there(pruned: Run, rounds: list[list[str]]) -> None:
    """Of T8 two of five maps are there, of T9 one of two kinds of weights: neither is judged yet."""
    pruner = RunPruner(pruned, SETTINGS)
    t8, t9 = control_outcomes(pruner, STRING_CLOSING)
    assert (t8.test, t8.word, t8.figures["of"]) == ("T8", "open", 2)
    assert "nonsense-pair-2" in t8.note
    assert (t9.test, t9.word, t9.figures["of"]) == ("T9", "open", 1)
    assert control_outcomes(pruner, planted.LAST_QUOTE) == []
    assert rounds == []


def test_one_of_each_kind_is_judged(pruned: Run) -> None:
    """The same results under the names that are missing."""
    pruner = RunPruner(pruned, SETTINGS)
    folder = pruned.folder / "controls" / "string_closing"
    there = json.loads((folder / "nonsense-pair-0" / RESULT_FILE).read_text())
    names = [str(one) for one in MAPS] + ["random-weights-0", "shuffled-weights-0"]
    for name in names:
        kind, _, seed = name.rpartition("-")
        result = {**there["result"], "kind": kind, "seed": int(seed)}
        path = folder / name / RESULT_FILE
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps({**there, "result": result}))
    t8, t9 = control_outcomes(pruner, STRING_CLOSING)
    assert (t8.word, t8.figures["of"], len(t8.figures["beside"])) == ("pass", 4, 1)
    assert (t9.word, t9.figures["of"]) == ("pass", 2)


def test_controls_of_other_settings_are_no_comparison(pruned: Run) -> None:
    stricter = RunPruner(pruned, SETTINGS.replace(target=0.1))
    assert control_outcomes(stricter, STRING_CLOSING) == []
    folder = pruned.folder / "controls" / "string_closing"
    told = json.loads((folder / "nonsense-pair-0" / RESULT_FILE).read_text())
    (folder / "nonsense-pair-0" / RESULT_FILE).write_text(json.dumps({**told, "settings": "others"}))
    outcomes = control_outcomes(RunPruner(pruned, SETTINGS), STRING_CLOSING)
    assert [outcome.figures["of"] for outcome in outcomes] == [1, 1]


def test_a_model_that_cannot_leaves_nothing(unpruned: Run, tmp_path: Path, rounds: list[list[str]]) -> None:
    run = Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    with pytest.raises(PruneError, match="full model's own loss is 0.693"):
        run_controls(RunPruner(run, SETTINGS), STRING_CLOSING, BOTH)
    assert rounds == [["real"]], "nonsense is not even begun"
    assert not (run.folder / "controls").exists()


def test_words() -> None:
    assert parse_controls(["nonsense:5", "random-weights:12"]) == {"nonsense": 5, "random-weights": 12}
    assert COUNTS == {"T8": {"nonsense": 5}, "T9": {"random-weights": 3, "shuffled-weights": 3}}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nonsens:3"], "unknown control 'nonsens'; known: nonsense, random-weights, shuffled-weights"),
        (["nonsense"], "'nonsense' is not nonsense:COUNT, such as nonsense:3; the count is 1 to 5"),
        (["nonsense:6"], "the count is 1 to 5"),
        (["nonsense:0"], "the count is 1 to 5"),
        (["random-weights:0"], "the count is 1 or more"),
        (["shuffled-weights:x"], "the count is 1 or more"),
        (["nonsense:1", "nonsense:2"], "two counts of the control 'nonsense'"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_controls(words)
