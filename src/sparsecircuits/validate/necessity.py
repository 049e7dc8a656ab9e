"""Necessity: delete only the circuit from the full model, and the task should be lost (Fig 32).

Deleted nodes are frozen to their means, everything else stays live. Accuracy near one half means
that the model cannot do the task without the circuit. Loss and accuracy are given raw and after
refitting scale *and* candidate bias of the ablated model on the train split: there the refit works
against the claim, so it is allowed everything. Beside it stand random circuits of equal profile:
the same number of nodes at each site, drawn from other nodes that are active on the task's prompts.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.model import Node, SiteName, SparseGPT, record
from sparsecircuits.tasks.loss import correct
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.tasks.score import calibrated, fit_scale_and_bias, pair_logits, score
from sparsecircuits.validate.interval import Interval, clustered_interval, templates_of_rows
from sparsecircuits.validate.thresholds import THRESHOLDS


@dataclass(frozen=True)
class Necessity:
    """What is left of a task without its circuit, on held-out pairs.

    Attributes:
        accuracy, loss: of the full model without the circuit, raw.
        refitted_accuracy, refitted_loss: after refitting scale and candidate bias on the train split.
        full_loss: of the full model, raw.
        random_loss: mean over random circuits, deleted likewise, raw.
        random_worst: the largest of them.
        draws: how many random circuits.
        interval: of ``refitted_accuracy``, 95% over templates, the fit as it is; None where it was not kept.
    """

    accuracy: float
    loss: float
    refitted_accuracy: float
    refitted_loss: float
    full_loss: float
    random_loss: float
    random_worst: float
    draws: int
    interval: Interval | None = None

    @property
    def necessary(self) -> bool:
        """Whether the task is lost without the circuit; if not, the circuit is *redundant*."""
        low, high = THRESHOLDS.chance_low, THRESHOLDS.chance_high
        return low <= self.accuracy <= high and low <= self.refitted_accuracy <= high

    @property
    def random_change(self) -> float:
        """How much deleting a random circuit raises the loss, in nats."""
        return self.random_loss - self.full_loss


@torch.no_grad()
def necessity(
    model: SparseGPT,
    circuit: Circuit,
    train: TokenPairs,
    heldout: TokenPairs,
    *,
    draws: int = 20,
    draw_pairs: int = 128,
    seed: int = 0,
) -> Necessity:
    """Measure :class:`Necessity`.

    Args:
        model: the full model.
        circuit: what is deleted from it.
        train: pairs on which the ablated model is refitted.
        heldout: pairs on which everything is measured.
        draws: random circuits.
        draw_pairs: random circuits are measured on so many held-out pairs, as is ``full_loss``.
        seed: of the draws.
    """
    with circuit.removed(model):
        train_logits, logits = pair_logits(model, train), pair_logits(model, heldout)
    raw = score(logits, heldout)
    fitted = fit_scale_and_bias(train_logits, train)
    refitted = score(logits, heldout, fitted)
    right = correct(calibrated(logits, heldout, fitted), heldout).float()
    some = heldout.rows(torch.arange(min(draw_pairs, len(heldout))))
    full = score(pair_logits(model, some), some)
    active = active_nodes(model, some)
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(draws):
        with random_circuit(circuit, active, generator).removed(model):
            losses.append(score(pair_logits(model, some), some).loss)
    return Necessity(
        accuracy=raw.accuracy,
        loss=raw.loss,
        refitted_accuracy=refitted.accuracy,
        refitted_loss=refitted.loss,
        full_loss=full.loss,
        random_loss=sum(losses) / len(losses),
        random_worst=max(losses),
        draws=draws,
        interval=clustered_interval(right, templates_of_rows(heldout), seed=seed),
    )


@torch.no_grad()
def active_nodes(model: SparseGPT, pairs: TokenPairs) -> dict[str, Tensor]:
    """Site name -> indices of nodes that are nonzero at some token of some prompt (padding aside)."""
    names = [str(site) for site in model.config.site_names()]
    with record(model, names) as cache:
        model(pairs.tokens)
    real = torch.arange(pairs.tokens.shape[1]) <= pairs.last[:, None]
    return {name: torch.nonzero((cache[name][real] != 0).any(0)).flatten() for name in names}


def random_circuit(circuit: Circuit, active: dict[str, Tensor], generator: torch.Generator) -> Circuit:
    """As many nodes at each site as ``circuit`` has, drawn from ``active``.

    Nodes outside the circuit come first: the question is whether deleting as many *others* would hurt
    as much. Only where a site has too few of them are the circuit's own drawn too, and a site with too
    few active nodes altogether gives all of them.
    """
    own: dict[str, set[int]] = {}
    for node in circuit.nodes:
        own.setdefault(str(node.at), set()).add(node.index)
    drawn = []
    for name, mine in sorted(own.items()):
        shuffled = active[name][torch.randperm(len(active[name]), generator=generator)].tolist()
        order = sorted(shuffled, key=lambda index: index in mine)  # stable: the others keep their order
        drawn += [Node(SiteName.parse(name), index) for index in order[: len(mine)]]
    return circuit.keeping(drawn)
