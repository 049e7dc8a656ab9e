"""Report cards of a run's circuits: the tests of one circuit, and those that take many prunings.

A card lies beside its circuit, as ``RUN/circuits/TASK/card.json``; one of the same model, circuit, thresholds
and tests, and of that level or a higher one, is loaded, not made again. The tests of one circuit come from
:mod:`sparsecircuits.validate.card`. At the level ``full`` these join, all of them kept and gone on with:

- T8 and T9, from the controls in ``RUN/controls`` (:mod:`sparsecircuits.study.controls`);
- T20, from 10 seeds and 5 bootstraps in ``RUN/consensus`` (:mod:`sparsecircuits.study.consensus`);
- where the circuit alone is not necessary, the union of all circuits of the task, in ``RUN/complete``.

Beside the tests stand, at the levels standard and full, the nodes as two-level steps and their part in the
loss on the training distribution; the pictures of both lie beside the card.

What of these is there already, of the same model, task and settings, joins a card of any level. A card is
written before the prunings begin, and again after each test of them.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sparsecircuits.circuit import Circuit, load_circuit
from sparsecircuits.circuit.files import CIRCUIT_FILE, circuit_hash
from sparsecircuits.errors import CheckpointError, DataError, PruneError, TaskError
from sparsecircuits.model import Node
from sparsecircuits.prune import PruneConfig
from sparsecircuits.study.complete import RESULT_FILE, find_complete, folder_of
from sparsecircuits.study.consensus import consensus, lines_of
from sparsecircuits.study.controls import COUNTS, control_outcomes, run_controls
from sparsecircuits.study.lines import read_lines
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.tasks import SUITES, Task
from sparsecircuits.tasks.own import is_of
from sparsecircuits.tasks.strings import SINGLE_DOUBLE_QUOTE
from sparsecircuits.train import Run
from sparsecircuits.validate.binarise import binarise
from sparsecircuits.validate.card import Card, check_circuit, level_tests
from sparsecircuits.validate.catalogue import LEVELS, PAIRS, VERSION, Level
from sparsecircuits.validate.distribution import on_distribution
from sparsecircuits.validate.exhaustive import exhaustive, quote_domain
from sparsecircuits.validate.known import outcome_of_stability
from sparsecircuits.validate.necessity import necessity
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.replay import replay
from sparsecircuits.validate.specificity import OtherTask, other_tasks, specificity
from sparsecircuits.validate.stability import jaccard
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.viz.style import save_chart
from sparsecircuits.viz.truth_charts import binarise_chart, distribution_chart

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
        seeds, bootstraps: prunings of T20, at the level full; without seeds there is no T20.
        seed: of prompts and draws.
    """

    level: Level = "standard"
    only: tuple[str, ...] = ()
    again: bool = False
    weights: int = WEIGHTS
    seeds: int = SEEDS
    bootstraps: int = BOOTSTRAPS
    seed: int = 0

    @property
    def slow(self) -> list[str]:
        """Tests of this plan that take prunings."""
        if self.level != "full":
            return []
        stable = self.seeds >= 1 and self.seeds + self.bootstraps > 1
        tests = ["T8", "T9", *(["T20"] if stable else [])]
        return [test for test in tests if not self.only or test in self.only]

    @property
    def prunings(self) -> dict[str, int]:
        """How many, for a card to say; none below the level full."""
        full = self.level == "full"
        return {name: getattr(self, name) if full else 0 for name in ("weights", "seeds", "bootstraps")}


class _Report(NamedTuple):
    """Something measured beside the tests, and its picture."""

    measure: Callable[[Subject], Any]
    draw: Callable[[Any, str], Figure]


def picture_path(card: Path, name: str) -> Path:
    """Where the picture of a report lies: beside its card.

    >>> picture_path(Path("a/card.json"), "binarised").as_posix()
    'a/card-binarised.png'
    """
    return card.with_name(f"{card.stem}-{name}.png")


class RunChecker:
    """Checks circuits of one run; what they have in common is made once."""

    def __init__(self, run: Run, plan: CheckPlan) -> None:
        self.run, self.plan = run, plan
        self.pruner = RunPruner(run, PruneConfig())
        self.model, self.tokenizer = self.pruner.model, self.pruner.tokenizer
        self.corpus = corpus_of(run)
        self._others: dict[tuple[str, int], dict[str, OtherTask]] = {}

    def load(self, circuit: Circuit, task: Task, path: Path) -> Card | None:
        """The card that is there, if it is of this model, circuit and plan; with what was measured since."""
        if self.plan.again or not path.is_file():
            return None
        try:
            card = Card.load(path)
        except CheckpointError:
            return None
        union = self._complete(circuit, task)
        told = self._about(circuit if union is None else union)
        same = card.circuit_sha256 == circuit_hash(circuit) and card.thresholds_sha256 == THRESHOLDS.sha256
        equal = all(card.about.get(key) == value for key, value in told.items())
        enough = all(card.about.get(key, 0) >= count for key, count in self.plan.prunings.items())
        thorough = LEVELS.index(card.level) >= LEVELS.index(self.plan.level)
        if not (same and equal and enough and thorough and all(map(card.outcome, self.plan.only))):
            return None
        return card.with_outcomes(self._measured(circuit, task))

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
            CheckpointError: the circuit is of another model.
            TaskError: the task does not fit the tokenizer.
        """
        if circuit.info.get("model_sha256", self.pruner.hash) != self.pruner.hash:
            raise CheckpointError(f"{self.run.folder}: the circuit for {circuit.task} is of another model")
        plan = self.plan
        tests = level_tests(plan.level, only=plan.only)
        tests |= self._ours(tests, circuit, folder)
        reports = {} if plan.only or plan.level == "quick" else self._reports()
        if "T25" in plan.only or (reports and task.name == SINGLE_DOUBLE_QUOTE.name):
            tests["T25"] = self._exhaustive
        total, done = len(tests) + len(reports) + len(plan.slow), 0

        def tell(what: str) -> None:
            nonlocal done
            if watch is not None:
                watch(what, done, total)
            done += 1

        def along(what: str) -> None:
            if watch is not None:
                watch(what, done - 1, total)

        subject = self._subject(circuit, task)
        card = check_circuit(subject, plan.level, tests=tests, watch=tell)
        told: dict[str, Any] = {}
        for name, report in reports.items():
            tell(name)
            found = report.measure(subject)
            told[name] = found.to_dict()
            if path is not None:
                title = f"{circuit.task}, {len(circuit)} nodes"
                save_chart(report.draw(found, title), picture_path(path, name))
        about = {**card.about, **self._about(subject.complete), **plan.prunings}
        card = dataclasses.replace(card, reports=told, about=about)
        for test in (None, *plan.slow):
            failed = []
            if test is not None:
                tell(test)
                failed = self._prune_for(test, circuit, task, along)
            card = card.with_outcomes([*failed, *self._measured(circuit, task)])
            if path is not None and not self._better_there(card, path):
                card.save(path)
        return card

    def _better_there(self, card: Card, path: Path) -> bool:
        """Whether a more thorough card of the same circuit is there, which this one must not replace."""
        try:
            there = Card.load(path)
        except CheckpointError:
            return False
        higher = LEVELS.index(there.level) > LEVELS.index(card.level)
        return higher and there.circuit_sha256 == card.circuit_sha256 and not self.plan.again

    def _about(self, complete: Circuit) -> dict[str, Any]:
        """What a card says besides the circuit, and must say still to be loaded."""
        return {
            "model_sha256": self.pruner.hash,
            "tests_version": VERSION,
            "seed": self.plan.seed,
            "complete_sha256": circuit_hash(complete),
        }

    def _subject(self, circuit: Circuit, task: Task) -> Subject:
        """The circuit under test, with the union of all circuits where it is redundant and that is known."""
        subject = Subject.of(
            self.model,
            circuit,
            task,
            self.tokenizer,
            self.corpus,
            pairs=PAIRS[self.plan.level],
            complete=self._complete(circuit, task),
            seed=self.plan.seed,
        )
        if self.plan.level != "full" or self.plan.only or subject.complete is not circuit:
            return subject
        alone = necessity(self.model, circuit, subject.train, subject.heldout, draws=1, seed=self.plan.seed)
        if alone.necessary or self.corpus is None:
            return subject
        try:
            find_complete(self._plain_pruner(circuit), task)
        except PruneError:
            return subject
        union = self._complete(circuit, task)
        return subject if union is None else dataclasses.replace(subject, complete=union)

    def _ours(self, tests: dict[str, Any], circuit: Circuit, folder: Path | None) -> dict[str, Any]:
        """Tests that know the run: replay of its own files, other tasks found once."""
        saved = folder is not None and load_circuit(folder).equals(circuit)
        ours = {
            "T22": lambda subject: specificity(subject, others=self._other_tasks(subject)),
            "T24": lambda subject: replay(
                subject, model=self.run.folder / "model", circuit=folder if saved else None
            ),
        }
        return {test: run for test, run in ours.items() if test in tests}

    def _exhaustive(self, subject: Subject) -> Outcome:
        """T25 on the domain of the one built-in task that has one."""
        if subject.task.name != SINGLE_DOUBLE_QUOTE.name:
            return Outcome.not_applicable(
                "T25", f"no domain and no program are written for {subject.task.name}"
            )
        return exhaustive(subject, quote_domain(self.tokenizer))

    def _reports(self) -> dict[str, _Report]:
        """What stands on a card beside the tests; the second needs text."""
        found = {"binarised": _Report(binarise, binarise_chart)}
        if self.corpus is not None:
            found["distribution"] = _Report(on_distribution, distribution_chart)
        return found

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

    def _own_pruner(self, circuit: Circuit) -> RunPruner:
        """With the settings that the circuit was found with."""
        self.pruner.configure(PruneConfig.from_dict(dict(circuit.info.get("config", {}))))
        return self.pruner

    def _plain_pruner(self, circuit: Circuit) -> RunPruner:
        """With the objective ``task`` on the same prompts to the same target, whatever the circuit was found
        with: what is compared by size is to be found alike."""
        found = PruneConfig.from_dict(dict(circuit.info.get("config", {})))
        same = ("train_pairs", "selection_pairs", "validation_pairs", "heldout_pairs", "max_tokens")
        kept = {name: getattr(found, name) for name in (*same, "mean_tokens", "target", "seed")}
        self.pruner.configure(PruneConfig(objective="task", **kept))
        return self.pruner

    def _complete(self, circuit: Circuit, task: Task) -> Circuit | None:
        """The union of all circuits of the task with this one's nodes, if it was found to be complete."""
        folder = folder_of(self.run, task)
        try:
            told = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
            union = load_circuit(folder / "union")
        except (OSError, ValueError, CheckpointError):
            return None
        ours = union.info.get("model_sha256", self.pruner.hash) == self.pruner.hash
        if not (told.get("complete") and ours and union.frozen.keys() == circuit.frozen.keys()):
            return None
        return Circuit(circuit.task, union.nodes | circuit.nodes, circuit.frozen)

    def _prune_for(
        self, test: str, circuit: Circuit, task: Task, tell: Callable[[str], None]
    ) -> list[Outcome]:
        """Do the prunings of a test; those that are done stay. Gives an outcome only where they cannot be.

        ``tell`` hears which pruning goes on, how far it is, and its loss.
        """
        plan = self.plan
        try:
            if test == "T20":
                pruner = self._own_pruner(circuit)
                consensus(
                    pruner,
                    task,
                    seeds=plan.seeds,
                    bootstraps=plan.bootstraps,
                    watch=lambda name, done, loss: tell(f"T20 {name}: mask step {done}, loss {loss:.3f}"),
                )
            else:
                counts = COUNTS[test] if test == "T8" else dict.fromkeys(COUNTS[test], plan.weights)
                run_controls(
                    self._plain_pruner(circuit),
                    task,
                    counts,
                    lambda name, stage, done, loss: tell(
                        f"{test} {name}: "
                        + (f"mask step {done}" if stage == "masks" else f"choosing: {done:,} nodes")
                        + f", loss {loss:.3f}"
                    ),
                )
        except (PruneError, TaskError, DataError) as error:
            return [
                Outcome(test=test, estimate=None, passed=None, open=True, note=str(error).splitlines()[0])
            ]
        return []

    def _measured(self, circuit: Circuit, task: Task) -> list[Outcome]:
        """Outcomes of prunings that are there, of this model, task and the circuit's settings."""
        only = self.plan.only
        if only and not {"T8", "T9", "T20"} & set(only):
            return []
        outcomes = [
            outcome
            for outcome in control_outcomes(self._plain_pruner(circuit), task)
            if not only or outcome.test in only
        ]
        pruner = self._own_pruner(circuit)
        path = lines_of(pruner, task)
        folder = path.with_suffix("")
        if not (folder / CIRCUIT_FILE).is_file() or (only and "T20" not in only):
            return outcomes
        core = load_circuit(folder)
        ours = core.info.get("model_sha256") == pruner.hash and is_of(core.info, task)
        if ours and core.info.get("config") == pruner.config.to_dict():
            others = [
                frozenset(map(Node.parse, row["names"])) for row in read_lines(path) if row.get("names")
            ]
            own = fmean(jaccard(circuit.nodes, nodes) for nodes in others)
            outcomes.append(outcome_of_stability(core.info["stability"], own=own))
        return outcomes


def corpus_of(run: Run) -> np.ndarray | None:
    """[total] the run's training tokens; None where they are not at hand."""
    try:
        return run.corpus().train
    except DataError:
        return None
