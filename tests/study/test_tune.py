"""Tuning on a model whose circuit is known: what is kept, gone on with, given up."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from sparsecircuits.circuit import load_circuit
from sparsecircuits.errors import ConfigError, PruneError
from sparsecircuits.prune import PruneConfig, PruneJob, PruneResult
from sparsecircuits.study.claims import Owner
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.study.space import centre_of, settings, space_around
from sparsecircuits.study.storage import open_study
from sparsecircuits.study.tune import Hopeless, TuneConfig, _Hope, tune, worth_of
from sparsecircuits.tasks import TASKS
from sparsecircuits.train import Run
from tests.prune import planted
from tests.prune.planted import SETTINGS, STRING_CLOSING

NAME = STRING_CLOSING.name


@pytest.fixture(scope="module", autouse=True)
def the_task() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TASKS, NAME, STRING_CLOSING)
        yield


@pytest.fixture(scope="module")
def unpruned(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return planted.planted_run(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def run(unpruned: Run, tmp_path: Path) -> Run:
    return Run.open(shutil.copytree(unpruned.folder, tmp_path / "run"))


class Counting(RunPruner):
    """Keeps the settings that were pruned with; interrupted after ``dies_after`` rounds."""

    dies_after = 99

    def __init__(self, run: Run, config: PruneConfig = SETTINGS) -> None:
        super().__init__(run, config)
        self.rounds: list[list[PruneConfig]] = []

    def search(self, jobs, watch=None):  # type: ignore[no-untyped-def]
        if len(self.rounds) >= self.dies_after:
            raise KeyboardInterrupt
        self.rounds.append([job.config for job in jobs])
        return super().search(jobs, watch)


def test_the_planted_circuit_is_found_and_kept(run: Run) -> None:
    pruner = Counting(run)
    heard: list[int] = []
    found = tune(pruner, STRING_CLOSING, TuneConfig(trials=3, batch=2), lambda t, done, loss: heard.append(t))
    assert found.circuit.nodes == planted.ATTENTION_CIRCUIT
    assert [len(configs) for configs in pruner.rounds] == [2, 1]
    # Penalties of the first three; nothing else moves from the centres.
    assert [c for configs in pruner.rounds for c in configs] == [
        pruner.config.replace(penalties=(4.0 * factor,)) for factor in (1, 0.25, 4)
    ]
    assert set(heard) == {0, 1, 2}
    assert [trial.number for trial in found.trials] == [0, 1, 2]
    best = min(found.trials, key=lambda trial: math.inf if trial.value is None else trial.value)
    assert (best.edges, best.nodes, best.value) == (2, 3, pytest.approx(math.log(3)))
    saved = load_circuit(run.circuits / NAME)
    assert saved.info["tuning"]["trial"] == best.number
    assert saved.info["tuning"]["trials"] == 3
    assert saved.info["necessity"]["accuracy"] == 0.5
    # It counts as the circuit of these settings, also without tuning.
    loaded = RunPruner(run, SETTINGS).load(STRING_CLOSING).circuit
    assert loaded is not None
    assert loaded.nodes == saved.nodes
    assert RunPruner(run, SETTINGS.replace(seed=1)).load(STRING_CLOSING).circuit is None


def test_the_same_again_prunes_nothing_and_more_trials_go_on(run: Run) -> None:
    tune(Counting(run), STRING_CLOSING, TuneConfig(trials=1))
    before = (run.circuits / NAME / "circuit.json").stat()
    again, more = Counting(run), Counting(run)
    assert len(tune(again, STRING_CLOSING, TuneConfig(trials=1)).trials) == 1
    assert again.rounds == []
    assert (run.circuits / NAME / "circuit.json").stat() == before  # not even written again
    assert len(tune(more, STRING_CLOSING, TuneConfig(trials=3)).trials) == 3
    assert [len(configs) for configs in more.rounds] == [2]


def test_the_best_is_kept_whichever_trial_it_is(run: Run) -> None:
    """Trials of 4, 9 or 9, 4 edges, one a round: the better one is kept, and not pruned again at the end."""
    for number, edges in enumerate(((4, 9), (9, 4))):
        _keeps(Run.open(shutil.copytree(run.folder, run.folder.with_name(f"run{number}"))), number, edges)


def _keeps(run: Run, best: int, edges: tuple[int, int]) -> None:
    sizes = iter(edges)

    class Sized(Counting):
        def search(self, jobs, watch=None):  # type: ignore[no-untyped-def]
            (result,) = super().search(jobs, watch)
            assert isinstance(result, PruneResult)
            return [dataclasses.replace(result, edges=next(sizes))]

    pruner = Sized(run)
    found = tune(pruner, STRING_CLOSING, TuneConfig(trials=2, batch=1))
    assert [trial.edges for trial in found.trials] == list(edges)
    assert len(pruner.rounds) == 2
    kept = sorted(path.name for path in (run.folder / "tuning" / NAME).iterdir())
    assert kept == ["0", "1"][: best + 1]  # those that beat all before them
    saved = load_circuit(run.circuits / NAME)
    penalty = [4.0, 1.0][best]
    assert (saved.info["tuning"]["trial"], saved.info["config"]["penalties"]) == (best, [penalty])
    assert RunPruner(run, SETTINGS).load(STRING_CLOSING).why is None


def test_interrupted_it_asks_what_a_straight_run_asks(run: Run, tmp_path: Path) -> None:
    """The proposals after the first three are the sampler's: they must not depend on interruptions."""
    other = Run.open(shutil.copytree(run.folder, tmp_path / "other"))
    straight = Counting(run)
    tune(straight, STRING_CLOSING, TuneConfig(trials=5, batch=1))
    for trials in (2, 4, 5):
        halting = Counting(other)
        tune(halting, STRING_CLOSING, TuneConfig(trials=trials, batch=1))
    assert halting.rounds == straight.rounds[4:]
    proposed = straight.rounds[4][0]
    assert proposed.lr != SETTINGS.lr


def test_trials_of_a_dead_process_are_asked_again(run: Run) -> None:
    """As a kill in the middle of a round leaves them: running, of a process that is no more."""
    pruner = Counting(run)
    pruner.dies_after = 0
    with pytest.raises(KeyboardInterrupt):
        tune(pruner, STRING_CLOSING, TuneConfig(trials=2))
    study = open_study(run.folder / "tuning" / f"{NAME}.log", f"{NAME}-{pruner.digest(STRING_CLOSING)}")
    assert [trial.state for trial in study.trials[:2]] == [TrialState.RUNNING] * 2
    gone = dataclasses.asdict(dataclasses.replace(Owner.me(), began="1"))
    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study._storage.set_trial_user_attr(trial._trial_id, "owner", gone)
    resumed = Counting(run)
    found = tune(resumed, STRING_CLOSING, TuneConfig(trials=3, batch=3))
    assert sorted(c.penalties for c in resumed.rounds[0]) == [(1.0,), (4.0,), (16.0,)]
    assert len(found.trials) == 3
    states = [trial.state for trial in study.trials]
    assert states.count(TrialState.FAIL) == 2
    assert TrialState.RUNNING not in states


def test_trials_of_a_living_process_are_left_to_it(run: Run) -> None:
    study = open_study(
        run.folder / "tuning" / f"{NAME}.log", f"{NAME}-{Counting(run).digest(STRING_CLOSING)}"
    )
    for factor in (1, 0.25, 4):
        study.enqueue_trial(centre_of(SETTINGS, factor))
    study.ask(space_around(SETTINGS)).set_user_attr("owner", dataclasses.asdict(Owner.me()))
    pruner = Counting(run)
    tune(pruner, STRING_CLOSING, TuneConfig(trials=2))
    assert [[c.penalties for c in configs] for configs in pruner.rounds] == [[(1.0,)]]


def test_a_circuit_that_another_machine_kept_is_pruned_again(run: Run) -> None:
    found = tune(Counting(run), STRING_CLOSING, TuneConfig(trials=1))
    shutil.rmtree(run.folder / "tuning" / NAME)
    shutil.rmtree(run.circuits)
    pruner = Counting(run)
    assert tune(pruner, STRING_CLOSING, TuneConfig(trials=1)).circuit.nodes == found.circuit.nodes
    assert len(pruner.rounds) == 1


def test_other_settings_are_another_study(run: Run) -> None:
    tune(Counting(run), STRING_CLOSING, TuneConfig(trials=1))
    pruner = Counting(run, SETTINGS.replace(target=0.3))
    tune(pruner, STRING_CLOSING, TuneConfig(trials=1))
    assert len(pruner.rounds) == 1


def test_many_machines_share_a_database(run: Run, tmp_path: Path) -> None:
    other = Run.open(shutil.copytree(run.folder, tmp_path / "other"))
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    tune(Counting(run), STRING_CLOSING, TuneConfig(trials=1, storage=storage))
    pruner = Counting(other)
    tune(pruner, STRING_CLOSING, TuneConfig(trials=2, storage=storage))
    assert [[c.penalties for c in configs] for configs in pruner.rounds[:1]] == [[(1.0,)]]


def test_a_model_that_cannot_says_so(run: Run) -> None:
    run.finish(planted.refusing_model(run.tokenizer()), run.result() or {})
    with pytest.raises(PruneError, match="the full model's own loss is 0.693"):
        tune(Counting(run), STRING_CLOSING, TuneConfig(trials=1))
    assert not run.circuits.exists()


def test_when_a_trial_is_hopeless() -> None:
    """Of 16 nodes bisection takes 5 looks; the best has 2, so 7 are too many, and 6 are not."""
    hope = _Hope(2)
    for _ in range(9):
        hope.look(6, 16)
    for _ in range(2):
        with pytest.raises(Hopeless, match="given up at 7 nodes: the best circuit has 2"):
            hope.look(7, 16)
    fresh = _Hope(2)
    for _ in range(5):
        fresh.look(15, 16)
    with pytest.raises(Hopeless):
        fresh.look(15, 16)
    with pytest.raises(Hopeless):
        _Hope(2).look(16, 16)  # the whole model is to be whittled down
    for _ in range(9):
        _Hope(None).look(16, 16)


def test_a_hopeless_pruning_ends_and_no_other(run: Run) -> None:
    """What tuning relies on: an error from the watcher, while nodes are chosen, is that job's result."""

    def watch(job: int, stage: str, done: int, of: int, loss: float) -> None:
        if job == 0 and stage == "nodes":
            raise Hopeless("no hope")

    jobs = [PruneJob(STRING_CLOSING, SETTINGS)] * 2
    first, second = RunPruner(run, SETTINGS).search(jobs, watch)
    assert isinstance(first, Hopeless)
    assert isinstance(second, PruneResult)


def test_what_is_minimised(run: Run) -> None:
    (result,) = RunPruner(run, SETTINGS).search([PruneJob(STRING_CLOSING, SETTINGS)])
    assert isinstance(result, PruneResult)
    assert worth_of(dataclasses.replace(result, edges=99), 0.15) == pytest.approx(math.log(100))
    missed = dataclasses.replace(result, met=False, edges=0, validation_loss=0.3)
    assert worth_of(missed, 0.15) == 32
    assert settings(SETTINGS, centre_of(SETTINGS)) == SETTINGS


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"batch": 0}, {"sampler": "carbs"}])
def test_settings_that_cannot_be(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        TuneConfig(**wrong)  # type: ignore[arg-type]
