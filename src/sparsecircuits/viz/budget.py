"""How much of everything a page says of its circuits, so that the file stays small enough to be mailed.

What grows with a circuit is what is said of each node at each token. A page whose circuits are large shows
fewer prompts and snippets instead; :meth:`Budget.left_out` says so in words, and they stand in the page. A
circuit of 2,000 nodes and 10,000 edges comes to less than :data:`LIMIT` bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Bytes of a page with a circuit of 2,000 nodes and 10,000 edges, at most.
LIMIT = 5_000_000
#: In a circuit of more nodes than this, effects are estimated: removing one at a time takes too long.
MEASURED_NODES = 200


@dataclass(frozen=True)
class Budget:
    """How much is shown of each circuit of a page.

    Attributes:
        pairs: held-out pairs with every node's activation at every token.
        heads: attention heads with their patterns, those of the largest effects first.
        attention_pairs: pairs on which patterns are shown.
        text_tokens: of pretraining text that activations are recorded on, at least.
        snippets: of it, in each band of a node's activations, at the top and at the bottom.
        random: snippets at random places.
        before, after: tokens of a snippet around its place.
        bins: of the histogram.
        tokens: listed at a node that reads or writes the residual stream, over the whole vocabulary.
    """

    pairs: int = 6
    heads: int = 64
    attention_pairs: int = 2
    text_tokens: int = 32_768
    snippets: int = 3
    random: int = 3
    before: int = 14
    after: int = 5
    bins: int = 32
    tokens: int = 8

    @classmethod
    def of(cls, nodes: int) -> Budget:
        """What a page can say whose circuits have so many nodes together."""
        return next(budget for most, budget in _LEVELS if nodes <= most)

    def left_out(self) -> list[str]:
        """What a page of this budget says less of than one of a small circuit, in words."""
        full = Budget()
        kinds = {
            "pairs": f"prompts: {_pairs(self.pairs)} instead of {full.pairs}",
            "attention_pairs": f"attention: {_pairs(self.attention_pairs)} instead of {full.attention_pairs}",
            "snippets": f"pretraining text: {_snippets(self.snippets)} a band instead of {full.snippets}",
            "heads": f"attention: {self.heads} heads at most instead of {full.heads}",
            "tokens": f"tokens of the whole vocabulary: {self.tokens} a node instead of {full.tokens}",
        }
        return [words for name, words in kinds.items() if getattr(self, name) < getattr(full, name)]


def _pairs(count: int) -> str:
    return f"{count} pair{'' if count == 1 else 's'}"


def _snippets(count: int) -> str:
    return "no snippets" if count == 0 else f"{count} snippet{'' if count == 1 else 's'}"


_LEVELS = (
    (450, Budget()),
    (1_000, Budget(pairs=3, attention_pairs=1, snippets=2, random=2, heads=32, before=12, after=4, bins=24)),
    (
        4_000,
        Budget(
            pairs=1, attention_pairs=1, snippets=1, random=1, heads=16, before=8, after=3, bins=12, tokens=4
        ),
    ),
    (
        float("inf"),
        Budget(
            pairs=1, attention_pairs=1, text_tokens=8_192, snippets=0, random=0, heads=8, bins=8, tokens=2
        ),
    ),
)
