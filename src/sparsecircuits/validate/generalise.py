"""Does a circuit do on new prompts what it does on old ones, and fail where the model fails?

T11 compares held-out prompts, of other templates, words and lengths, with those that circuits are found on.
T12 puts circuit and model before *shifted* prompts (:mod:`sparsecircuits.tasks.variants`): a bracket in a
comment, a long list. A circuit that is the model's mechanism foretells on which of them the model fails
(Gao et al. 2025, §3.2, Figs 5 and 8); one that merely fits the task need not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import TaskError
from sparsecircuits.tasks import variants_of
from sparsecircuits.tasks.loss import answer_advantage, correct
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, calibrated, pair_logits
from sparsecircuits.validate.interval import Interval, drawn_weights, middle, templates_of_rows
from sparsecircuits.validate.outcome import Outcome, missed
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: The model fails on a variant if it is wrong on so many prompts.
FAILS = 0.05
#: Prompts of each variant that a card shows.
SHOWN = 3


@torch.no_grad()
def heldout_gap(subject: Subject) -> Outcome:
    """T11: held-out loss less train loss. Control: the full model's own gap.

    The interval is over held-out prompts, the train loss as it is.
    """
    found, full = _gap(subject, subject.circuit), _gap(subject, None)
    loss, accuracy = found["loss"], found["accuracy"]
    low, high = subject.interval(subject.circuit_losses(subject.heldout), subject.heldout)
    return Outcome(
        test="T11",
        estimate=loss[1] - loss[0],
        interval=Interval(low - loss[0], high - loss[0]),
        control=full["loss"][1] - full["loss"][0],
        passed=loss[1] - loss[0] <= THRESHOLDS.heldout_gap
        and accuracy[0] - accuracy[1] <= THRESHOLDS.heldout_accuracy_gap,
        figures={
            "train_loss": loss[0],
            "heldout_loss": loss[1],
            "train_accuracy": accuracy[0],
            "heldout_accuracy": accuracy[1],
            "full_accuracy_gap": full["accuracy"][0] - full["accuracy"][1],
        },
        settings=subject.settings(
            subject.heldout,
            ablated="all other nodes",
            to="their means",
            against=f"{2 * len(subject.train)} prompts of the train split",
        ),
    )


def _gap(subject: Subject, circuit: Circuit | None) -> dict[str, list[float]]:
    """Losses and accuracies on train and held-out pairs."""
    found: dict[str, list[float]] = {"loss": [], "accuracy": []}
    for pairs in (subject.train, subject.heldout):
        scaled = _scaled(subject, circuit, pairs)
        found["loss"].append(float(subject.losses(scaled / subject.scale, pairs).mean()))
        found["accuracy"].append(float(correct(scaled, pairs).float().mean()))
    return found


def _scaled(subject: Subject, circuit: Circuit | None, pairs: TokenPairs) -> Tensor:
    """Logits under the model's scale, of the circuit or of the whole model."""
    held = Calibration(subject.scale, 0.0)
    if circuit is None:
        return calibrated(pair_logits(subject.model, pairs), pairs, held)
    with circuit.installed(subject.model, sealed=True):
        return calibrated(pair_logits(subject.model, pairs), pairs, held)


@torch.no_grad()
def shifted(subject: Subject, *, pairs: int | None = None, variants: list[Task] | None = None) -> Outcome:
    """T12: do circuit and model fail on the same shifted prompts?

    Judged on every variant on which the model is wrong at least :data:`FAILS` of the time; the worst counts.
    Where a model always gives the same answer, so does many a circuit, and kappa is high; so the correlation
    of their leads must be, too: of the left answer over the right one, which says nothing of sides. The
    interval is that of the worst variant's kappa, over its templates.

    Args:
        subject: what is tested.
        pairs: of each variant; None: as many as the subject has held-out ones.
        variants: shifted tasks; None: the built-in ones of the subject's task.
    """
    variants = variants_of(subject.task) if variants is None else variants
    rows = [_variant(subject, variant, pairs or len(subject.heldout)) for variant in variants]
    judged = [row for row in rows if row.get("judged")]
    unfit = [row for row in rows if "note" in row]
    if unfit and not judged:
        return Outcome(
            test="T12",
            estimate=None,
            passed=None,
            open=True,
            figures={"variants": rows},
            note=f"a shifted variant does not fit this tokenizer: {unfit[0]['note']}",
        )
    if not judged:
        why = (
            "the model does not fail on its shifted variants" if rows else "the task has no shifted variants"
        )
        return Outcome.not_applicable("T12", why, variants=rows)
    worst = min(judged, key=lambda row: row["kappa"])
    least = min(row["correlation"] for row in judged)
    return Outcome(
        test="T12",
        note=missed(least={"correlation": (least, THRESHOLDS.shift_correlation)}),
        estimate=worst["kappa"],
        interval=Interval(*worst["kappa_interval"]),
        control=worst["control_kappa"],
        passed=all(
            row["correlation"] >= THRESHOLDS.shift_correlation and row["kappa"] >= THRESHOLDS.shift_kappa
            for row in judged
        ),
        figures={
            "correlation": least,
            "worst_variant": worst["variant"],
            "variants": rows,
        },
        settings=subject.settings(subject.heldout, ablated="all other nodes", to="their means"),
    )


def _variant(subject: Subject, variant: Task, count: int) -> dict[str, Any]:
    """What model, circuit and a random circuit do on one variant."""
    longest = min(subject.config.max_tokens, subject.model.config.n_ctx)
    try:
        pairs = variant.pairs(subject.tokenizer, "heldout", count, seed=subject.seed, max_tokens=longest)
    except TaskError as error:
        return {"variant": variant.name, "judged": False, "note": str(error).splitlines()[0]}
    (random,) = subject.random_circuits(1)
    whole, own, other = (_scaled(subject, circuit, pairs) for circuit in (None, subject.circuit, random))
    right = correct(whole, pairs), correct(own, pairs)
    lead = answer_advantage(whole, pairs), answer_advantage(own, pairs)
    # Of the left answer over the right one: which side is right must not help, or a circuit that always says
    # the same would agree with a model that does.
    side = torch.ones(len(right[0]))
    side[len(pairs) :] = -1
    wrong = 1 - float(right[0].float().mean())
    return {
        "variant": variant.name,
        "judged": wrong >= FAILS,
        "prompts": 2 * len(pairs),
        "model_accuracy": 1 - wrong,
        "circuit_accuracy": float(right[1].float().mean()),
        "correlation": correlation(side * lead[0], side * lead[1]),
        "agreement": float((right[0] == right[1]).float().mean()),
        "kappa": kappa(*right),
        "kappa_interval": list(kappa_interval(*right, templates_of_rows(pairs), seed=subject.seed)),
        "foretold": float((~right[1])[~right[0]].float().mean()) if wrong else None,
        "control_kappa": kappa(right[0], correct(other, pairs)),
        "examples": _examples(pairs, ~right[0] & ~right[1], *lead),
    }


def _examples(pairs: TokenPairs, both_wrong: Tensor, *leads: Tensor) -> list[dict[str, Any]]:
    """A few prompts on which the circuit foretells that the model fails."""
    shown = []
    for row in torch.nonzero(both_wrong).flatten().tolist()[:SHOWN]:
        text = pairs.texts[row % len(pairs)]
        left = row < len(pairs)
        shown.append(
            {
                "prompt": text.left if left else text.right,
                "answer": text.left_answer if left else text.right_answer,
                "model": float(leads[0][row].sigmoid()),
                "circuit": float(leads[1][row].sigmoid()),
            }
        )
    return shown


def correlation(one: Tensor, other: Tensor) -> float:
    """Pearson's, of [rows] each; 0 where either is constant.

    >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 6.0])), 6)
    1.0
    """
    a, b = one.double() - one.double().mean(), other.double() - other.double().mean()
    size = float(a.norm() * b.norm())
    return float(a @ b) / size if size else 0.0


def kappa(one: Tensor, other: Tensor) -> float:
    """Cohen's: agreement of two yes-or-no judges beyond what their shares alone give; 1 if they always agree.

    >>> kappa(torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False]))
    0.0
    """
    return float(_kappas(one, other, torch.ones(1, len(one), dtype=torch.double)))


def kappa_interval(one: Tensor, other: Tensor, clusters: Sequence[str], *, seed: int = 0) -> Interval:
    """95% interval of :func:`kappa`, worked out anew for each draw of whole clusters."""
    return middle(_kappas(one, other, drawn_weights(clusters, seed=seed)))


def _kappas(one: Tensor, other: Tensor, weights: Tensor) -> Tensor:
    """[draws] kappa where rows count by ``weights`` [draws, rows]."""
    same, yes, also = (weights @ which.double() / weights.sum(1) for which in (one == other, one, other))
    chance = yes * also + (1 - yes) * (1 - also)
    beyond = 1 - chance
    varied = beyond > 1e-9  # else both always say the same, and rounding would be divided by rounding
    return torch.where(varied, (same - chance) / beyond.where(varied, torch.ones_like(beyond)), 1.0)
