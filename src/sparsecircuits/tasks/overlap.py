"""Prompts that stand word for word in a corpus, so that a measurement can say how many it met in training.

In go prompts and a corpus as token ids, out comes which prompts stand in it:

1. of each prompt the last 16 tokens are its *window* (8, 4, 2 or 1 of a shorter one). Its first tokens are
   none of it: behind white space or a bracket the same text begins with another token;
2. every place of the corpus gets a 64-bit hash of the window that begins there; a table of bits throws out
   nearly all places, a sorted list of the prompts' hashes the rest that do not match;
3. where hashes agree, the other tokens are compared one by one, and the first few by their text.

Chance decides little here: equal hashes of different windows cost a comparison, not the truth. A word that
goes on to the left is another word: ``x = 1`` does not stand in ``max = 1``. A prompt's last token must be
the same in the corpus, since that is where the model answers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.tasks.pairs import TokenPairs

_WINDOW = 16
_HEAD = 4
"""So many tokens at the start of a prompt are compared as text (one fewer than all of a shorter one)."""
_CHUNK = 1 << 20
"""Places of the corpus that are hashed at once."""
_TABLE_BITS = 22
_FACTOR = np.uint64(0x9E37_79B9_7F4A_7C15)
"""Odd, so that no token is lost in the multiplication modulo 2**64."""


def prompts_of(pairs: TokenPairs) -> list[list[int]]:
    """The prompts' tokens, row by row, without ``<|endoftext|>`` and padding."""
    lasts = pairs.last.tolist()
    return [row[1 : last + 1] for row, last in zip(pairs.tokens.tolist(), lasts, strict=True)]


def found_in(prompts: Sequence[Sequence[int]], corpus: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Which of the prompts stand in the corpus.

    Args:
        prompts: token ids of each, without ``<|endoftext|>``; an empty one is not found.
        corpus: token ids, [total], such as ``corpus.train``.
        tokenizer: that of both.

    Returns:
        One bool a prompt.
    """
    found = np.zeros(len(prompts), dtype=bool)
    by_width: dict[int, list[int]] = {}
    for index, prompt in enumerate(prompts):
        if len(prompt) > 0:
            by_width.setdefault(_width(len(prompt)), []).append(index)
    for width, indices in by_width.items():
        windows = np.array([prompts[i][len(prompts[i]) - width :] for i in indices], dtype=np.uint64)
        wanted = _hashes(windows, width)[:, 0]
        for index, places in zip(indices, _places(wanted, corpus, width), strict=True):
            found[index] = _stands(np.asarray(prompts[index]), places, width, corpus, tokenizer)
    return found


def without_overlap(pairs: TokenPairs, corpus: np.ndarray, tokenizer: Tokenizer) -> TokenPairs:
    """The pairs of which neither prompt stands in the corpus; compare the lengths to count the others."""
    found = found_in(prompts_of(pairs), corpus, tokenizer)
    n = len(pairs)
    return pairs.rows([i for i in range(n) if not (found[i] or found[i + n])])


def _width(length: int) -> int:
    """The largest power of two that leaves a prompt its head, at most the window."""
    width = _WINDOW
    while width > max(1, length - _HEAD):
        width //= 2
    return width


def _hashes(tokens: np.ndarray, width: int) -> np.ndarray:
    """The hash of the ``width`` (a power of two) tokens from each place on, along the last axis.

    Σ tokens[j] · factor^(width - j) modulo 2^64, doubled from one token to two, four, ...
    """
    factor, size = int(_FACTOR), 1
    hashes = (tokens.astype(np.uint64) + np.uint64(1)) * _FACTOR
    while size < width:
        hashes = hashes[..., :-size] * np.uint64(factor) + hashes[..., size:]
        factor, size = factor * factor % (1 << 64), 2 * size
    return hashes


def _places(wanted: np.ndarray, corpus: np.ndarray, width: int) -> list[np.ndarray]:
    """For each hash, where in the corpus a window with it begins."""
    order = np.argsort(wanted)
    ordered = wanted[order]
    shift = np.uint64(64 - _TABLE_BITS)
    table = np.zeros(1 << _TABLE_BITS, dtype=bool)
    table[wanted >> shift] = True
    starts, hashes = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.uint64)]
    for first in range(0, len(corpus) - width + 1, _CHUNK):
        chunk = _hashes(corpus[first : first + _CHUNK + width - 1], width)
        likely = np.flatnonzero(table[chunk >> shift])
        nearest = ordered[np.searchsorted(ordered, chunk[likely]).clip(max=len(ordered) - 1)]
        likely = likely[nearest == chunk[likely]]
        starts.append(likely + first)
        hashes.append(chunk[likely])
    at, of = np.concatenate(starts), np.concatenate(hashes)
    by_hash = np.argsort(of, kind="stable")
    at, of = at[by_hash], of[by_hash]
    begins, ends = np.searchsorted(of, wanted, "left"), np.searchsorted(of, wanted, "right")
    return [at[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True)]


def _stands(
    prompt: np.ndarray, places: np.ndarray, width: int, corpus: np.ndarray, tokenizer: Tokenizer
) -> bool:
    """Whether the whole prompt stands at one of the places where its window may begin."""
    if len(places) == 0:
        return False
    head = min(_HEAD, len(prompt) - width)
    before = len(prompt) - width - head  # tokens between head and window
    body = prompt[head:]
    places = places[places >= before] - before
    same = (corpus[places[:, None] + np.arange(len(body))] == body).all(1)
    text = _bytes(prompt[:head], tokenizer)
    first = (text or tokenizer.token_bytes(int(prompt[0])))[:1]
    return any(_follows(place, text, first, corpus, tokenizer) for place in places[same].tolist())


def _follows(place: int, text: bytes, first: bytes, corpus: np.ndarray, tokenizer: Tokenizer) -> bool:
    """Whether ``text``, whose first byte is ``first``, stands before a place and begins a word there."""
    # Every token has a byte at least, so these hold the text and one byte before it, if there is one.
    there = _bytes(corpus[max(0, place - len(text) - 1) : place], tokenizer)
    if not there.endswith(text):
        return False
    before = there[: len(there) - len(text)][-1:]
    return not (_in_word(before) and _in_word(first))


def _bytes(tokens: np.ndarray, tokenizer: Tokenizer) -> bytes:
    return b"".join(map(tokenizer.token_bytes, tokens.tolist()))


def _in_word(byte: bytes) -> bool:
    """Whether a byte is part of a word; so is each byte of a character beyond ASCII."""
    return byte.isalnum() or byte == b"_" or byte >= b"\x80"
