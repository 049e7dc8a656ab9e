"""The first four tests (RIGOUR: T1 to T4) as outcomes, each with its control."""

from __future__ import annotations

import torch

from sparsecircuits.prune.restore import restored_rows
from sparsecircuits.tasks.score import Calibration
from sparsecircuits.validate.necessity import necessity
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.output_match import output_match
from sparsecircuits.validate.stochastic import DRAWS, StochasticAblation
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.sufficiency import sufficiency


def outcome_of_sufficiency(subject: Subject) -> Outcome:
    """T1: the circuit alone does the task. Control: the empty circuit, under the same calibration."""
    circuit, pairs = subject.circuit, subject.heldout
    found = sufficiency(subject.model, circuit, pairs, target=subject.target)
    empty = sufficiency(subject.model, circuit.keeping(()), pairs, target=subject.target)
    return Outcome(
        test="T1",
        estimate=found.loss,
        interval=found.interval,
        control=empty.loss,
        passed=found.passed,
        figures={
            "raw_loss": found.raw_loss,
            "accuracy": found.accuracy,
            "full_loss": float(subject.full_losses(pairs).mean()),
            "target": found.target,
        },
        settings=subject.settings(
            pairs, ablated="all other nodes", to="their means", scale=circuit.scale, bias=circuit.bias
        ),
    )


def outcome_of_necessity(subject: Subject, *, draws: int = 20) -> Outcome:
    """T2: without the (complete) circuit the task is lost. Control: random circuits, deleted likewise."""
    pairs, circuit = subject.heldout, subject.complete
    found = necessity(subject.model, circuit, subject.train, pairs, draws=draws, seed=subject.seed)
    alone = circuit is subject.circuit
    redundant = alone and not found.necessary
    return Outcome(
        test="T2",
        estimate=found.refitted_accuracy,
        control=found.random_change,
        passed=None if redundant else found.necessary,
        open=redundant,
        figures={
            "accuracy": found.accuracy,
            "loss": found.loss,
            "refitted_loss": found.refitted_loss,
            "random_worst": found.random_worst,
            "full_loss": found.full_loss,
            "nodes": len(circuit),
            "label": "necessary" if found.necessary else "redundant",
        },
        settings=subject.settings(
            pairs,
            ablated="the circuit" if alone else "the union of all circuits of the task",
            to="their means",
            refitted="scale and candidate bias, on the train split",
            draws=draws,
        ),
        note="redundant: the model does the task without it; prune --complete looks for the rest"
        if redundant
        else "",
    )


def outcome_of_output_match(subject: Subject) -> Outcome:
    """T3: the circuit answers as the model does. Control: a random circuit of equal profile."""
    pairs = subject.heldout
    found = output_match(subject.model, subject.circuit, pairs, full_scale=subject.scale)
    (random,) = subject.random_circuits(1)
    other = output_match(subject.model, random, pairs, full_scale=subject.scale)
    return Outcome(
        test="T3",
        estimate=found.divergence,
        interval=found.interval,
        control=other.divergence,
        passed=found.passed,
        figures={
            "worst": found.worst,
            "agreement": found.agreement,
            "control_agreement": other.agreement,
        },
        settings=subject.settings(
            pairs, ablated="all other nodes", to="their means", over="the answer and all else"
        ),
    )


@torch.no_grad()
def outcome_of_stochastic_ablation(subject: Subject, *, draws: int = DRAWS) -> Outcome:
    """T4: deleted nodes come back at random. Control: a random circuit of equal profile."""
    (random,) = subject.random_circuits(1)
    mean, other = _restored(subject, draws), _restored(subject.about(random), draws)
    found = StochasticAblation.of(mean.mean(1), subject.target)
    return Outcome(
        test="T4",
        estimate=found.mean,
        interval=subject.interval(mean.mean(0), subject.some),
        control=float(other.mean()),
        passed=found.passed,
        figures={
            "worst": found.worst,
            "error": found.error,
            "median": float(mean.mean(1).median()),
            "control_worst": float(other.mean(1).max()),
            "target": subject.target,
        },
        settings=subject.settings(
            subject.some,
            ablated="all other nodes, and cut edges, less a random share",
            to="their means",
            shared_by="all prompts",
            draws=draws,
        ),
    )


def _restored(subject: Subject, draws: int) -> torch.Tensor:
    """[draws, rows] losses."""
    rows = restored_rows(
        subject.model,
        subject.circuit,
        subject.some,
        held=Calibration(subject.scale, 0.0),
        draws=range(draws),
        seed=subject.seed,
    )
    return torch.stack(list(rows))
