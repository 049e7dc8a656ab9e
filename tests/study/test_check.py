"""Which cards are shown again, which are made anew, and what of other prunings joins them."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sparsecircuits.circuit import Circuit, load_circuit, save_circuit
from sparsecircuits.errors import CheckpointError
from sparsecircuits.examples import example_folder
from sparsecircuits.study.check import CheckPlan, RunChecker
from sparsecircuits.study.complete import RESULT_FILE, folder_of
from sparsecircuits.tasks import Task, get_task
from sparsecircuits.train import Run
from sparsecircuits.validate.card import Card, level_tests
from sparsecircuits.validate.outcome import Outcome

NAME = "set_or_string_fixedvarname"
QUICK = CheckPlan(level="quick")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The bundled run, without its corpus."""
    return Run.open(shutil.copytree(example_folder("example"), tmp_path_factory.mktemp("run") / "mine"))


@pytest.fixture
def circuit(run: Run) -> Circuit:
    return load_circuit(run.circuits / NAME)


@pytest.fixture
def task() -> Task:
    return get_task(NAME)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """One test a level, so that a card takes no time."""

    def first(level: str, *, only: object = ()) -> dict:
        return {test: run for test, run in level_tests("quick").items() if test == "T1"}

    monkeypatch.setattr("sparsecircuits.study.check.level_tests", first)


def test_a_card_is_shown_again_only_for_the_same_circuit_model_and_plan(
    run: Run, circuit: Circuit, task: Task, tmp_path: Path, few: None
) -> None:
    path = tmp_path / "card.json"
    made = RunChecker(run, QUICK).check(circuit, task, path)
    assert made.about["model_sha256"] == circuit.info["model_sha256"]
    again = RunChecker(run, QUICK).load(circuit, task, path)
    assert again is not None
    assert again.to_dict() == made.to_dict()
    for plan in (
        dataclasses.replace(QUICK, seed=7),
        dataclasses.replace(QUICK, again=True),
        CheckPlan(level="standard"),
    ):
        assert RunChecker(run, plan).load(circuit, task, path) is None, plan
    other = circuit.without([min(circuit.nodes)])
    assert RunChecker(run, QUICK).load(other, task, path) is None
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "thresholds_sha256": "others"}))
    assert RunChecker(run, QUICK).load(circuit, task, path) is None
    path.write_text("{")
    assert RunChecker(run, QUICK).load(circuit, task, path) is None


def test_a_full_card_needs_as_many_prunings(
    run: Run, circuit: Circuit, task: Task, tmp_path: Path, few: None
) -> None:
    path = tmp_path / "card.json"
    card = RunChecker(run, QUICK).check(circuit, task)
    about = {**card.about, "weights": 1, "seeds": 5, "bootstraps": 0}
    dataclasses.replace(card, level="full", about=about).save(path)
    assert RunChecker(run, QUICK).load(circuit, task, path) is not None
    full = CheckPlan(level="full", weights=1, seeds=5, bootstraps=0)
    assert RunChecker(run, full).load(circuit, task, path) is not None
    assert RunChecker(run, dataclasses.replace(full, weights=3)).load(circuit, task, path) is None


def test_a_lower_level_does_not_take_the_place_of_a_higher_one(
    run: Run, circuit: Circuit, task: Task, tmp_path: Path, few: None
) -> None:
    path = tmp_path / "card.json"
    card = RunChecker(run, QUICK).check(circuit, task)
    dataclasses.replace(card, level="standard", about={**card.about, "seed": 3}).save(path)
    RunChecker(run, QUICK).check(circuit, task, path)
    assert Card.load(path).level == "standard"
    RunChecker(run, dataclasses.replace(QUICK, again=True)).check(circuit, task, path)
    assert Card.load(path).level == "quick"


def test_a_circuit_of_another_model_is_refused(run: Run, circuit: Circuit, task: Task) -> None:
    foreign = dataclasses.replace(circuit, info={**circuit.info, "model_sha256": "another"})
    with pytest.raises(CheckpointError, match="is of another model"):
        RunChecker(run, QUICK).check(foreign, task)


def test_what_takes_prunings() -> None:
    assert CheckPlan(level="standard").slow == []
    assert CheckPlan(level="full").slow == ["T8", "T9", "T20"]
    assert CheckPlan(level="full", seeds=0).slow == ["T8", "T9"]
    assert CheckPlan(level="full", seeds=1, bootstraps=0).slow == ["T8", "T9"]
    assert CheckPlan(level="full", only=("T9",)).slow == ["T9"]
    assert CheckPlan(level="standard").prunings == {"weights": 0, "seeds": 0, "bootstraps": 0}


@pytest.mark.parametrize("complete", [True, False])
def test_a_union_counts_if_it_is_complete(run: Run, circuit: Circuit, task: Task, complete: bool) -> None:
    folder = folder_of(run, task)
    part = circuit.keeping(sorted(circuit.nodes)[:5])
    save_circuit(part, folder / "union")
    (folder / RESULT_FILE).write_text(json.dumps({"complete": complete}))
    union = RunChecker(run, QUICK)._complete(circuit, task)
    assert (union is not None) == complete
    if union is not None:
        assert union.nodes == circuit.nodes  # its own nodes join it
    shutil.rmtree(folder)


def test_which_pruning_goes_on_is_told(
    run: Run, circuit: Circuit, task: Task, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def controls(_pruner: object, _task: Task, counts: dict[str, int], watch: Callable[..., None]) -> None:
        watch(f"{min(counts)}-0", "masks", 5, 0.25)
        watch("real", "nodes", 1234, 0.125)

    monkeypatch.setattr("sparsecircuits.study.check.run_controls", controls)
    told: list[tuple[str, int]] = []
    plan = CheckPlan(level="full", seeds=0, bootstraps=0, only=("T1", "T8"))
    RunChecker(run, plan).check(circuit, task, watch=lambda what, done, of: told.append((what, done)))
    assert told == [
        ("T1", 0),
        ("T8", 1),
        ("T8 nonsense-0: mask step 5, loss 0.250", 1),
        ("T8 real: choosing: 1,234 nodes, loss 0.125", 1),
    ]


def test_without_the_corpus_prunings_leave_their_tests_open(
    run: Run, circuit: Circuit, task: Task, few: None
) -> None:
    card = RunChecker(run, CheckPlan(level="full", seeds=0)).check(circuit, task)
    outcomes = {outcome.test: outcome for outcome in card.outcomes}
    assert isinstance(outcomes["T8"], Outcome)
    assert (outcomes["T8"].word, outcomes["T9"].word) == ("open", "open")
    assert "corpus" in outcomes["T8"].note
    assert "binarised" in card.reports
    assert "distribution" not in card.reports


def test_the_reports_leave_their_pictures_beside_the_card(
    run: Run, circuit: Circuit, task: Task, tmp_path: Path, few: None
) -> None:
    card = RunChecker(run, CheckPlan()).check(circuit, task, tmp_path / "card.json")
    assert list(card.reports) == ["binarised"]  # there is no text for the other
    assert (tmp_path / "card-binarised.png").read_bytes().startswith(b"\x89PNG")
    assert not (tmp_path / "card-distribution.png").exists()
    assert set(card.reports["binarised"]["effects"]) == set(map(str, circuit.nodes))
