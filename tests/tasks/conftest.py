"""One small tokenizer, trained on idioms, for all tests of tasks."""

from __future__ import annotations

from itertools import islice

import pytest

from sparsecircuits.data.idioms import endless_idioms
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return list(islice(endless_idioms(11), 3000))


@pytest.fixture(scope="session")
def tokenizer(documents: list[str]) -> Tokenizer:
    return train_tokenizer(documents, 1024)
