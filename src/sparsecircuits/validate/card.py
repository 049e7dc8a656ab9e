"""The report card of a circuit: every test's outcome, and five verdicts that follow from them.

A verdict is *yes* if all tests that it needs pass (one that does not apply does not count), *no* if one of
them fails, and *open* while one of them has not been run. All verdicts but Sufficient need Sufficient too. A
failed test stays on the card.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.files import write_atomic
from sparsecircuits.validate.adversarial import adversarial_ablation
from sparsecircuits.validate.basics import (
    outcome_of_necessity,
    outcome_of_output_match,
    outcome_of_stochastic_ablation,
    outcome_of_sufficiency,
)
from sparsecircuits.validate.catalogue import KINDS, LEVELS, MEANINGS, VERDICTS, Level
from sparsecircuits.validate.completeness import completeness
from sparsecircuits.validate.generalise import heldout_gap, shifted
from sparsecircuits.validate.interchange import interchange
from sparsecircuits.validate.interchange_curve import interchange_to_full
from sparsecircuits.validate.internal_match import internal_match
from sparsecircuits.validate.mediation import mediation
from sparsecircuits.validate.minimality import minimality
from sparsecircuits.validate.norms import norm_sensitivity
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.random_circuits import random_circuits
from sparsecircuits.validate.replay import replay
from sparsecircuits.validate.resample import resample_ablation
from sparsecircuits.validate.specificity import specificity
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.validate.weights import weight_ablation

CARD_FILE = "card.json"
FORMAT = "sparsecircuits.card"
FORMAT_VERSION = 1

State = Literal["yes", "no", "open"]
Test = Callable[[Subject], Outcome]

#: Random circuits of T10 at the level ``quick``: as many as can reject its null hypothesis, and some more.
FEWER_DRAWS = 50


@dataclass(frozen=True)
class Verdict:
    """One of the five.

    Attributes:
        name: such as ``Robust``.
        state: yes, no or open.
        failed, missing: tests that it needs.
    """

    name: str
    state: State
    failed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def meaning(self) -> str:
        """What a yes says."""
        return MEANINGS[self.name]


@dataclass(frozen=True, kw_only=True)
class Card:
    """A circuit's report card.

    Attributes:
        task: what the circuit is said to do.
        level: how thoroughly it was tested.
        circuit_sha256, thresholds_sha256: what was judged, and by what.
        about: sizes, losses and settings of the circuit.
        outcomes: of the tests, in their order.
        reports: what was measured beside, by name, as plain data: ``binarised``, ``distribution``.
    """

    task: str
    level: Level
    circuit_sha256: str
    thresholds_sha256: str
    about: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    reports: Mapping[str, Any] = field(default_factory=dict)

    def outcome(self, test: str) -> Outcome | None:
        """That of one test, if it was run."""
        return next((outcome for outcome in self.outcomes if outcome.test == test), None)

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """All five, in their order."""
        return verdicts_of(self.outcomes)

    def with_outcomes(self, more: Iterable[Outcome]) -> Self:
        """A copy with the outcomes of further tests, in place of older ones of the same tests."""
        found = {outcome.test: outcome for outcome in (*self.outcomes, *more)}
        order = list(KINDS)
        ranked = sorted(found.values(), key=lambda outcome: order.index(outcome.test))
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return type(self)(**{**values, "outcomes": tuple(ranked)})

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON, verdicts and the tests' words included."""
        tests = []
        for outcome in self.outcomes:
            kind = KINDS[outcome.test]
            words = {name: getattr(kind, name) for name in ("name", "asks", "figure", "passes", "rules_out")}
            words["control_is"] = kind.control
            tests.append({**words, **outcome.to_dict(), "word": outcome.word})
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "level": self.level,
            "circuit_sha256": self.circuit_sha256,
            "thresholds_sha256": self.thresholds_sha256,
            "about": dict(self.about),
            "verdicts": [
                {
                    "name": verdict.name,
                    "state": verdict.state,
                    "meaning": verdict.meaning,
                    "failed": list(verdict.failed),
                    "missing": list(verdict.missing),
                }
                for verdict in self.verdicts
            ],
            "tests": tests,
            "reports": dict(self.reports),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` gave."""
        names = Outcome.__dataclass_fields__
        outcomes = [
            Outcome.from_dict({key: value for key, value in test.items() if key in names})
            for test in data["tests"]
        ]
        plain = ("task", "level", "circuit_sha256", "thresholds_sha256", "about", "reports")
        return cls(outcomes=tuple(outcomes), **{key: data[key] for key in plain})

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, allow_nan=False, ensure_ascii=False)
        write_atomic(path, (text + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            CheckpointError: missing, damaged, or of another format.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if (data["format"], data["format_version"]) != (FORMAT, FORMAT_VERSION):
                raise CheckpointError(f"{path}: not a report card of this release")
            return cls.from_dict(data)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{path}: damaged or missing: {error}") from error


def verdicts_of(outcomes: Iterable[Outcome]) -> tuple[Verdict, ...]:
    """The five verdicts that follow from some outcomes."""
    found = {outcome.test: outcome for outcome in outcomes}
    verdicts: list[Verdict] = []
    for name, needed in VERDICTS.items():
        failed = tuple(test for test in needed if test in found and found[test].passed is False)
        missing = tuple(test for test in needed if test not in found or found[test].open)
        state: State = "no" if failed else "open" if missing else "yes"
        if verdicts and verdicts[0].state != "yes" and state != "no":
            state = verdicts[0].state
        verdicts.append(Verdict(name, state, failed, missing))
    return tuple(verdicts)


def level_tests(level: Level, *, only: Iterable[str] = ()) -> dict[str, Test]:
    """The tests of one circuit that a level consists of, by their short names.

    Those that take prunings (T8, T9, T20) are not among them; nor is T25, which needs a domain.
    """
    if level not in LEVELS:
        raise ConfigError(f"unknown level {level!r}; known: {', '.join(LEVELS)}")
    draws = {"draws": FEWER_DRAWS} if level == "quick" else {}
    tests: dict[str, Test] = {
        "T1": outcome_of_sufficiency,
        "T2": outcome_of_necessity,
        "T3": outcome_of_output_match,
        "T4": outcome_of_stochastic_ablation,
        "T5": adversarial_ablation,
        "T6": resample_ablation,
        "T7": interchange,
        "T10": lambda subject: random_circuits(subject, **draws),
        "T11": heldout_gap,
        "T12": shifted,
        "T13": internal_match,
        "T14": interchange_to_full,
        "T15": norm_sensitivity,
        "T16": minimality,
        "T17": completeness,
        "T22": specificity,
        "T23": weight_ablation,
        "T24": replay,
        "T26": mediation,
    }
    chosen = [test for test in tests if LEVELS.index(KINDS[test].level) <= LEVELS.index(level)]
    return {test: tests[test] for test in chosen if not only or test in only}


def check_circuit(
    subject: Subject,
    level: Level = "standard",
    *,
    tests: Mapping[str, Test] | None = None,
    watch: Callable[[str], None] | None = None,
) -> Card:
    """Put a circuit to the tests of a level.

    Args:
        subject: what is tested; :data:`~.catalogue.PAIRS` says on how many pairs a level tests.
        level: quick, standard or full (of one circuit alone: the tests of many prunings join the card later).
        tests: other ones than the level's; see :func:`level_tests`.
        watch: told of each test before it is run.
    """
    outcomes = []
    for test, run in (level_tests(level) if tests is None else tests).items():
        if watch is not None:
            watch(test)
        outcomes.append(run(subject))
    circuit = subject.circuit
    return Card(
        task=circuit.task,
        level=level,
        circuit_sha256=circuit_hash(circuit),
        thresholds_sha256=THRESHOLDS.sha256,
        about={
            "nodes": len(circuit),
            "edges": circuit.edge_count(subject.model),
            "cut": len(circuit.cut),
            "scale": circuit.scale,
            "bias": circuit.bias,
            "target": subject.target,
            "objective": subject.config.objective,
            "prompts_sha256": subject.heldout.hash,
            "templates": sorted(set(subject.heldout.templates)),
            "complete_nodes": len(subject.complete),
        },
        outcomes=tuple(outcomes),
    )
