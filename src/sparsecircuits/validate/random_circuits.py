"""Random circuits: does the circuit do better than others of its size? (T10; Shi et al. 2024.)

Each random circuit has as many active nodes at every site as the circuit has, others than its own. All else
is frozen to its means, as for the circuit. Besides the share that the circuit beats, a binomial test asks
whether that could be the luck of one that beats only nine of ten.
"""

from __future__ import annotations

import math

import torch

from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS


@torch.no_grad()
def random_circuits(subject: Subject, *, draws: int = 200) -> Outcome:
    """T10: the share of ``draws`` random circuits that the circuit beats, by its plain loss.

    Control: the share of the others that the first of them beats. The interval is over draws.
    """
    own = float(subject.circuit_losses(subject.some).mean())
    losses = torch.tensor(
        [
            float(subject.circuit_losses(subject.some, circuit).mean())
            for circuit in subject.random_circuits(draws)
        ]
    )
    wins = int((losses > own).sum())
    chance = binomial_tail(draws, wins, THRESHOLDS.random_null)
    share = wins / draws
    return Outcome(
        test="T10",
        estimate=share,
        interval=_wilson(wins, draws),
        control=float((losses[1:] > losses[0]).double().mean()) if draws > 1 else None,
        passed=share >= THRESHOLDS.random_quantile and chance <= THRESHOLDS.alpha,
        figures={
            "loss": own,
            "random_loss": float(losses.mean()),
            "random_best": float(losses.min()),
            "p": chance,
        },
        settings=subject.settings(
            subject.some,
            ablated="all other nodes",
            to="their means",
            draws=draws,
            drawn="as many active nodes at each site, the circuit's own last",
        ),
    )


def _wilson(wins: int, draws: int) -> Interval:
    """95% interval of a share of independent draws (Wilson's)."""
    z, share = 1.96, wins / draws
    middle = share + z * z / (2 * draws)
    reach = z * math.sqrt(share * (1 - share) / draws + z * z / (4 * draws * draws))
    scale = 1 + z * z / draws
    return Interval(max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale))


def binomial_tail(draws: int, wins: int, chance: float) -> float:
    """The probability of at least ``wins`` of ``draws``, each won with ``chance``.

    >>> binomial_tail(2, 1, 0.5)
    0.75
    """
    return math.fsum(
        math.comb(draws, k) * chance**k * (1 - chance) ** (draws - k) for k in range(wins, draws + 1)
    )
