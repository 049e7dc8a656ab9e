"""The words of what passes follow the thresholds, all of them but those that no words name."""

from __future__ import annotations

import dataclasses

from sparsecircuits.validate.catalogue import KINDS
from sparsecircuits.validate.passes import passes
from sparsecircuits.validate.thresholds import THRESHOLDS, Thresholds

#: Parts of tests that are too long to say in a line: docs/truth.md says them.
UNSAID = {"one_way", "alpha", "harm"}


def test_every_threshold_is_in_the_words_of_its_test() -> None:
    plain = passes(THRESHOLDS)
    for field in dataclasses.fields(Thresholds):
        if field.name in UNSAID:
            continue
        other = THRESHOLDS.replace(**{field.name: getattr(THRESHOLDS, field.name) * 0.5})
        changed = {test for test, words in passes(other).items() if words != plain[test]}
        assert changed, field.name


def test_the_catalogue_has_them() -> None:
    assert {test: kind.passes for test, kind in KINDS.items()} == passes(THRESHOLDS)


def test_words_by_hand() -> None:
    found = passes(
        THRESHOLDS.replace(control_ratio=20.0, replay=1e-6, stochastic_targets=3.0, stochastic_worst=0.5)
    )
    assert found["T8"] == found["T9"] == "at least 20, or the target is out of reach"
    assert found["T24"] == "at most 0.000001"
    assert found["T4"] == "at most 3 times the target, the worst draw at most 0.5"
    assert passes(THRESHOLDS)["T5"] == "at most ln 2, and below the control's"
    assert passes(THRESHOLDS)["T3"] == "mean at most 0.1, 99th percentile 1.0, same answer on 95%"
