"""Do the tests tell true circuits from false ones? The report card on planted models, where that is known.

Of each planted model

- the truth is put to every test: each failure is a *false fail*. It is the union of the minimal sets, as
  resampling and completeness ask for all copies. Minimality asks the first minimal set, as a copy is by its
  nature not needed; T4 and T5 ask the union with both nodes of the pair that cancels, as one of them restored
  alone overrules some programs, whatever the circuit. What T4 and T5 say without these is told beside;
- decoys (:mod:`~sparsecircuits.validate.planted.decoys`) are put to those tests that are to find them out. A
  decoy that passes T4 is a *false pass*; so is one with the verdict Robust;
- if asked for, the program's task and nonsense are pruned, and random weights: T8 and T9 of the truth.

The thresholds (:mod:`~sparsecircuits.validate.thresholds`) stand if both happen in at most 5% of cases.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from sparsecircuits.circuit import Circuit
from sparsecircuits.prune.config import PruneConfig
from sparsecircuits.prune.means import pretraining_means
from sparsecircuits.prune.splits import Splits
from sparsecircuits.validate.card import Test, level_tests, verdicts_of
from sparsecircuits.validate.controls import nonsense_control, random_weights_control
from sparsecircuits.validate.known import outcome_of_truth
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.planted.controls import planted_controls
from sparsecircuits.validate.planted.decoys import closed_circuit, half_pair, lacking_one, true_circuit
from sparsecircuits.validate.planted.plant import PlantedModel
from sparsecircuits.validate.planted.pruners import SETTINGS
from sparsecircuits.validate.subject import Subject

#: At most such a share of true circuits may fail, and of false ones pass.
ALLOWED = 0.05
#: Held-out pairs of each model.
PAIRS = 32
#: What decoys are put to: the tests of the verdicts Sufficient and Robust, less replay.
DECOY_TESTS = ("T1", "T2", "T3", "T4", "T5", "T10", "T11", "T13", "T16")
#: What a truth is put to closed under restoring, and told of without.
CLOSED = ("T4", "T5")
#: Nonsense maps and models of random weights of each kind.
MAPS, WEIGHTS = 2, 1

#: ``watch(models done, of which model, what is tested)``.
Watch = Callable[[int, PlantedModel, str], None]


@dataclass(frozen=True)
class Judged:
    """One circuit of one planted model, and what the tests say.

    Attributes:
        program, seed, level: which model.
        kind: ``true``, ``bare`` (the truth without the pair that cancels), ``half pair``, ``lacking`` or
            ``random``.
        outcomes: test -> its outcome.
    """

    program: str
    seed: int
    level: int
    kind: str
    outcomes: Mapping[str, Outcome]

    @property
    def robust(self) -> bool:
        """Whether every test of the verdict Robust passes, those of Sufficient too, but for replay and T2.

        A decoy beside the truth is redundant, which leaves T2 open; that alone must not save the others.
        """
        given = {test: Outcome(test=test, estimate=0.0, passed=True) for test in ("T2", "T24")}
        found = {**self.outcomes, **given}
        return {verdict.name: verdict.state for verdict in verdicts_of(found.values())}["Robust"] == "yes"


@dataclass(frozen=True)
class Rate:
    """How often something happened: ``wrong`` of ``count``."""

    name: str
    wrong: int
    count: int

    @property
    def share(self) -> float:
        """Of those that it could happen to; 0 of none."""
        return self.wrong / self.count if self.count else 0.0


@dataclass(frozen=True)
class Calibration:
    """What came of it.

    Attributes:
        judged: every circuit.
        false_fails: for each test, over true circuits that it applies to; and ``any of them``.
        false_passes: for each kind of decoy, those that pass T1 and T4; then those called Robust, over all.
        bare: failures of T4 and T5 without the pair that cancels; not judged.
    """

    judged: tuple[Judged, ...]
    false_fails: tuple[Rate, ...]
    false_passes: tuple[Rate, ...]
    bare: tuple[Rate, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether both are rare enough: no test fails more truths, nor all of them together."""
        return all(rate.share <= ALLOWED for rate in (*self.false_fails, *self.false_passes))


def calibrate(
    models: Iterable[PlantedModel],
    *,
    tests: Sequence[str] = (),
    controls: bool = False,
    watch: Watch | None = None,
) -> Calibration:
    """Put truths and decoys to the tests.

    Args:
        models: such as :func:`~sparsecircuits.validate.planted.planted_models` makes.
        tests: these alone; none: all of a single circuit.
        controls: prune each model for its task and for nonsense too, and models of random weights.
        watch: told of each circuit before it is tested.
    """
    judged: list[Judged] = []
    for done, planted in enumerate(models):
        for kind, circuit in _circuits(planted):
            if watch is not None:
                watch(done, planted, kind)
            judged.append(judge(planted, kind, circuit, tests))
        if controls:
            if watch is not None:
                watch(done, planted, "controls")
            true = next(i for i in range(len(judged) - 1, -1, -1) if judged[i].kind == "true")
            found = {**judged[true].outcomes, **_controls(planted)}
            judged[true] = dataclasses.replace(judged[true], outcomes=found)
    return summarise(judged)


def _controls(planted: PlantedModel) -> dict[str, Outcome]:
    """T8 and T9 of the program."""
    found = planted_controls(planted, MAPS, weights=WEIGHTS)
    target = SETTINGS.target
    return {
        "T8": nonsense_control(found.real, found.controls, target=target),
        "T9": random_weights_control(found.real, found.controls, target=target),
    }


def _circuits(planted: PlantedModel) -> list[tuple[str, Circuit]]:
    """The truth and the decoys that cost no pruning."""
    means, pairs = _means(planted), _pairs(planted)
    truth = true_circuit(planted, means, pairs)
    half = half_pair(planted, means, pairs)
    (other,) = _subject(planted, truth).random_circuits(1)
    found = [("true", truth), ("bare", truth), ("random", other)]
    found.append(("lacking", lacking_one(planted, means, pairs)))
    return found if half is None else [*found, ("half pair", half)]


def judge(planted: PlantedModel, kind: str, circuit: Circuit, tests: Sequence[str] = ()) -> Judged:
    """Put one circuit of a planted model to the tests."""
    known = {"true": (), "bare": CLOSED}.get(kind, DECOY_TESTS)
    wanted = [test for test in known if not tests or test in tests] if known else tests
    if known and not wanted:
        return Judged(planted.program.name, planted.seed, planted.level, kind, {})
    subject = _subject(planted, circuit)
    chosen: dict[str, Test] = level_tests("standard", only=wanted)
    outcomes = {}
    for test, run in chosen.items():
        if test == "T16" and kind == "true":
            minimal = true_circuit(planted, circuit.frozen, _pairs(planted), union=False)
            outcomes[test] = run(_subject(planted, minimal))
        elif test in CLOSED and kind == "true":
            closed = closed_circuit(planted, circuit.frozen, _pairs(planted))
            outcomes[test] = run(_subject(planted, closed))
        else:
            outcomes[test] = run(subject)
    if kind == "true":
        minimal = true_circuit(planted, circuit.frozen, _pairs(planted), union=False)
        outcomes["T21"] = outcome_of_truth(planted, minimal)
    return Judged(planted.program.name, planted.seed, planted.level, kind, outcomes)


def summarise(judged: Sequence[Judged]) -> Calibration:
    """Count false fails and false passes."""
    truths = [one for one in judged if one.kind == "true"]
    fails = []
    for test in dict.fromkeys(test for one in truths for test in one.outcomes):
        asked = [one.outcomes[test] for one in truths if one.outcomes[test].passed is not None]
        fails.append(Rate(test, sum(outcome.passed is False for outcome in asked), len(asked)))
    some = sum(any(outcome.passed is False for outcome in one.outcomes.values()) for one in truths)
    fails.append(Rate("any of them", some, len(truths)))
    passes = []
    decoys = [one for one in judged if one.kind not in ("true", "bare")]
    for kind in dict.fromkeys(one.kind for one in decoys):
        these = [one for one in decoys if one.kind == kind]
        wrong = sum(all(one.outcomes[t].passed for t in ("T1", "T4") if t in one.outcomes) for one in these)
        passes.append(Rate(f"{kind}: passes T1 and T4", wrong, len(these)))
    passes.append(Rate("any decoy: Robust", sum(one.robust for one in decoys), len(decoys)))
    bare = [one for one in judged if one.kind == "bare"]
    told = [
        Rate(test, sum(one.outcomes[test].passed is False for one in bare if test in one.outcomes), len(bare))
        for test in CLOSED
    ]
    return Calibration(tuple(judged), tuple(fails), tuple(passes), tuple(told))


def _subject(planted: PlantedModel, circuit: Circuit) -> Subject:
    return Subject.of(
        planted.model,
        circuit,
        planted.task,
        planted.tokenizer,
        planted.corpus,
        pairs=PAIRS,
        config=PruneConfig(objective="task"),
    )


@functools.lru_cache(maxsize=4)
def _means(planted: PlantedModel) -> dict:
    return pretraining_means(planted.model, planted.corpus, count=SETTINGS.mean_tokens)


@functools.lru_cache(maxsize=4)
def _pairs(planted: PlantedModel) -> Splits:
    return Splits.draw(planted.task, planted.tokenizer, SETTINGS, planted.model.config.n_ctx)
