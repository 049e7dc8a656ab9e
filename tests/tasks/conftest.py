"""One small tokenizer, trained on idioms, and what follows what in them, for all tests of tasks."""

from __future__ import annotations

from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest

from sparsecircuits.data.idioms import endless_idioms
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return list(islice(endless_idioms(11), 3000))


@pytest.fixture(scope="session")
def tokenizer(documents: list[str]) -> Tokenizer:
    return train_tokenizer(documents, 1024)


@pytest.fixture(scope="session")
def follows(documents: list[str], tokenizer: Tokenizer) -> Counter[tuple[int, int]]:
    """How often one token follows another in the documents."""
    return Counter(pair for ids in tokenizer.encode_batch(documents) for pair in pairwise(ids))


@pytest.fixture(scope="session")
def corpus(documents: list[str], tokenizer: Tokenizer) -> np.ndarray:
    """The documents as a corpus has them: one after the other, each with ``<|endoftext|>`` behind it."""
    ids = [index for row in tokenizer.encode_batch(documents) for index in (*row, tokenizer.eot_id)]
    return np.array(ids, dtype=np.uint16)
