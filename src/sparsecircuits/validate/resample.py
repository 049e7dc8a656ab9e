"""Resample ablation (T6): deleted nodes take the values that they have on other text.

Held at its mean, a deleted node is at a value that it may have on no text at all. Causal scrubbing gives it
values that it really has, on inputs beside the point (Gao et al. 2025, §E, condition 2, which their circuits
seldom meet): here on random windows of the training text, at the same positions, so that a node which tells
positions apart and nothing else stays as it is. There are two forms:

* (a) *together*: all deleted nodes of a prompt come from one window, so they agree; this is judged;
* (b) *apart*: each deleted node comes from a window of its own.

What is judged is how much of the task is recovered. With L the loss of the scrubbed circuit, L_full the full
model's, and L_base that of the circuit without nodes, scrubbed likewise:

    recovered = (L_base - L) / (L_base - L_full)

L_base counts as at most ln 2, a coin's loss: a model that reads other text is wrong with confidence, and
measured from there a circuit that is no better than a coin would recover much. This is the stricter choice.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit, Wires
from sparsecircuits.data.batches import batch
from sparsecircuits.model import SparseGPT, intervene, record
from sparsecircuits.validate.interval import Interval
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Activations of about so many values are held at a time (256 MB).
VALUES = 1 << 26
#: ... and of so many prompts at least.
ROWS = 16


@torch.no_grad()
def resample_ablation(subject: Subject, *, draws: int = 16) -> Outcome:
    """Give deleted nodes their values on other text. Control: the same for a random circuit of equal profile.

    Args:
        subject: what is tested; without its corpus the test does not apply.
        draws: windows for each prompt.

    Raises:
        DataError: a corpus shorter than a prompt.
    """
    if subject.corpus is None:
        note = "the training text is not at hand"
        return Outcome(test="T6", estimate=None, passed=None, open=True, note=note)
    pairs, circuit = subject.some, subject.circuit
    (random,) = subject.random_circuits(1)
    together, apart = _Runs(circuit), _Runs(circuit, apart=True)
    nothing = circuit.keeping(())
    bases, others = (_Runs(nothing), _Runs(nothing, apart=True)), _Runs(random)
    found = _losses_of(subject, [together, apart, *bases, others], draws)
    full = float(subject.full_losses(pairs).mean())
    base, base_apart = (min(math.log(2), float(found[runs].mean())) for runs in bases)
    if base <= full:
        return Outcome.not_applicable("T6", "the full model is no better than a circuit of no nodes")
    recovered = (base - found[together]) / (base - full)
    interval = subject.interval(recovered, pairs)
    estimate = min(1.0, float(recovered.mean()))
    return Outcome(
        test="T6",
        estimate=estimate,
        interval=Interval(min(1.0, interval.low), min(1.0, interval.high)),
        control=min(1.0, (base - float(found[others].mean())) / (base - full)),
        passed=estimate >= THRESHOLDS.recovered,
        figures={
            "apart": _share(base_apart, float(found[apart].mean()), full),
            "loss": float(found[together].mean()),
            "apart_loss": float(found[apart].mean()),
            "control_loss": float(found[others].mean()),
            "base_loss": float(found[bases[0]].mean()),
            "apart_base_loss": float(found[bases[1]].mean()),
            "full_loss": full,
            "mean_ablation_loss": float(subject.circuit_losses(pairs).mean()),
            "zero_ablation_loss": float(_zeroed_losses(subject).mean()),
        },
        settings=subject.settings(
            pairs,
            ablated="all other nodes",
            to="their values on random windows of the training text, at the same positions",
            cut_edges="carry their sources' means",
            base="the circuit of no nodes, scrubbed likewise; at most ln 2",
            draws=draws,
        ),
    )


def _share(base: float, loss: float, full: float) -> float | None:
    """What is recovered; None where the base is no worse than the full model."""
    return min(1.0, (base - loss) / (base - full)) if base > full else None


@dataclass(frozen=True, eq=False)
class _Runs:
    """A circuit to scrub: ``together``, or each deleted node ``apart``."""

    circuit: Circuit
    apart: bool = False


def _losses_of(subject: Subject, scrubbed: Sequence[_Runs], draws: int) -> dict[_Runs, Tensor]:
    """[rows] task losses of each, the mean over ``draws`` windows for each prompt."""
    model, pairs, corpus = subject.model, subject.some, subject.corpus
    assert corpus is not None
    rows, width = pairs.tokens.shape
    # Nodes come from different rows of a chunk, so a chunk has some.
    chunks = torch.arange(rows).split(max(ROWS, VALUES // (width * model.config.node_count)))
    names = [str(site) for site in model.config.site_names()]
    totals = {runs: torch.zeros(rows) for runs in scrubbed}
    for draw in range(draws):
        windows = batch(corpus, seed=subject.draw_seed, step=draw, rows=rows, n_ctx=width)[:, :width]
        logits: dict[_Runs, list[Tensor]] = {runs: [] for runs in scrubbed}
        for chunk in chunks:
            with record(model, names) as donors:
                model(windows[chunk], pairs.last[chunk])
            for runs in scrubbed:
                generator = torch.Generator().manual_seed(subject.seed * 1_000_003 + draw)
                with _scrubbing(model, runs.circuit, donors, generator if runs.apart else None):
                    logits[runs].append(model(pairs.tokens[chunk], pairs.last[chunk]))
        for runs in scrubbed:
            totals[runs] += subject.losses(torch.cat(logits[runs]), pairs)
    return {runs: total / draws for runs, total in totals.items()}


def _zeroed_losses(subject: Subject) -> Tensor:
    """[rows] task losses with deleted nodes at 0."""
    pairs, zeros = subject.some, {name: torch.zeros(()) for name in subject.circuit.frozen}
    with _scrubbing(subject.model, subject.circuit, zeros):
        return subject.losses(subject.model(pairs.tokens, pairs.last), pairs)


@contextmanager
def _scrubbing(
    model: SparseGPT, circuit: Circuit, donors: Mapping[str, Tensor], generator: torch.Generator | None = None
) -> Generator[None]:
    """Run ``model`` as the circuit, its deleted nodes at ``donors`` instead of their frozen values.

    Args:
        model: the full model.
        circuit: its kept nodes stay live, by their gains; its cut edges carry frozen values.
        donors: site name -> [rows, pos, width], or what broadcasts to that.
        generator: each node takes its values from rows in an order of its own; None: from the same row.
    """
    factors = circuit.factors()
    changes = {
        name: _Donated(keep, factors[name], circuit.frozen[name], donors[name], generator)
        for name, keep in circuit.keep_masks().items()
    }
    wires = Wires.of(model, circuit.cut)
    with intervene(model, changes), wires.carrying(model, torch.zeros(len(circuit.cut)), circuit.frozen):
        yield


@dataclass(frozen=True, eq=False)
class _Donated:
    """``x`` [rows, pos, width] by its factor where kept, a donor's value elsewhere."""

    keep: Tensor
    factor: Tensor
    frozen: Tensor
    donor: Tensor
    generator: torch.Generator | None

    def __call__(self, x: Tensor) -> Tensor:
        donor = self.donor if self.generator is None else _rows_apart(self.donor, self.generator)
        return torch.where(self.keep, torch.addcmul(self.frozen * (1 - self.factor), x, self.factor), donor)


def _rows_apart(values: Tensor, generator: torch.Generator) -> Tensor:
    """[rows, pos, width] with the rows of each of the last dimension in an order of its own."""
    rows, _, width = values.shape
    order = torch.rand(rows, width, generator=generator).argsort(0)
    return values.gather(0, order[:, None].expand_as(values))
