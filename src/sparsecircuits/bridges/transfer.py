"""Does the sparse model's circuit explain the dense one? Patch it through the bridge and see (§A.4, §E).

The dense model reads a prompt as if some nodes of the sparse model were what they are on the other prompt of
the pair, at every location and token at once, as in an interchange within one model:

1. the sparse model's nodes on both prompts, from clean runs: their *change*;
2. at each location, the nodes' rows of the bridge (:mod:`~sparsecircuits.bridges.mapping`) span a part of
   what the dense model reads. That part is *set*, to what it is in the dense model's own clean run plus the
   change times the rows; the rest stays live. (Were the change added to what is there, all that already
   follows from changes at earlier locations would count twice.)
3. measured is the share of the dense model's change of mind that this gives: the mean of (patched - clean) by
   the mean of (on the other prompt - clean), of the own answer's lead over the other; and the share of
   answers that flip.

Besides the *circuit*: *random*, as many other active nodes at each site; *rest*, all channels that it does
not read; *all* channels, that is the whole bridge; and *own*, the dense model's own reads on the other
prompt, the most there is. Where the rows span everything, as in the last three, nothing of the reads is live.

Prompts: see :mod:`~sparsecircuits.bridges.asked`. Counted are those of pairs that the dense model answers
rightly on both sides, and apart from that all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sparsecircuits.bridges.asked import asked, lead
from sparsecircuits.bridges.bridge import Bridge
from sparsecircuits.bridges.mapping import batches, real, require_pair, size_ratios, stream_reads
from sparsecircuits.bridges.patching import Patch, patch_of, reads_of, run_with
from sparsecircuits.bridges.sides import Side, site_read, sublayers
from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError
from sparsecircuits.tasks.loss import correct
from sparsecircuits.tasks.pairs import TokenPairs
from sparsecircuits.validate.interval import (
    Interval,
    clustered_interval,
    drawn_weights,
    middle,
    templates_of_rows,
)


@dataclass(frozen=True, kw_only=True)
class Share(Config):
    """An estimate with its 95% interval over templates."""

    estimate: float
    low: float
    high: float
    per_draw: tuple[float, ...] | None = None
    """Of ``random``: each draw's; the estimate is their mean."""


@dataclass(frozen=True, kw_only=True)
class Moved(Config):
    """How far prompts went: by ``circuit``, ``random``, ``rest``, ``all`` and ``own``."""

    prompts: int
    share: dict[str, Share]
    """Of the dense model's own change of mind."""
    flips: dict[str, Share]
    """Of answers that become the other one."""


@dataclass(frozen=True, kw_only=True)
class Transfer(Config):
    """What a circuit is worth in the dense model; ``to_dict`` is its JSON."""

    format: Literal["sparsecircuits.transfer"] = "sparsecircuits.transfer"
    version: Literal[1] = 1
    task: str
    split: str
    seed: int
    circuit_sha256: str | None = None
    """Of the circuit."""
    nodes: tuple[str, ...]
    """Those of the circuit that read the residual stream and so are carried."""
    left_out: int
    """Its other nodes: queries, keys, values, neurons and writes."""
    random_nodes: int
    """Of each random draw: fewer than ``nodes`` where a site has not as many others that are active."""
    prompts: int
    """Of pairs that the dense model answers rightly; ``share`` and ``flips`` are of them."""
    share: dict[str, Share]
    flips: dict[str, Share]
    every: Moved
    """The same of all prompts."""


@torch.no_grad()
def transfer(
    dense: Side,
    sparse: Side,
    bridge: Bridge,
    circuit: Circuit,
    pairs: TokenPairs,
    reference: TokenPairs,
    *,
    draws: int = 8,
    seed: int = 0,
    rows: int = 256,
) -> Transfer:
    """Patch the circuit's nodes into the dense model; its cuts, gains and frozen values play no part.

    Args:
        dense, sparse, bridge: a bridged pair.
        circuit: of the sparse model.
        pairs: held-out pairs, on which all is measured.
        reference: train pairs, of which the ratio of sizes is.
        draws: of random nodes.
        seed: of the draws and intervals.
        rows: so many prompts run together.

    Raises:
        ConfigError: the parts do not belong together, the circuit has no node that reads the residual
            stream, or there is no pair that the dense model answers rightly.
    """
    require_pair(dense, sparse, bridge, pairs, reference)
    nodes = stream_reads(circuit.nodes, sparse)
    if not nodes:
        raise ConfigError(f"the circuit for {circuit.task} has no node that reads the residual stream")
    masks = torch.zeros(sublayers(dense), sparse.d_model, dtype=torch.bool)
    for location in range(len(masks)):
        masks[location, [node.index for node in nodes if node.at == site_read(location)]] = True
    ratios = size_ratios(dense, sparse, reference, rows=rows)
    drawn = _random(masks, _active(sparse, pairs, rows) & ~masks, draws, seed)
    chosen = {"circuit": masks, "rest": ~masks, "all": masks | True}
    chosen |= {f"random {draw}": mask for draw, mask in enumerate(drawn)}
    patches = {
        name: [
            patch_of(dense, sparse, bridge, location, mask[location].to(pairs.tokens.device), float(ratio))
            for location, ratio in enumerate(ratios)
        ]
        for name, mask in chosen.items()
    }
    parts = [_leads(dense, sparse, part, patches) for part in batches(pairs, rows)]
    leads = {name: _in_order([part[name] for part in parts], pairs).cpu() for name in parts[0]}
    clusters = templates_of_rows(pairs)
    of_row = [clusters[row] for row in asked(pairs).rows.tolist()]
    right = leads.pop("right") > 0
    if not bool(right.any()):
        raise ConfigError(
            f"{pairs.task}: there is no pair that the dense model answers rightly on both sides"
        )
    counted = [of_row[row] for row in torch.nonzero(right).flatten().tolist()]
    moved = _moved({name: values[right] for name, values in leads.items()}, counted, seed)
    return Transfer(
        task=pairs.task,
        split=pairs.split,
        seed=seed,
        circuit_sha256=circuit_hash(circuit),
        nodes=tuple(map(str, nodes)),
        left_out=len(circuit.nodes) - len(nodes),
        random_nodes=int(drawn[0].sum()) if drawn else 0,
        prompts=moved.prompts,
        share=moved.share,
        flips=moved.flips,
        every=_moved(leads, of_row, seed),
    )


def _active(sparse: Side, pairs: TokenPairs, rows: int) -> Tensor:
    """[locations, d_model] which reads are nonzero at some token of some prompt."""
    found = torch.zeros(sublayers(sparse), sparse.d_model, dtype=torch.bool)
    for part in batches(pairs, rows):
        counted = real(part)
        for location, read in enumerate(reads_of(sparse, part.tokens)):
            found[location] |= (read[counted] != 0).any(0).cpu()
    return found


def _random(masks: Tensor, others: Tensor, draws: int, seed: int) -> list[Tensor]:
    """Masks with as many nodes at each location as ``masks`` [locations, d_model], drawn from ``others``."""
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for _ in range(draws):
        mask = torch.zeros_like(masks)
        for location, wanted in enumerate(masks.sum(1).tolist()):
            channels = torch.nonzero(others[location]).flatten()
            mask[location, channels[torch.randperm(len(channels), generator=generator)[:wanted]]] = True
        drawn.append(mask)
    return drawn


def _leads(
    dense: Side, sparse: Side, pairs: TokenPairs, patches: Mapping[str, Sequence[Patch]]
) -> dict[str, Tensor]:
    """[n] of each prompt: the own answer's lead ``clean``, on the ``other`` prompt, and under each patch.

    Also ``right``: the lesser of 1 and -1 that says whether both prompts of the pair are answered rightly.
    """
    ask, tokens = asked(pairs), pairs.tokens
    theirs, reads = reads_of(dense, tokens), reads_of(sparse, tokens)
    changes = [read[ask.partner] - read[ask.rows] for read in reads]

    def of(logits: Tensor) -> Tensor:
        return lead(logits, ask.own, ask.other)

    clean = run_with(dense, tokens, pairs.last, [])
    fine = correct(clean, pairs)
    found = {
        "right": torch.where(fine[ask.rows] & fine[ask.partner], 1.0, -1.0),
        "clean": of(clean[ask.rows]),
        "other": of(clean[ask.partner]),
    }
    asked_tokens, last = tokens[ask.rows], pairs.last[ask.rows]
    whole = torch.eye(dense.d_model, device=tokens.device)
    own = [(whole, read[ask.partner]) for read in theirs]
    found["own"] = of(run_with(dense, asked_tokens, last, own))
    for name, patch in patches.items():
        wanted = [
            (one.span, read[ask.rows] + change[..., one.channels] @ one.rows)
            for one, read, change in zip(patch, theirs, changes, strict=True)
        ]
        found[name] = of(run_with(dense, asked_tokens, last, wanted))
    return found


def _in_order(parts: Sequence[Tensor], pairs: TokenPairs) -> Tensor:
    """Join what batches say of their prompts, left ones first, then right ones."""
    if pairs.form == "one_against_all":
        return torch.cat(list(parts))
    halves = [part.chunk(2) for part in parts]
    return torch.cat([left for left, _ in halves] + [right for _, right in halves])


def _moved(leads: Mapping[str, Tensor], clusters: Sequence[str], seed: int) -> Moved:
    clean, below = leads["clean"].double(), (leads["other"] - leads["clean"]).double()
    weights = drawn_weights(clusters, seed=seed)
    names = {name: [name] for name in ("circuit", "rest", "all", "own")}
    names |= {"random": [name for name in leads if name.startswith("random ")]}
    share, flips = {}, {}
    for name, of in names.items():
        if not of:
            continue
        above = torch.stack([leads[one].double() - clean for one in of])
        flipped = torch.stack([(leads[one] < 0).double() for one in of])
        shares, interval = above.mean(1) / below.mean(), middle(weights @ above.mean(0) / (weights @ below))
        flip_interval = clustered_interval(flipped.mean(0), clusters, seed=seed)
        share[name] = _share(name, shares, interval)
        flips[name] = _share(name, flipped.mean(1), flip_interval)
    return Moved(prompts=len(clean), share=share, flips=flips)


def _share(name: str, draws: Tensor, interval: Interval) -> Share:
    each = tuple(draws.tolist()) if name == "random" else None
    return Share(estimate=float(draws.mean()), low=interval[0], high=interval[1], per_draw=each)
