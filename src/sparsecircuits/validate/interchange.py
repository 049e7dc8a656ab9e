"""Interchange (T7): does the circuit carry which prompt of its pair the model reads?

In the full model, with all other nodes live, the circuit's nodes take the values that they have on another
prompt, the *source*, at all positions:

* *opposite*: the source is the other prompt of the pair; the answer should become the source's;
* *same*: the source is a like prompt of the same side of another pair: equally long, differing from its own
  partner at the same tokens, with the same two candidates; the answer should stay;
* *wrong*: as many other nodes, drawn at random, take their values on the pair's other prompt; the answer
  should stay.

Prompts count where the full model answers both prompts of the pair rightly, the source's pair too (Gao et al.
2025, §E, condition 1).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from sparsecircuits.model import Node, SparseGPT, hooked, intervene
from sparsecircuits.model.sites import Site
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.interval import clustered_interval, templates_of_rows
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.thresholds import THRESHOLDS

#: At most so many nodes are tried alone.
NODES = 64
#: With fewer prompts that have a like one, the test is judged without them.
LEAST = 16


@torch.no_grad()
def interchange(subject: Subject, *, draws: int = 5) -> Outcome:
    """Give the circuit's nodes their values on another prompt. Control: as many random nodes outside of it.

    All of it happens in the full model, so edges that the circuit cuts and gains of its nodes play no part.

    Args:
        subject: what is tested.
        draws: of random nodes.
    """
    model, pairs, nodes = subject.model, subject.heldout, subject.circuit.nodes
    right = _whole_pairs(_advantage(subject, pairs) > 0)
    if not bool(right.any()):
        return Outcome.not_applicable("T7", "there is no pair that the full model answers rightly")
    partners, likes = _partners(pairs), like_rows(pairs, torch.Generator().manual_seed(subject.seed))
    own = NodeValues.of(model, nodes, lambda: model(pairs.tokens, pairs.last))
    flips = (_advantage(subject, pairs, own.rows(partners)) < 0)[right].float()
    counted = right & (likes >= 0) & right[likes]
    stays = (_advantage(subject, pairs, own.rows(likes)) > 0)[counted].float()
    outside = [random.nodes - nodes for random in subject.random_circuits(draws)]
    wrong = [float(_flips(subject, pairs, some)[right].float().mean()) for some in outside]
    opposite, others = float(flips.mean()), sum(wrong) / len(wrong)
    enough = len(stays) >= LEAST
    if 2 * min(map(len, outside)) < len(nodes):
        note = "the sites of the circuit have too few other active nodes to compare with"
        return Outcome(test="T7", estimate=opposite, passed=None, open=True, note=note)
    same = float(stays.mean()) if len(stays) else None
    clusters = templates_of_rows(pairs)
    return Outcome(
        test="T7",
        estimate=opposite,
        interval=clustered_interval(
            flips, [clusters[row] for row in torch.nonzero(right).flatten().tolist()], seed=subject.seed
        ),
        control=others,
        passed=opposite >= THRESHOLDS.interchange
        and (not enough or (same or 0.0) >= THRESHOLDS.interchange)
        and others <= THRESHOLDS.interchange_wrong,
        figures={
            "same": same,
            "rows": int(right.sum()),
            "rows_with_a_like_one": len(stays),
            "wrong_per_draw": wrong,
            "wrong_nodes": [len(some) for some in outside],
            "flips_of_single_nodes": single_flips(subject),
        },
        settings=subject.settings(
            pairs,
            ablated="nothing",
            patched="the circuit's nodes, in the full model; cut edges and gains play no part",
            to="their values on another prompt",
            counted="prompts whose pair the full model answers rightly",
            single_nodes_on=2 * len(subject.some),
            draws=draws,
        ),
        note="" if enough else f"judged without like prompts: {len(stays)} have one, {LEAST} are needed",
    )


@torch.no_grad()
def single_flips(subject: Subject) -> dict[str, float]:
    """Node of the circuit -> share of answers that become its pair's other one when it alone is patched.

    On ``subject.some``, one forward a node; the largest first. Of more than :data:`NODES` nodes so many are
    drawn at random. Empty where no pair there is answered rightly.
    """
    model, pairs, nodes = subject.model, subject.some, sorted(subject.circuit.nodes)
    right = _whole_pairs(_advantage(subject, pairs) > 0)
    if not bool(right.any()):
        return {}
    generator = torch.Generator().manual_seed(subject.seed)
    drawn = [nodes[place] for place in torch.randperm(len(nodes), generator=generator)[:NODES].tolist()]
    values = NodeValues.of(model, drawn, lambda: model(pairs.tokens, pairs.last)).rows(_partners(pairs))
    rates = {
        str(node): float((_advantage(subject, pairs, values.only([node])) < 0)[right].float().mean())
        for node in sorted(drawn)
    }
    return dict(sorted(rates.items(), key=lambda item: -item[1]))


def like_rows(pairs: TokenPairs, generator: torch.Generator) -> Tensor:
    """[rows] for each prompt a like one: of its side of another pair, or -1 where there is none.

    Like pairs are equally long, differ at the same tokens and have the same candidates; one of the same
    template is taken first, and of several one at random. Pairs that share a prompt are not like.
    """
    n = len(pairs)
    alike = torch.ones(n, n, dtype=torch.bool)
    for same in (pairs.last[:n], pairs.target[:n], pairs.other[:n], pairs.target[n:], pairs.other[n:]):
        alike &= same[:, None] == same
    alike &= (pairs.marked[:, None] == pairs.marked).all(-1)
    for side in (pairs.tokens[:n], pairs.tokens[n:]):
        alike &= (side[:, None] != side).any(-1)
    names = {name: index for index, name in enumerate(dict.fromkeys(pairs.templates))}
    template = torch.tensor([names[name] for name in pairs.templates])
    preference = 1 + (template[:, None] == template).float() + torch.rand(n, n, generator=generator)
    partner = torch.where(alike.any(-1), (alike * preference).argmax(-1), -1)
    return torch.cat([partner, torch.where(partner < 0, -1, partner + n)])


@dataclass(frozen=True, eq=False)
class NodeValues:
    """What some nodes are on some prompts.

    Attributes:
        columns: site name -> [n] indices of the nodes there.
        values: site name -> [rows, pos, n]; or of prompts as ``model.answers`` runs them, [sets, kept, n].
    """

    columns: Mapping[str, Tensor]
    values: Mapping[str, Tensor]

    @classmethod
    def of(cls, model: SparseGPT, nodes: Iterable[Node], run: Callable[[], Tensor]) -> Self:
        """Keep the values of ``nodes`` while ``run`` runs the model once."""
        columns = _columns(nodes)
        values: dict[str, Tensor] = {}

        def keep(tensor: Tensor, *, hook: Site) -> None:
            values[hook.name] = tensor[..., columns[hook.name]]

        with hooked(model, [(name, keep) for name in columns]):
            run()
        return cls(columns, values)

    def rows(self, index: Tensor) -> NodeValues:
        """Those of other rows: row i gets what row ``index[i]`` has."""
        return NodeValues(self.columns, {name: values[index] for name, values in self.values.items()})

    def only(self, nodes: Iterable[Node]) -> NodeValues:
        """Those of some of the nodes."""
        columns = _columns(nodes)
        values = {}
        for name, wanted in columns.items():
            places = torch.searchsorted(self.columns[name], wanted)
            values[name] = self.values[name][..., places]
        return NodeValues(columns, values)

    @contextmanager
    def put(self, model: SparseGPT) -> Generator[None]:
        """Run ``model`` with the nodes at these values."""

        def change(name: str) -> Callable[[Tensor], Tensor]:
            return lambda x: x.index_copy(-1, self.columns[name], self.values[name])

        with intervene(model, {name: change(name) for name in self.columns}):
            yield


def _columns(nodes: Iterable[Node]) -> dict[str, Tensor]:
    """Site name -> indices of the nodes there, ascending."""
    found: dict[str, list[int]] = {}
    for node in sorted(nodes):
        found.setdefault(str(node.at), []).append(node.index)
    return {name: torch.tensor(indices) for name, indices in found.items()}


def _partners(pairs: TokenPairs) -> Tensor:
    """[rows] the row of the other prompt of each one's pair."""
    return torch.arange(2 * len(pairs)).roll(len(pairs))


def _whole_pairs(right: Tensor) -> Tensor:
    """[rows] whether both prompts of the pair are right."""
    return right & right.roll(len(right) // 2)


def _flips(subject: Subject, pairs: TokenPairs, nodes: Iterable[Node]) -> Tensor:
    """[rows] whether the answer is the other one once ``nodes`` are as on the other prompt of the pair."""
    model = subject.model
    values = NodeValues.of(model, nodes, lambda: model(pairs.tokens, pairs.last))
    return _advantage(subject, pairs, values.rows(_partners(pairs))) < 0


def _advantage(subject: Subject, pairs: TokenPairs, patch: NodeValues | None = None) -> Tensor:
    """[rows] log-odds of the right answer in the full model, under its scale, while ``patch`` is put in."""
    model = subject.model
    with (patch or NodeValues({}, {})).put(model):
        return subject.leads(model(pairs.tokens, pairs.last), pairs)
