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


def bigram_log_frequencies(tokens: np.ndarray, vocab_size: int) -> Tensor:
    """Log P(next | current), smoothed, each row shifted to mean 0.

    Args:
        tokens: [count] token ids.
        vocab_size: size of the vocabulary.

    Returns:
        [vocab (current), vocab (next)] float32. The shift leaves the softmax as it is and keeps the
        entries small.
    """
    ids = np.asarray(tokens).astype(np.int64)
    pairs = np.bincount(ids[:-1] * vocab_size + ids[1:], minlength=vocab_size * vocab_size)
    counts = torch.from_numpy(pairs.reshape(vocab_size, vocab_size)).double()
    unigram = torch.from_numpy(np.bincount(ids, minlength=vocab_size)).double() + 0.5
    unigram /= unigram.sum()
    table = (counts + BACKOFF * unigram).log() - (counts.sum(1, keepdim=True) + BACKOFF).log()
    return (table - table.mean(1, keepdim=True)).float()
