"""The token chips above and below a circuit: which tokens are shown and which nodes they touch.

A node that reads the residual stream lists the tokens that write its channel (``tokens_in``); a node
that writes it lists the logits that it moves (``logits_out``). Shown are the task's candidates, then
every node's strongest token, then its second, and so on up to a cap.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MAX_CHIPS = 14  # on each side
# Control characters have pictures of their own in Unicode; newline and tab have better ones.
_SIGNS = {chr(code): chr(0x2400 + code) for code in range(32)} | {"\n": "⏎", "\t": "⇥"}
_FIELDS = {"in": "tokens_in", "out": "logits_out"}


@dataclass(frozen=True)
class Chip:
    """A token at the top ("in") or bottom ("out"); ``label`` is its text made visible and short."""

    side: str
    text: str
    label: str
    candidate: bool
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        """Pixels: the drawing sets labels in a monospace font of 12 px."""
        return 7.4 * len(self.label) + 16


def visible(text: str, limit: int | None = None) -> str:
    """Token text made visible: newline, tab, leading spaces and control characters get a sign.

    >>> visible(' as'), visible('")\\n'), visible('endoftext', 5)
    ('·as', '")⏎', 'endo…')
    """
    body = text.lstrip(" ")
    shown = "·" * (len(text) - len(body)) + body
    shown = "".join(_SIGNS.get(c, c) for c in shown)
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def choose_chips(circuit: dict[str, Any], per_node: int) -> list[Chip]:
    """The chips of both sides, at most ``per_node`` of each node's own beside the candidates."""
    candidates = _candidates(circuit)
    chips = []
    for side, field in _FIELDS.items():
        ranked = [_strongest(node[field]) for node in circuit["nodes"] if node[field]]
        texts: dict[str, None] = {}  # a set that keeps its order
        if side == "out":
            texts.update((text, None) for tokens in ranked for text, _ in tokens if text in candidates)
        for place in range(per_node):
            texts.update((tokens[place][0], None) for tokens in ranked if place < len(tokens))
        chips += [
            Chip(side, text, visible(text, 14), side == "out" and text in candidates)
            for text in list(texts)[:_MAX_CHIPS]
        ]
    return chips


def token_links(
    circuit: dict[str, Any], chips: list[Chip], per_node: int
) -> Iterator[tuple[int, str, float]]:
    """(chip, node, weight) for each node's strongest ``per_node`` tokens and the candidates."""
    for i, chip in enumerate(chips):
        for node in circuit["nodes"]:
            for place, (text, weight) in enumerate(_strongest(node[_FIELDS[chip.side]])):
                if text == chip.text and weight and (chip.candidate or place < per_node):
                    yield i, node["name"], weight


def _candidates(circuit: dict[str, Any]) -> set[str]:
    return {text for sample in circuit["samples"] for text in (sample["answer"], sample["other"]) if text}


def _strongest(tokens: list[Any]) -> list[Any]:
    return sorted(tokens, key=lambda token: -abs(token[1]))
