import numpy as np

from sparsecircuits.data.manifest import Amount, SourceRecord
from sparsecircuits.data.mix import Draw, Split
from sparsecircuits.data.reports import Document
from sparsecircuits.data.tally import Tally


def draws(*splits: Split) -> list[Draw]:
    return [
        Draw(Document("four", "here"), "s", split, bytes([number])) for number, split in enumerate(splits)
    ]


def test_a_full_split_cuts_and_then_drops():
    tally = Tally({"train": 7, "val": 2})
    ids = np.arange(17, dtype="<u2")
    taken = tally.divide(draws("train", "val", "val", "train", "train"), ids, [5, 3, 3, 3, 3])
    assert np.frombuffer(taken["train"], "<u2").tolist() == [0, 1, 2, 3, 4, 11, 12]
    assert np.frombuffer(taken["val"], "<u2").tolist() == [5, 6]
    assert (tally.tokens, tally.total, tally.full) == ({"train": 7, "val": 2}, 9, True)
    record = tally.of("s", SourceRecord(ended=True))
    assert record.train == Amount(documents=2, chars=8, tokens=7)
    assert record.val == Amount(documents=1, chars=4, tokens=2)
    assert record.ended


def test_training_on_all_there_is_takes_what_validation_has_no_room_for():
    tally = Tally({"train": None, "val": 4})
    ids = np.arange(12, dtype="<u2")
    taken = tally.divide(draws("val", "val", "val", "train"), ids, [3, 3, 3, 3])
    assert np.frombuffer(taken["val"], "<u2").tolist() == [0, 1, 2, 3]
    assert np.frombuffer(taken["train"], "<u2").tolist() == [6, 7, 8, 9, 10, 11]
    assert (tally.total, tally.full) == (None, False)


def test_the_hash_is_of_the_texts_that_were_taken():
    one, two, three = Tally({"train": 6}), Tally({"train": 6}), Tally({"train": 6})
    one.count(draws("train", "train", "train"), [3, 3, 3])
    two.count(draws("train", "train"), [3, 3])
    three.count(draws("train"), [6])
    hashes = [tally.of("s", SourceRecord()).hash for tally in (one, two, three)]
    assert hashes[0] == hashes[1] != hashes[2]
    assert one.of("another", SourceRecord()).hash == ""
