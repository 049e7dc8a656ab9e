"""The first four tests (T1 to T4) as outcomes, each with its control."""

from __future__ import annotations

import dataclasses

import torch

from sparsecircuits.prune.restore import restored_rows
from sparsecircuits.tasks.score import Calibration
from sparsecircuits.validate.necessity import necessity
from sparsecircuits.validate.outcome import Outcome, missed
from sparsecircuits.validate.output_match import output_match
from sparsecircuits.validate.stochastic import DRAWS, StochasticAblation
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.sufficiency import sufficiency
from sparsecircuits.validate.thresholds import THRESHOLDS


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
    """T2: without the circuit the task is lost. Control: random circuits, deleted likewise.

    A circuit that is redundant alone is asked together with all others of the task, where they are known
    (``subject.complete``). Then it must also be one of the ways: with the others deleted and it left, the
    model still does the task. (Anything beside the others would pass else, even no node at all.)
    """
    circuit, pairs, seed = subject.circuit, subject.heldout, subject.seed
    alone = necessity(subject.model, circuit, subject.train, pairs, draws=draws, seed=seed)
    union = subject.complete
    others = union.keeping(union.nodes - circuit.nodes)
    together, left, passed, note = alone, None, alone.necessary, ""
    is_open = not alone.necessary and not others.nodes
    if others.nodes and not alone.necessary:
        together = necessity(subject.model, union, subject.train, pairs, draws=draws, seed=seed)
        left = necessity(subject.model, others, subject.train, pairs, draws=1, seed=seed).refitted_accuracy
        passed = together.necessary and left >= THRESHOLDS.one_way
        note = f"redundant alone; judged with the {len(others)} nodes of the task's other circuits"
    elif is_open:
        note = "redundant: the model does the task without it; prune --complete looks for the rest"
    return Outcome(
        test="T2",
        estimate=together.refitted_accuracy,
        interval=together.interval,
        control=together.random_change,
        passed=None if is_open else passed,
        open=is_open,
        figures={
            "accuracy": together.accuracy,
            "loss": together.loss,
            "refitted_loss": together.refitted_loss,
            "random_worst": together.random_worst,
            "full_loss": together.full_loss,
            "nodes": len(circuit) if together is alone else len(union),
            "label": "necessary" if alone.necessary else "redundant",
            "alone_accuracy": alone.accuracy,
            "alone_refitted_accuracy": alone.refitted_accuracy,
            "accuracy_by_it_among_the_circuits": left,
        },
        settings=subject.settings(
            pairs,
            ablated="the circuit" if together is alone else "the union of all circuits of the task",
            to="their means",
            refitted="scale and candidate bias, on the train split",
            draws=draws,
        ),
        note=note,
    )


def outcome_of_output_match(subject: Subject) -> Outcome:
    """T3: the circuit answers as the model does. Control: a random circuit of equal profile.

    The circuit's logits are under its own scale (and bias), as in T1: that is what it says it answers.
    """
    pairs, circuit, t = subject.heldout, subject.circuit, THRESHOLDS
    found = output_match(subject.model, circuit, pairs, full_scale=subject.scale)
    alike = dataclasses.replace(circuit, scale=subject.scale, bias=0.0)
    plain = output_match(subject.model, alike, pairs, full_scale=subject.scale)
    (random,) = subject.random_circuits(1)
    other = output_match(subject.model, random, pairs, full_scale=subject.scale)
    return Outcome(
        test="T3",
        estimate=found.divergence,
        interval=found.interval,
        control=other.divergence,
        passed=found.passed,
        note=missed(
            most={
                "mean": (found.divergence, t.divergence),
                "99th percentile": (found.worst, t.worst_divergence),
            },
            least={"agreement": (found.agreement, t.agreement)},
        ),
        figures={
            "worst": found.worst,
            "agreement": found.agreement,
            "under_the_models_scale": plain.divergence,
            "control_agreement": other.agreement,
        },
        settings=subject.settings(
            pairs,
            ablated="all other nodes",
            to="their means",
            over="the answer and all else",
            circuit_scale=circuit.scale,
            circuit_bias=circuit.bias,
        ),
    )


@torch.no_grad()
def outcome_of_stochastic_ablation(subject: Subject, *, draws: int = DRAWS) -> Outcome:
    """T4: deleted nodes come back at random. Control: a random circuit of equal profile."""
    (random,) = subject.random_circuits(1)
    mean, other = _restored(subject, draws), _restored(subject.about(random), draws)
    found, limit = StochasticAblation.of(mean.mean(1), subject.target), THRESHOLDS.stochastic_worst
    return Outcome(
        test="T4",
        estimate=found.mean,
        interval=subject.interval(mean.mean(0), subject.some),
        control=float(other.mean()),
        passed=found.passed,
        note=missed(most={"worst draw": (found.worst, limit)}),
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
        seed=subject.draw_seed,
    )
    return torch.stack(list(rows))
