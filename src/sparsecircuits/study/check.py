"""Report cards of a run's circuits: the tests of one circuit, and those that take many prunings.

A card lies beside its circuit, as ``RUN/circuits/TASK/card.json``; one of the same circuit, thresholds and
level (or a higher one) is loaded, not made again. The tests of one circuit come from
:mod:`sparsecircuits.validate.card`. At the level ``full`` these join, all of them kept and gone on with:

- T8 and T9, from the controls in ``RUN/controls`` (:mod:`sparsecircuits.study.controls`);
- T20, from 10 seeds and 5 bootstraps in ``RUN/consensus`` (:mod:`sparsecircuits.study.consensus`);
- where the circuit alone is not necessary, the union of all circuits of the task, in ``RUN/complete``.

What of these is there already joins a card of any level.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sparsecircuits.circuit import Circuit, load_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE, circuit_hash
from sparsecircuits.errors import CheckpointError, DataError, PruneError
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.complete import find_complete, folder_of
from sparsecircuits.study.consensus import consensus
from sparsecircuits.study.controls import COUNTS, control_outcomes, run_controls
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import SUITES, Task
from sparsecircuits.tasks.strings import SINGLE_DOUBLE_QUOTE
from sparsecircuits.train import Run
from sparsecircuits.validate.binarise import binarise
from sparsecircuits.validate.card import Card, check_circuit, level_tests
from sparsecircuits.validate.catalogue import LEVELS, PAIRS, Level
from sparsecircuits.validate.distribution import on_distribution
from sparsecircuits.validate.exhaustive import exhaustive, quote_domain
from sparsecircuits.validate.known import outcome_of_stability
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.replay import replay
from sparsecircuits.validate.specificity import OtherTask, other_tasks, specificity
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Models with random weights of each kind of T9; seeds and bootstraps of T20.
WEIGHTS, SEEDS, BOOTSTRAPS = 3, 10, 5

#: ``watch(what is done, tests done, of)``.
Watch = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """How a run's circuits are checked.

    Attributes:
        level: quick, standard or full.
        only: these tests alone; none: all of the level.
        again: whether cards that are there are made anew.
        weights: models with random weights of each kind, for T9 at the level full.
        seeds, bootstraps: prunings of T20, at the level full.
        seed: of prompts and draws.
    """

    level: Level = "standard"
    only: tuple[str, ...] = ()
    again: bool = False
    weights: int = WEIGHTS
    seeds: int = SEEDS
    bootstraps: int = BOOTSTRAPS
    seed: int = 0


class RunChecker:
    """Checks circuits of one run; what they have in common is made once."""

    def __init__(self, run: Run, plan: CheckPlan) -> None:
        self.run, self.plan = run, plan
        self.model, self.tokenizer = run.model().to_sparse(), run.tokenizer()
        self.corpus = corpus_of(run)
        self._others: dict[tuple[str, int], dict[str, OtherTask]] = {}

    def load(self, circuit: Circuit, path: Path) -> Card | None:
        """The card that is there, if it is of this circuit and as thorough."""
        if self.plan.again or not path.is_file():
            return None
        try:
            card = Card.load(path)
        except CheckpointError:
            return None
        same = card.circuit_sha256 == circuit_hash(circuit) and card.thresholds_sha256 == THRESHOLDS.sha256
        enough = LEVELS.index(card.level) >= LEVELS.index(self.plan.level)
        asked = all(card.outcome(test) is not None for test in self.plan.only)
        return card if same and enough and asked else None

    def check(
        self,
        circuit: Circuit,
        task: Task,
        path: Path | None = None,
        *,
        folder: Path | None = None,
        watch: Watch | None = None,
    ) -> Card:
        """Test a circuit and write its card.

        Args:
            circuit: of the run's model.
            task: what it is said to do.
            path: where the card goes; None: nowhere.
            folder: where the circuit is saved, for replay; None: it is saved for the purpose.
            watch: told of each test.

        Raises:
            TaskError: the task does not fit the tokenizer.
        """
        plan, reports = self.plan, {}
        tests = level_tests(plan.level, only=plan.only)
        tests |= self._ours(circuit, tests, folder)
        extra = [] if plan.only or plan.level == "quick" else ["binarised", "distribution"]
        slow = self._slow()
        exhaust = plan.level != "quick" and not plan.only
        total, done = len(tests) + len(extra) + len(slow), 0

        def tell(what: str) -> None:
            nonlocal done
            if watch is not None:
                watch(what, done, total)
            done += 1

        union = self._complete(circuit, task)
        subject = Subject.of(
            self.model,
            circuit,
            task,
            self.tokenizer,
            self.corpus,
            pairs=PAIRS[plan.level],
            complete=union,
            seed=plan.seed,
        )
        card = check_circuit(subject, plan.level, tests=tests, watch=tell)
        for name in extra:
            tell(name)
            reports[name] = (binarise if name == "binarised" else on_distribution)(subject).to_dict()
        card = dataclasses.replace(card, reports=reports)
        more = []
        if task.name == SINGLE_DOUBLE_QUOTE.name and (exhaust or "T25" in plan.only):
            tell("T25")
            more.append(exhaustive(subject, quote_domain(self.tokenizer)))
        for test in slow:
            tell(test)
            self._prune_for(test, circuit, task)
        card = card.with_outcomes([*more, *self._measured(circuit, task)])
        if plan.level == "full" and (needed := card.outcome("T2")) is not None and needed.open:
            card = card.with_outcomes(self._necessity_of_union(subject, task))
        if path is not None:
            card.save(path)
        return card

    def _slow(self) -> list[str]:
        """Tests of this plan that take prunings."""
        tests = ["T8", "T9", *(["T20"] if self.plan.seeds + self.plan.bootstraps > 1 else [])]
        if self.plan.level != "full":
            return []
        return [test for test in tests if not self.plan.only or test in self.plan.only]

    def _ours(self, circuit: Circuit, tests: dict[str, Any], folder: Path | None) -> dict[str, Any]:
        """Tests that know the run: replay of its own files, other tasks found once."""
        saved = folder is not None and load_circuit(folder).equals(circuit)
        ours = {
            "T22": lambda subject: specificity(subject, others=self._other_tasks(subject)),
            "T24": lambda subject: replay(
                subject, model=self.run.folder / "model", circuit=folder if saved else None
            ),
        }
        return {test: run for test, run in ours.items() if test in tests}

    def _other_tasks(self, subject: Subject) -> dict[str, OtherTask]:
        longest = subject.config.max_tokens
        key = (subject.task.suite, longest)
        if key not in self._others:
            suites = [SUITES[key[0]]] if key[0] in SUITES else list(SUITES.values())
            tasks = [task for suite in suites for task in suite.values()]
            self._others[key] = other_tasks(
                self.model, self.tokenizer, tasks, max_tokens=longest, seed=self.plan.seed
            )
        return self._others[key]

    def _pruner(self, circuit: Circuit) -> RunPruner:
        """With the settings that the circuit was found with."""
        return RunPruner(self.run, PruneConfig.from_dict(dict(circuit.info.get("config", {}))))

    def _plain_pruner(self, circuit: Circuit) -> RunPruner:
        """With the objective ``task`` on the same prompts to the same target, whatever the circuit was found
        with: what is compared by size is to be found alike."""
        found = PruneConfig.from_dict(dict(circuit.info.get("config", {})))
        same = ("train_pairs", "selection_pairs", "validation_pairs", "heldout_pairs", "max_tokens")
        kept = {name: getattr(found, name) for name in (*same, "mean_tokens", "target", "seed")}
        return RunPruner(self.run, PruneConfig(objective="task", **kept))

    def _complete(self, circuit: Circuit, task: Task) -> Circuit | None:
        """The saved union of all circuits of the task, with this one's nodes."""
        folder = folder_of(self.run, task) / "union"
        if not (folder / CIRCUIT_FILE).is_file():
            return None
        union = load_circuit(folder)
        same = union.frozen.keys() == circuit.frozen.keys()
        ours = union.info.get("model_sha256") in (None, circuit.info.get("model_sha256"))
        return Circuit(circuit.task, union.nodes | circuit.nodes, circuit.frozen) if same and ours else None

    def _necessity_of_union(self, subject: Subject, task: Task) -> list[Outcome]:
        """T2 and T17 of the union, once it is found."""
        try:
            find_complete(self._plain_pruner(subject.circuit), task)
        except PruneError:
            return []
        union = self._complete(subject.circuit, task)
        if union is None:
            return []
        subject = dataclasses.replace(subject, complete=union)
        return [run(subject) for run in level_tests("standard", only=("T2", "T17")).values()]

    def _prune_for(self, test: str, circuit: Circuit, task: Task) -> None:
        """Do the prunings of a test; those that are done stay."""
        if test == "T20":
            plan = self.plan
            try:
                consensus(self._pruner(circuit), task, seeds=plan.seeds, bootstraps=plan.bootstraps)
            except PruneError:
                return
        else:
            counts = COUNTS[test] if test == "T8" else dict.fromkeys(COUNTS[test], self.plan.weights)
            run_controls(self._plain_pruner(circuit), task, counts)

    def _measured(self, circuit: Circuit, task: Task) -> list[Outcome]:
        """Outcomes of prunings that are there."""
        outcomes = control_outcomes(self.run, task, model_sha256=circuit.info.get("model_sha256"))
        folder = self.run.folder / "consensus" / task.name.replace(":", "_")
        if (folder / CIRCUIT_FILE).is_file():
            core = load_circuit(folder)
            if core.info.get("model_sha256") == circuit.info.get("model_sha256"):
                outcomes.append(outcome_of_stability(core.info["stability"]))
        return outcomes


def corpus_of(run: Run) -> np.ndarray | None:
    """[total] the run's training tokens; None where they are not at hand."""
    try:
        return run.corpus().train
    except DataError:
        return None
