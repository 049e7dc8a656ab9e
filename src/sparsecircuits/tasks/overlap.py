"""Prompts that stand word for word in a text, so that they can be left out of a measurement.

Idioms and prompts come from the same few words, so a short prompt may occur in the training text by
chance. A prompt begins a line; each line of the texts is looked up by its first characters.
"""

from __future__ import annotations

from collections.abc import Iterable

from sparsecircuits.tasks.pairs import TokenPairs

_KEY = 16


def overlapping(prompts: Iterable[str], texts: Iterable[str]) -> set[str]:
    """Those prompts that occur verbatim in any of the texts, beginning at the start of a line."""
    wanted = set(prompts) - {""}
    if not wanted:
        return set()
    width = min(_KEY, min(map(len, wanted)))
    by_start: dict[str, list[str]] = {}
    for prompt in wanted:
        by_start.setdefault(prompt[:width], []).append(prompt)
    found: set[str] = set()
    for text in texts:
        start = 0
        while start >= 0:
            for prompt in by_start.get(text[start : start + width], ()):
                if text.startswith(prompt, start):
                    found.add(prompt)
            start = text.find("\n", start) + 1 or -1
    return found


def without_overlap(pairs: TokenPairs, texts: Iterable[str]) -> TokenPairs:
    """The pairs of which neither prompt occurs in the texts; compare the lengths to count the others."""
    found = overlapping((prompt for pair in pairs.texts for prompt in (pair.left, pair.right)), texts)
    return pairs.rows(
        [i for i, pair in enumerate(pairs.texts) if pair.left not in found and pair.right not in found]
    )
