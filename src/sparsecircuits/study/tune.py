"""Tuning: prune one model for one task with many settings, keep the smallest circuit (Gao et al. 2025, §A.5).

The paper searches with CARBS, 32 rounds of 8 prunings from Table 2's centres. Here Optuna is asked and told,
in rounds of a batch that is pruned side by side:

1. the study is opened, or made, in a journal file ``RUN/tuning/TASK.log`` or in a database; its name holds
   the digest of model, task and settings, so that other settings begin another study;
2. trials whose process has died are told as failed, and their settings are asked again;
3. the first trials are the centres (the settings that one pruning has), then the centres with a gentler and a
   harder penalty; what follows is the sampler's, around the centres (:mod:`.space`);
4. a trial is hopeless, and ends early, once it has to whittle the whole model down, or its circuit is larger
   by far than the best one's after so many looks as bisection takes;
5. minimised is ln(1 + edges); a circuit that misses the target counts as worse than any that holds it;
6. every circuit that beats those before it is saved in ``RUN/tuning/TASK/TRIAL``, so that nothing is lost.

Since :attr:`PruneConfig.adapt` moves ``k_coef`` to the target loss, four prunings are enough by default.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from sparsecircuits.circuit import Circuit, load_circuit, save_circuit
from sparsecircuits.config import Config
from sparsecircuits.errors import CheckpointError, ConfigError, PruneError
from sparsecircuits.prune import PruneConfig, PruneJob, PruneResult
from sparsecircuits.study.claims import Owner
from sparsecircuits.study.pruning import TUNING, RunPruner
from sparsecircuits.study.space import FIRST_PENALTIES, centre_of, make_sampler, settings, space_around
from sparsecircuits.study.storage import is_dead, open_study, trial_states
from sparsecircuits.tasks import Task

if TYPE_CHECKING:
    import optuna

#: ``watch(pruning, mask steps done in it, loss)``; prunings are numbered from 0 in this call.
Watch = Callable[[int, int, float], None]
#: Added where the target is missed, to loss / target; no circuit has e^30 edges.
MISSED = 30.0
#: A circuit of more than so many times the best one's nodes is hopeless.
FAR_LARGER = 3


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Config):
    """How to tune."""

    trials: int = 4
    """Prunings in all, those of earlier calls included (the paper: 256)."""
    batch: int = 4
    """Prunings side by side, asked for before any of them is told (the paper: 8)."""
    sampler: Literal["tpe", "random"] = "tpe"
    """What proposes settings after the first few: tree-structured Parzen estimators, or chance."""
    storage: str | None = None
    """A database's URL, such as sqlite:///tune.db, for many machines; None: a journal file in the run."""

    def validate(self) -> None:
        for name in ("trials", "batch"):
            if getattr(self, name) < 1:
                raise ConfigError(f"TuneConfig.{name} is {getattr(self, name)}; it must be at least 1")


@dataclass(frozen=True)
class Tried:
    """One pruning of a study.

    Attributes:
        number: which trial, from 0.
        edges, nodes: of its circuit; None where there is none.
        met: whether it holds the target.
        value: what is minimised; None: given up as hopeless, or no circuit at all.
        note: why there is no circuit, or None.
    """

    number: int
    edges: int | None
    nodes: int | None
    met: bool
    value: float | None
    note: str | None


@dataclass(frozen=True)
class Tuned:
    """The best circuit of a study, with all tests, and every pruning that was tried, in order."""

    circuit: Circuit
    trials: tuple[Tried, ...]


class Hopeless(PruneError):
    """A trial was given up: another one has a far smaller circuit."""


def tune(
    pruner: RunPruner, task: Task, config: TuneConfig | None = None, watch: Watch | None = None
) -> Tuned:
    """Prune with ``config.trials`` settings; the smallest circuit goes to ``RUN/circuits/TASK``.

    What an earlier call with the same settings has done counts; another process may work on the same study.

    Args:
        pruner: of the run; its settings are the centres.
        task: what the circuit must do.
        config: None: the defaults.
        watch: told of every mask step.

    Raises:
        ConfigError: Optuna is not installed.
        PruneError: no trial found a circuit; the message is the first trial's.
        TaskError: the task does not fit the tokenizer.
    """
    config = config or TuneConfig()
    tuning = _Tuning(pruner, task, config, watch or _unwatched)
    tuning.recover()
    while (count := tuning.missing()) > 0:
        tuning.round(min(count, config.batch))
    return Tuned(tuning.finish(), tuple(tuning.tried()))


def _unwatched(pruning: int, done: int, loss: float) -> None:
    """Nobody watches."""


class _Tuning:
    """One study of one task; the methods are the numbered steps above."""

    def __init__(self, pruner: RunPruner, task: Task, config: TuneConfig, watch: Watch) -> None:
        self.pruner, self.task, self.config, self.watch = pruner, task, config, watch
        self.centre = pruner.config.replace(penalties=pruner.config.penalties[:1])
        self.folder = pruner.run.folder / "tuning" / task.name
        self.begun = 0
        self.study = open_study(
            config.storage or self.folder.with_name(task.name + ".log"),
            f"{task.name}-{pruner.digest(task, self.centre)}",
        )
        if not self.study.trials:
            for factor in FIRST_PENALTIES:
                self.study.enqueue_trial(centre_of(self.centre, factor), skip_if_exists=True)

    def recover(self) -> None:
        """Fail the trials of dead processes, and ask for the same settings again."""
        states = trial_states()
        for trial in self.study.get_trials(states=(states.RUNNING,)):
            if trial.datetime_start is not None and is_dead(trial):
                self.study.tell(trial.number, state=states.FAIL)
                self.study.enqueue_trial(trial.params)

    def missing(self) -> int:
        """How many prunings are to be begun, beside those that are done or in other hands."""
        states = trial_states()
        done = self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED, states.RUNNING))
        return self.config.trials - len(done)

    def round(self, count: int) -> None:
        """Ask for ``count`` settings, prune with all of them, tell how it went."""
        space = space_around(self.centre)
        # A fresh sampler each round: its randomness depends on how far the study is, not on interruptions.
        self.study.sampler = make_sampler(
            self.config.sampler, self.pruner.config.seed, len(self.study.get_trials(deepcopy=False))
        )
        trials = []
        for _ in range(count):
            trial = self.study.ask(space)
            trial.set_user_attr("owner", dataclasses.asdict(Owner.me()))
            trials.append(trial)
        jobs = [PruneJob(self.task, settings(self.centre, trial.params)) for trial in trials]
        first, self.begun = self.begun, self.begun + count
        hopes = [_Hope(self.best_nodes()) for _ in trials]

        def heard(job: int, stage: str, done: int, of: int, loss: float) -> None:
            if stage == "masks":
                self.watch(first + job, done, loss)
            elif stage == "nodes":
                hopes[job].look(done, of)

        for trial, result in zip(trials, self.pruner.search(jobs, heard), strict=True):
            self._tell(trial, result)

    def _tell(self, trial: optuna.Trial, result: Any) -> None:
        if not isinstance(result, PruneResult):
            if not isinstance(result, PruneError):
                raise result
            trial.set_user_attr("note", str(result))
            self.study.tell(trial, state=trial_states().PRUNED)
            return
        value = worth_of(result, self.centre.target)
        best = self.best()
        if best is None or best.value is None or value < best.value:
            save_circuit(result.circuit, self.folder / str(trial.number))
        for key in ("edges", "nodes", "met"):
            trial.set_user_attr(key, getattr(result, key))
        self.study.tell(trial, value)

    def best(self) -> optuna.trial.FrozenTrial | None:
        """The best trial that has a circuit; of equal ones the first."""
        done = self.study.get_trials(deepcopy=False, states=(trial_states().COMPLETE,))
        ranked = sorted((worth, t.number, t) for t in done if (worth := t.value) is not None)
        return ranked[0][2] if ranked else None

    def best_nodes(self) -> int | None:
        """Nodes of the best circuit that holds the target."""
        best = self.best()
        return best.user_attrs["nodes"] if best is not None and best.user_attrs["met"] else None

    def tried(self) -> Iterator[Tried]:
        """Every trial that is over."""
        states = trial_states()
        for trial in self.study.get_trials(deepcopy=False, states=(states.COMPLETE, states.PRUNED)):
            told = trial.user_attrs
            sizes = told.get("edges"), told.get("nodes"), told.get("met", False)
            value = trial.value if trial.state == states.COMPLETE else None
            yield Tried(trial.number, *sizes, value, told.get("note"))

    def finish(self) -> Circuit:
        """The best circuit, tested and saved; as it is, if it is there already."""
        best, trials = self.best(), list(self.tried())
        if best is None:
            raise PruneError(
                next((t.note for t in trials if t.note), f"{self.task.name}: no trial has ended")
            )
        told = {"study": self.study.study_name, "trials": len(trials), "trial": best.number}
        there = self.pruner.load(self.task).circuit
        if there is not None and there.info.get(TUNING, {}).items() >= told.items():
            return there
        found = settings(self.centre, best.params)
        more = {TUNING: {**told, "sampler": self.config.sampler, "config": self.pruner.config.to_dict()}}
        folder = self.pruner.run.circuits / self.task.name
        return self.pruner.keep(self.task, self._circuit(best.number, found), folder, found, more)

    def _circuit(self, number: int, found: PruneConfig) -> Circuit:
        """The circuit of a trial; where another machine has kept it, pruned again from its settings."""
        try:
            circuit = load_circuit(self.folder / str(number))
            same = circuit.info["model_sha256"] == self.pruner.hash
            if same and PruneConfig.from_dict(circuit.info["config"]) == found:
                return circuit
        except (CheckpointError, ConfigError):
            pass
        (again,) = self.pruner.search([PruneJob(self.task, found)])
        if not isinstance(again, PruneResult):
            raise again
        return again.circuit


class _Hope:
    """Watches one pruning, and ends it once it cannot become the best (step 4)."""

    def __init__(self, best_nodes: int | None) -> None:
        self.best_nodes, self.looks = best_nodes, 0

    def look(self, nodes: int, total: int) -> None:
        """A circuit of ``nodes`` of ``total`` nodes holds the target.

        Raises:
            Hopeless: that is far too many, this late.
        """
        self.looks += 1
        if self.best_nodes is None or nodes <= FAR_LARGER * self.best_nodes:
            return
        bisected = self.looks > math.ceil(math.log2(total)) + 1
        if bisected or nodes == total:
            raise Hopeless(f"given up at {nodes} nodes: the best circuit has {self.best_nodes}")


def worth_of(result: PruneResult, target: float) -> float:
    """What tuning minimises: ln(1 + edges), or 30 + loss / target where the target is missed."""
    if result.met:
        return math.log1p(result.edges)
    return MISSED + result.validation_loss / target
