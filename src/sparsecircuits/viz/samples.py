"""Where on pretraining text a circuit's nodes are active, and how much (Gao et al. 2025, Fig 39).

The full model reads random windows of its training text, and every node's activation is recorded at every
token. For each node:

1. all positions are ranked by activation, ties in random order, and divided into bands: the top 0.1%, the
   rest of the top 1%, of the top 10% and of the top 50%, and the same from the bottom;
2. of each band a few positions are drawn, with the tokens around them and the activation at each of them;
   and a few from anywhere;
3. a histogram of the activations that are not zero (AbsTopK makes most of them zero), and their share.

Snippets name tokens by window and place, and windows by number in one vocabulary list, so that a circuit of
many nodes stays small.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sparsecircuits.data.batches import batch
from sparsecircuits.data.tokenizer import TextTokenizer
from sparsecircuits.model import Node, SparseGPT, record
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.numbers import brief, briefs
from sparsecircuits.viz.watch import Tally

#: Ends of the bands, as shares of all positions, from the top and from the bottom.
SHARES = (0.001, 0.01, 0.1, 0.5)
#: Nodes whose activations are in memory at once.
_AT_ONCE = 512
_ROWS = 32  # windows of a forward
_TRIES = 8  # draws for each snippet, so that most come from windows of their own


@dataclass(frozen=True)
class TextSamples:
    """What the document says of one circuit.

    Attributes:
        text: the circuit's ``text``: vocabulary, windows, what was measured.
        nodes: each node's ``text``: bands, random snippets, histogram.
    """

    text: dict[str, Any]
    nodes: dict[Node, dict[str, Any]]


@dataclass(frozen=True)
class TextRecord:
    """What :func:`record_text` found, of all circuits of a page together.

    Attributes:
        windows: [windows, n_ctx] token ids.
        nodes: as in :class:`TextSamples`, but snippets name these windows.
    """

    windows: Tensor
    nodes: Mapping[Node, dict[str, Any]]

    def of(self, nodes: Iterable[Node], tokenizer: TextTokenizer) -> TextSamples:
        """Of some of the nodes: with the parts of windows that their snippets reach over, renumbered."""
        found = {node: copy.deepcopy(self.nodes[node]) for node in nodes}
        snippets = [one for facts in found.values() for one in _snippets_of(facts)]
        reach: dict[int, tuple[int, int]] = {}
        for window, start, _, values in snippets:
            first, last = reach.get(window, (start, start))
            reach[window] = min(first, start), max(last, start + len(values))
        number = {window: i for i, window in enumerate(sorted(reach))}
        for snippet in snippets:
            first = reach[snippet[0]][0]
            snippet[:3] = number[snippet[0]], snippet[1] - first, snippet[2] - first
        parts = [self.windows[window, slice(*reach[window])].tolist() for window in number]
        vocabulary = sorted({token for part in parts for token in part})
        place = {token: i for i, token in enumerate(vocabulary)}
        text = {
            "measured": self.windows.numel(),
            "vocabulary": [tokenizer.text(token) for token in vocabulary],
            "windows": [[place[token] for token in part] for part in parts],
        }
        return TextSamples(text, found)


def forwards(nodes: int) -> int:
    """How many units of work :func:`record_text` tells its tally of, for so many nodes."""
    return -(-nodes // _AT_ONCE)


@torch.no_grad()
def record_text(
    model: SparseGPT,
    nodes: Iterable[Node],
    tokens: np.ndarray,
    budget: Budget,
    *,
    seed: int = 0,
    tally: Tally | None = None,
) -> TextRecord:
    """Rank and draw, for every node.

    Args:
        model: the full model is run; nothing is frozen.
        nodes: of one circuit, or of all of a page.
        tokens: [total] training token ids, more than the model's context.
        budget: how many tokens (whole windows) and snippets.
        seed: chooses windows and draws.
        tally: told of each group of nodes.
    """
    n_ctx = model.config.n_ctx
    windows = batch(tokens, seed=seed, step=0, rows=-(-budget.text_tokens // n_ctx), n_ctx=n_ctx)[:, :-1]
    generator = torch.Generator().manual_seed(seed)
    shuffle = torch.randperm(windows.numel(), generator=generator)
    asked = sorted(set(nodes))
    found: dict[Node, dict[str, Any]] = {}
    for first in range(0, len(asked), _AT_ONCE):
        some = asked[first : first + _AT_ONCE]
        values = _activations(model, some, windows)
        places = _places(values, shuffle, budget, generator)
        for row, node in enumerate(some):
            found[node] = _of_node(values[row], places, row, budget, n_ctx)
        if tally is not None:
            tally.step("activations on pretraining text")
    return TextRecord(windows, found)


def _activations(model: SparseGPT, nodes: Sequence[Node], windows: Tensor) -> Tensor:
    """[nodes, positions of all windows, one behind another]."""
    values = torch.empty(len(nodes), windows.numel())
    by_site: dict[str, list[int]] = {}
    for row, node in enumerate(nodes):
        by_site.setdefault(str(node.at), []).append(row)
    start = 0
    for rows in windows.split(_ROWS):
        with record(model, by_site) as cache:
            # The last position's logits alone: the sites are recorded at every position all the same.
            model(rows, torch.full((len(rows),), rows.shape[1] - 1))
        for site, members in by_site.items():
            columns = cache[site][:, :, [nodes[row].index for row in members]].flatten(0, 1)
            values[members, start : start + rows.numel()] = columns.T
        start += rows.numel()
    return values


@dataclass(frozen=True)
class _Places:
    """Positions drawn for some nodes: [bands][nodes, draws]; and anywhere: [nodes, draws]."""

    top: list[Tensor]
    bottom: list[Tensor]
    anywhere: Tensor


def _places(values: Tensor, shuffle: Tensor, budget: Budget, generator: torch.Generator) -> _Places:
    total = values.shape[1]
    order = shuffle[values[:, shuffle].argsort(dim=1, stable=True)]  # ascending, ties in random order
    top, bottom, low = [], [], 0
    for high in band_ends(total):
        ranks = low + torch.randint(high - low, (budget.snippets * _TRIES,), generator=generator)
        bottom.append(order[:, ranks])
        top.append(order[:, total - 1 - ranks])
        low = high
    anywhere = torch.randint(total, (len(values), budget.random * _TRIES), generator=generator)
    return _Places(top, bottom, anywhere)


def band_ends(total: int) -> list[int]:
    """Where each band ends among ``total`` ranked positions; every band has at least one.

    >>> band_ends(10_000), band_ends(100)
    ([10, 100, 1000, 5000], [1, 2, 10, 50])
    """
    ends: list[int] = []
    for share in SHARES:
        ends.append(max(round(share * total), ends[-1] + 1 if ends else 1))
    return ends


def _of_node(values: Tensor, places: _Places, row: int, budget: Budget, n_ctx: int) -> dict[str, Any]:
    def snippets(drawn: Tensor, wanted: int) -> list[list[Any]]:
        chosen = _apart(drawn[row].tolist(), wanted, n_ctx)
        chosen.sort(key=lambda place: -float(values[place]))
        return [_snippet(values, place, budget, n_ctx) for place in chosen]

    bands = [
        {"share": share, "top": snippets(top, budget.snippets), "bottom": snippets(bottom, budget.snippets)}
        for share, top, bottom in zip(SHARES, places.top, places.bottom, strict=True)
    ]
    live = values[values != 0]
    return {
        "bands": bands if budget.snippets else [],
        "random": snippets(places.anywhere, budget.random) if budget.random else [],
        "nonzero": round(len(live) / len(values), 4),
        "mean": brief(float(values.mean())),
        "histogram": _histogram(live, budget.bins),
    }


def _apart(drawn: list[int], wanted: int, n_ctx: int) -> list[int]:
    """The first so many different places, of windows of their own as far as there are enough."""
    places = list(dict.fromkeys(drawn))
    firsts: dict[int, int] = {}
    for place in places:
        firsts.setdefault(place // n_ctx, place)
    apart = set(firsts.values())
    return [*firsts.values(), *(place for place in places if place not in apart)][:wanted]


def _snippet(values: Tensor, place: int, budget: Budget, n_ctx: int) -> list[Any]:
    """[window, first token, place in the window, activations]."""
    window, at = divmod(place, n_ctx)
    start, stop = max(0, at - budget.before), min(n_ctx, at + budget.after + 1)
    return [window, start, at, briefs(values[window * n_ctx + start : window * n_ctx + stop])]


def _histogram(live: Tensor, bins: int) -> dict[str, Any] | None:
    if not len(live):
        return None
    low, high = float(live.min()), float(live.max())
    if low == high:
        return {"low": brief(low), "high": brief(high), "counts": [len(live)]}
    counts = torch.histc(live, bins=bins, min=low, max=high)
    return {"low": brief(low), "high": brief(high), "counts": [int(n) for n in counts]}


def _snippets_of(facts: dict[str, Any]) -> list[list[Any]]:
    sides = [snippet for band in facts["bands"] for side in ("top", "bottom") for snippet in band[side]]
    return sides + facts["random"]
