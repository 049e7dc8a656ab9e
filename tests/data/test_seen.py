import resource

import pytest

from sparsecircuits.data import seen
from sparsecircuits.data.seen import Seen, text_digest


def test_it_knows_what_it_has_seen():
    known = Seen()
    assert [known.add(text_digest(text)) for text in "abcab"] == [True, True, True, False, False]


def test_what_does_not_fit_into_memory_goes_to_disk(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(seen, "CACHE_BYTES", 1 << 20)
    known, digests = Seen(), [text_digest(str(number)) for number in range(120_000)]
    for digest in digests[:30_000]:  # a megabyte of them
        assert known.add(digest)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert all(known.add(digest) for digest in digests[30_000:])  # 3 more
    assert not any(known.add(digest) for digest in digests)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2 << 10  # kB
