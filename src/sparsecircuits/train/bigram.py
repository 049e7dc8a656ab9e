"""Start the bigram table from counts: what follows each token in the training text.

A table of smoothed log-frequencies is worth far more than its first hundred steps of learning. The
estimate of each row backs off to the unigram distribution, as if every row had been seen
``BACKOFF`` more times with unigram frequencies.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

#: Weight, in counts, of the unigram distribution within each row.
BACKOFF = 5.0
#: So many tokens are counted at once; each takes 16 bytes while it is.
CHUNK = 1 << 24


def bigram_log_frequencies(tokens: np.ndarray, vocab_size: int) -> Tensor:
    """Log P(next | current), smoothed, each row shifted to mean 0.

    Args:
        tokens: [count] token ids.
        vocab_size: size of the vocabulary.

    Returns:
        [vocab (current), vocab (next)] float32. The shift leaves the softmax as it is and keeps the
        entries small.
    """
    pairs = np.zeros(vocab_size * vocab_size, dtype=np.int64)
    seen = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(tokens), CHUNK):
        ids = np.asarray(tokens[start : start + CHUNK + 1]).astype(np.int64)  # and the next one's first
        pairs += np.bincount(ids[:-1] * vocab_size + ids[1:], minlength=len(pairs))
        seen += np.bincount(ids[:CHUNK], minlength=vocab_size)
    counts = torch.from_numpy(pairs.reshape(vocab_size, vocab_size)).double()
    unigram = torch.from_numpy(seen).double() + 0.5
    unigram /= unigram.sum()
    table = (counts + BACKOFF * unigram).log() - (counts.sum(1, keepdim=True) + BACKOFF).log()
    return (table - table.mean(1, keepdim=True)).float()
