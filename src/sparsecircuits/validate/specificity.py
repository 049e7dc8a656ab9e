"""T22, specificity: without the circuit the model loses its task; does it lose others as well?

The circuit's nodes are frozen in the full model, all else live (as in the test of necessity). Measured are:

1. the own task's loss, and how much it rises;
2. that of every other task that the full model does, each under its own positive scale, fitted on train pairs
   of its own;
3. the loss on training text, in nats a token;
4. the same for random circuits of equal profile.

The mean harm to other tasks (a gain counts as none) over that to the own one is the estimate. Tasks of which
one name begins with the other share their mechanism by design (``set_or_string`` and
``set_or_string_fixedvarname``, or a variant): they are listed, not judged. Where several circuits do the
task, all of them are meant (``subject.complete``); cuts and gains play no part.

Finding out what a model does takes longer than the test: :func:`other_tasks` does it once for many circuits.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.data.batches import batch
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.errors import TaskError
from sparsecircuits.model import SparseGPT
from sparsecircuits.tasks import SUITES
from sparsecircuits.tasks.evaluate import DONE_ACCURACY
from sparsecircuits.tasks.loss import task_loss
from sparsecircuits.tasks.pairs import Task, TokenPairs
from sparsecircuits.tasks.score import Calibration, calibrated, fit_scale, pair_logits, score
from sparsecircuits.validate.interval import clustered_interval
from sparsecircuits.validate.necessity import random_circuit
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.planted.programs import PROGRAMS
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: A task's scale is fitted on so many train pairs.
FIT_PAIRS = 64
#: Nats; where the own task's loss rises by less, it does not suffer.
LEAST = 0.01
#: Windows of training text.
WINDOWS = 8


class OtherTask(NamedTuple):
    """A task that the full model does.

    Attributes:
        pairs: held-out ones.
        scale: factor on the full model's logits.
        accuracy: of the full model on them, with it.
    """

    pairs: TokenPairs
    scale: float
    accuracy: float


@torch.no_grad()
def other_tasks(
    model: SparseGPT,
    tokenizer: TextTokenizer,
    suite: Iterable[Task],
    *,
    pairs: int = 64,
    max_tokens: int = 64,
    seed: int = 0,
) -> dict[str, OtherTask]:
    """Those of ``suite`` that the model does: right on 95% of held-out prompts at least.

    Args:
        model: the full model.
        tokenizer: its own. A task that does not fit it is not among them.
        suite: tasks to try.
        pairs: held-out pairs of each.
        max_tokens: longest prompt; at most the model's context counts.
        seed: of the pairs.
    """
    longest, found = min(max_tokens, model.config.n_ctx), {}
    for task in suite:
        try:
            fitting = task.pairs(tokenizer, "train", FIT_PAIRS, seed=seed, max_tokens=longest)
            measured = task.pairs(tokenizer, "heldout", pairs, seed=seed, max_tokens=longest)
        except TaskError:
            continue
        scale = fit_scale(pair_logits(model, fitting), fitting)
        accuracy = score(pair_logits(model, measured), measured, Calibration(scale, 0.0)).accuracy
        if accuracy >= DONE_ACCURACY:
            found[task.name] = OtherTask(measured, scale, accuracy)
    return found


def suite_of(task: Task) -> list[Task]:
    """The tasks to ask a model about that does ``task``: its suite, with itself.

    A user's own task has none: then all suites are tried. That of a planted model has the planted ones.
    """
    planted = [program.task for program in PROGRAMS.values()]
    if task in planted:
        return planted
    suites = [SUITES[task.suite]] if task.suite in SUITES else list(SUITES.values())
    return [other for suite in suites for other in suite.values()]


@torch.no_grad()
def specificity(
    subject: Subject, *, others: Mapping[str, OtherTask] | None = None, pairs: int = 64, draws: int = 5
) -> Outcome:
    """Judge T22: mean harm to other tasks as a share of that to the own one.

    Args:
        subject: its ``complete`` circuit is meant.
        others: tasks that the full model does (:func:`other_tasks`), with or without the own one; None: those
            of its suite, found now.
        pairs: held-out pairs of each, where they are found now.
        draws: random circuits.

    Where the own task's loss does not rise (by :data:`LEAST`), the share is infinite and the test fails.
    """
    model, circuit = subject.model, subject.complete
    if others is None:
        suite, longest = suite_of(subject.task), subject.config.max_tokens
        others = other_tasks(
            model, subject.tokenizer, suite, pairs=pairs, max_tokens=longest, seed=subject.seed
        )
    others = {name: one for name, one in others.items() if name != subject.task.name}
    akin = {name: one for name, one in others.items() if _akin(name, subject.task.base)}
    judged = {name: one for name, one in others.items() if name not in akin}
    if not judged:
        return Outcome.not_applicable("T22", "the model does no other task", akin=sorted(akin))
    everything = {subject.task.name: OtherTask(subject.heldout, subject.scale, 1.0), **judged, **akin}
    window = _window(subject)
    full = _losses(model, everything, window)
    with circuit.removed(model):
        harm = _rise(_losses(model, everything, window), full)
    generator = torch.Generator().manual_seed(subject.seed)
    random = [_random_rise(subject, everything, window, full, generator) for _ in range(draws)]
    own = harm.tasks[subject.task.name]
    shares = {name: _share(harm.tasks[name], own) for name in judged}
    estimate = sum(shares.values()) / len(shares)
    worst = max(shares, key=lambda name: shares[name])
    finite = own > LEAST and len(judged) > 1
    return Outcome(
        test="T22",
        estimate=estimate,
        interval=clustered_interval(torch.tensor(list(shares.values())), list(shares), seed=subject.seed)
        if finite
        else None,
        control=_mean(_share(one.tasks[name], own) for one in random for name in judged),
        passed=estimate <= THRESHOLDS.specificity,
        figures={
            "own_harm": own,
            "harm": {name: harm.tasks[name] for name in judged},
            "harm_akin": {name: harm.tasks[name] for name in akin},
            "worst": max(0.0, harm.tasks[worst]),
            "worst_task": worst,
            "text_harm": harm.text,
            "random_own_harm": _mean(one.tasks[subject.task.name] for one in random),
            "random_text_harm": None if window is None else _mean(one.text or 0.0 for one in random),
        },
        settings=subject.settings(
            subject.heldout,
            ablated="the circuit in the full model",
            values="frozen values of the circuit",
            circuit="all circuits that do the task" if circuit is not subject.circuit else "itself",
            control="random circuits of equal profile: harm to other tasks by the circuit's to its own",
            other_prompts={name: 2 * len(one.pairs) for name, one in everything.items()},
            text_tokens=0 if window is None else window[:, 1:].numel(),
            draws=draws,
            interval="over other tasks",
        ),
        note="" if own > LEAST else "the task does not suffer without the circuit",
    )


class _Losses(NamedTuple):
    """Nats a prompt for each task, and nats a token of training text, if there is one."""

    tasks: dict[str, float]
    text: float | None


def _losses(model: SparseGPT, tasks: Mapping[str, OtherTask], window: Tensor | None) -> _Losses:
    losses = {}
    for name, (pairs, scale, _) in tasks.items():
        logits = calibrated(pair_logits(model, pairs), pairs, Calibration(scale, 0.0))
        losses[name] = float(task_loss(logits, pairs).mean())
    text = None if window is None else float(model.loss(window[:, :-1], window[:, 1:]))
    return _Losses(losses, text)


def _rise(losses: _Losses, full: _Losses) -> _Losses:
    text = None if losses.text is None or full.text is None else losses.text - full.text
    return _Losses({name: loss - full.tasks[name] for name, loss in losses.tasks.items()}, text)


def _random_rise(
    subject: Subject,
    tasks: Mapping[str, OtherTask],
    window: Tensor | None,
    full: _Losses,
    generator: torch.Generator,
) -> _Losses:
    drawn: Circuit = random_circuit(subject.complete, subject.active, generator)
    with drawn.removed(subject.model):
        return _rise(_losses(subject.model, tasks, window), full)


def _window(subject: Subject) -> Tensor | None:
    """[windows, n_ctx + 1] tokens of training text; None where there is none, or too little."""
    n_ctx = subject.model.config.n_ctx
    if subject.corpus is None or len(subject.corpus) <= n_ctx:
        return None
    return batch(subject.corpus, seed=subject.seed, step=0, rows=WINDOWS, n_ctx=n_ctx)


def _akin(name: str, base: str) -> bool:
    other = name.partition(":")[0]
    return other.startswith(base) or base.startswith(other)


def _share(harm: float, own: float) -> float:
    return max(0.0, harm) / own if own > LEAST else math.inf


def _mean(values: Iterable[float]) -> float | None:
    values = list(values)
    return sum(values) / len(values) if values else None
