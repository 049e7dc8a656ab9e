"""The part of a circuit that gives its answer to one prompt: nodes at tokens, and the hops between them.

The steps, back from the answer:

1. The answer is how far the logit of one candidate is above the other's, so that what speaks for both
   alike does not count. With one candidate it is how far its logit is above the mean of all others, each
   weighted by its probability among them. The answer has a *flow* of 1.
2. A target's flow is handed on to its sources, by the share that each has of the sizes of all contributions
   to it. A source is shown if at least ``least`` reaches it through that hop; or if none does, but it has a
   quarter and more than all others, so that a path goes on to its beginning. Of the rest the number and the
   sum are kept (:attr:`ActivePath.left_out`).
3. Where a value comes through a head, the head *looks* from one token at another. The flow goes to the value,
   and once more to the channels of query and key, by their shares of the score: they are why it looks there.

Flow is a way to choose what is drawn and nothing else; the numbers that are drawn are contributions, each of
which an intervention would show (:mod:`sparsecircuits.viz.drawing.trace`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsecircuits.circuit import Circuit
from sparsecircuits.errors import ConfigError
from sparsecircuits.model import SparseGPT
from sparsecircuits.model.sites import SITES
from sparsecircuits.viz.drawing.spots import ANSWER, TOKEN, Hop, Spot
from sparsecircuits.viz.drawing.trace import Trace

#: A hop is shown if so much of the answer's flow comes through it.
LEAST = 0.04
#: Where no hop brings so much, the largest is shown if it is at least so much of what goes into its target.
CHAIN = 0.25


@dataclass(frozen=True)
class Look:
    """A head at token ``at`` that attends to token ``to``.

    Attributes:
        weight: of the pattern, between 0 and 1.
        score: before the softmax.
        parts: what the shown channels of query and key add to the score.
    """

    layer: int
    head: int
    at: int
    to: int
    weight: float
    score: float
    parts: tuple[tuple[Spot, float], ...] = ()


class Rest(NamedTuple):
    """Hops into a spot that are not shown: how many, and what they add together."""

    count: int
    contribution: float


@dataclass(frozen=True)
class ActivePath:
    """What leads to the answer on one prompt.

    Attributes:
        tokens: ids of the prompt.
        answers: ids of one or two candidates.
        logits: of the answers, scaled.
        lead: what is explained: the first logit less the other, or less the mean of all others.
        constant: what frozen values add to the lead, whatever the prompt's nodes do; with the hops into the
            answer and those left out, it makes up the lead.
        probability: of the first answer, among the two or among all tokens.
        hops: those shown, by target, then source.
        looks: heads that values come through, with why they attend.
        values: shown node -> its value at the token.
        means: shown node -> its frozen value.
        left_out: spot -> what is not shown of what goes into it.
        d_head: channels of a head, which tells which head a channel is of.
    """

    tokens: tuple[int, ...]
    answers: tuple[int, ...]
    logits: tuple[float, ...]
    lead: float
    constant: float
    probability: float
    hops: tuple[Hop, ...]
    looks: tuple[Look, ...]
    values: Mapping[Spot, float]
    means: Mapping[Spot, float]
    left_out: Mapping[Spot, Rest]
    d_head: int

    @property
    def spots(self) -> list[Spot]:
        """Everything that is shown: each end of a hop, and its token."""
        spots = {spot for hop in self.hops for spot in (hop.source, hop.target)}
        spots |= {spot for look in self.looks for spot, _ in look.parts}
        spots.add(Spot(ANSWER, len(self.tokens) - 1))
        return sorted(spots | {Spot(TOKEN, spot.position) for spot in spots})

    @property
    def positions(self) -> list[int]:
        """Tokens at which something is shown."""
        return sorted({spot.position for spot in self.spots})

    def rows(self) -> list[dict[str, Any]]:
        """One row a hop, and one for each channel that makes a head look, as plain data."""
        found = [
            {
                "kind": "hop",
                "source": hop.source.what,
                "source_position": hop.source.position,
                "target": hop.target.what,
                "target_position": hop.target.position,
                "contribution": hop.contribution,
                "weight": hop.weight,
                "attention": hop.attention,
                "source_value": self.values.get(hop.source),
                "source_mean": self.means.get(hop.source),
            }
            for hop in self.hops
        ]
        for look in self.looks:
            for spot, part in look.parts:
                found.append(
                    {
                        "kind": "score",
                        "source": spot.what,
                        "source_position": spot.position,
                        "target": f"head {look.layer}.{look.head}",
                        "target_position": look.at,
                        "contribution": part,
                        "weight": None,
                        "attention": look.weight,
                        "source_value": self.values.get(spot),
                        "source_mean": self.means.get(spot),
                    }
                )
        return found


def active_path(
    model: SparseGPT,
    circuit: Circuit,
    tokens: Tensor,
    answers: Sequence[int],
    *,
    bias: float = 0.0,
    least: float = LEAST,
) -> ActivePath:
    """Trace what gives a circuit's answer to one prompt.

    Args:
        model: the model that the circuit was cut out of.
        circuit: what is run.
        tokens: [pos] ids of the prompt.
        answers: one or two next tokens whose logits are explained; the difference of two.
        bias: on the first of two answers; the circuit's own (``circuit.bias``) is on the left candidate.
        least: between 0 and 1; a hop is shown if so much of the answer's flow comes through it.

    Raises:
        CheckpointError: the circuit does not fit the model.
        ConfigError: no prompt, more answers than two or none, an answer that is no token, a least outside
            0 to 1.
    """
    if not 0 <= least <= 1:
        raise ConfigError(f"least is {least}; it is a share of the answer, between 0 and 1")
    if bias and len(answers) == 1:
        raise ConfigError(f"a bias of {bias} is between two answers; got one")
    if len(answers) not in (1, 2) or not all(0 <= token < model.config.vocab_size for token in answers):
        raise ConfigError(f"answers are {list(answers)}; they are one or two of the model's token ids")
    trace = Trace(model, circuit, tokens)
    direction = trace.direction(answers)
    search = _Search(trace, least)
    search.run(direction, bias)
    nodes = {spot: node for spot in sorted(search.flow) if (node := spot.node) is not None}
    logits = trace.logits[list(answers)]
    lead = float(trace.logits @ direction) + bias
    chance = torch.tensor(lead).sigmoid() if len(answers) == 2 else trace.logits.softmax(-1)[answers[0]]
    return ActivePath(
        tokens=tuple(tokens.tolist()),
        answers=tuple(answers),
        logits=tuple(logits.tolist()),
        lead=lead,
        constant=trace.answer_constant(direction),
        probability=float(chance),
        hops=tuple(sorted(search.hops, key=lambda hop: (_rank(hop.target), hop.target, hop.source))),
        looks=tuple(search.looks),
        values={spot: trace.value(spot) for spot in nodes},
        means={spot: trace.mean(node) for spot, node in nodes.items()},
        left_out=search.left_out,
        d_head=model.config.d_head,
    )


class _Search:
    """The walk back: flows that wait, and what was found."""

    def __init__(self, trace: Trace, least: float) -> None:
        self.trace, self.least = trace, least
        self.flow: dict[Spot, float] = {}
        self.waiting: set[Spot] = set()
        self.looking: dict[tuple[int, int, int, int], float] = {}
        self.hops: list[Hop] = []
        self.looks: list[Look] = []
        self.left_out: dict[Spot, Rest] = {}

    def run(self, direction: Tensor, bias: float) -> None:
        """Hand the answer's flow on, the latest targets first, until nothing waits."""
        end = Spot(ANSWER, self.trace.last)
        self._follow(end, self.trace.answer_hops(direction, bias), 1.0)
        while self.waiting or self.looking:
            rank = max([_rank(spot) for spot in self.waiting] + [_look_rank(key[0]) for key in self.looking])
            for key in [key for key in self.looking if _look_rank(key[0]) == rank]:
                self._look(key, self.looking.pop(key))
            for spot in sorted(spot for spot in self.waiting if _rank(spot) == rank):
                self.waiting.remove(spot)
                self._follow(spot, self.trace.incoming(spot), self.flow[spot])

    def _follow(self, target: Spot, hops: Sequence[Hop], flow: float) -> None:
        shown = self._shown({hop.source: hop.contribution for hop in hops}, flow)
        for hop in hops:
            if hop.source in shown:
                self.hops.append(hop)
                if hop.attention is not None:
                    key = self._look_key(hop)
                    self.looking[key] = self.looking.get(key, 0.0) + shown[hop.source]
        rest = [hop.contribution for hop in hops if hop.source not in shown and hop.contribution]
        if rest:
            self.left_out[target] = Rest(len(rest), sum(rest))

    def _look_key(self, hop: Hop) -> tuple[int, int, int, int]:
        """Layer, head, and from which token to which; for frozen values, to the one attended to most."""
        at, to = hop.target.position, hop.source.position
        if (node := hop.source.node) is not None:
            return node.layer, node.index // self.trace.model.config.d_head, at, to
        assert hop.source.head is not None
        layer, head = hop.source.head
        if self.trace.of_head(layer, head, "attn.k"):
            to = int(self.trace.pattern(layer)[head, at].argmax())
        return layer, head, at, to

    def _look(self, key: tuple[int, int, int, int], flow: float) -> None:
        layer, head, at, to = key
        parts = self.trace.score_parts(*key)
        shown = self._shown(dict(parts), flow)
        weight = float(self.trace.pattern(layer)[head, at, to])
        told = tuple(part for part in parts if part[0] in shown)
        self.looks.append(Look(layer, head, at, to, weight, self.trace.score(*key), told))

    def _shown(self, contributions: Mapping[Spot, float], flow: float) -> dict[Spot, float]:
        """Hand ``flow`` on to those sources that are shown; what each gets."""
        total = sum(map(abs, contributions.values()))
        if not total:
            return {}
        shares = {spot: flow * abs(one) / total for spot, one in contributions.items()}
        shown = {spot: share for spot, share in shares.items() if share and share >= self.least}
        strongest = max(shares, key=lambda spot: shares[spot])
        if not shown and shares[strongest] >= CHAIN * flow:
            shown = {strongest: shares[strongest]}
        for spot, share in shown.items():
            self.flow[spot] = self.flow.get(spot, 0.0) + share
            if spot.node is not None:
                self.waiting.add(spot)
        return shown


def _rank(spot: Spot) -> tuple[int, float]:
    """Sorts spots as the forward visits them."""
    if (node := spot.node) is not None:
        return node.at.order
    return (1 << 31, 0) if spot.what == ANSWER else (-1, 0)


def _look_rank(layer: int) -> tuple[int, float]:
    """After all that a layer's attention writes, before its q, k and v."""
    return layer, SITES.index("attn.v") + 0.5
