"""Text to batches: named sources, a tokenizer, token shards, batches as a pure function of (seed, step).

Read in this order: :mod:`sources` (where text is from; :mod:`texts`, :mod:`rows` and :mod:`tables` read the
files), :mod:`idioms` and :mod:`stories` (the texts that are made up), :mod:`mix` (shares and splits),
:mod:`tokenizer` (ours) and :mod:`foreign` (of any other model), :mod:`shards` (building a corpus) and
:mod:`halfway` (a build that was stopped), :mod:`corpus` (opening one), :mod:`batches`, :mod:`reader` (batches
ahead of the step).

>>> from sparsecircuits.data import DataConfig, batch, build_corpus
>>> corpus = build_corpus(DataConfig(), "runs/corpus").require_context(64)     # doctest: +SKIP
>>> batch(corpus.train, seed=0, step=0, rows=16, n_ctx=64).shape               # doctest: +SKIP
torch.Size([16, 65])
"""

from sparsecircuits.data.batches import batch, sequential_batches
from sparsecircuits.data.corpus import Corpus
from sparsecircuits.data.foreign import ForeignTokenizer, open_tokenizer
from sparsecircuits.data.manifest import DataConfig
from sparsecircuits.data.reader import BatchReader
from sparsecircuits.data.reports import Document, SourceReport
from sparsecircuits.data.shards import build_corpus
from sparsecircuits.data.sources import read_source
from sparsecircuits.data.tokenizer import TextTokenizer, Tokenizer, train_tokenizer

__all__ = [
    "BatchReader",
    "Corpus",
    "DataConfig",
    "Document",
    "ForeignTokenizer",
    "SourceReport",
    "TextTokenizer",
    "Tokenizer",
    "batch",
    "build_corpus",
    "open_tokenizer",
    "read_source",
    "sequential_batches",
    "train_tokenizer",
]
