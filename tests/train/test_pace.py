"""Tokens a second and the wait for data, by a clock that is set by hand."""

from __future__ import annotations

from sparsecircuits.train.pace import Pace


class Reader:
    waited = 0.0


def test_steps_are_timed_and_what_lies_between_them_is_not() -> None:
    now, reader = [0.0], Reader()
    pace = Pace(tokens_per_step=100, clock=lambda: now[0])
    for seconds, waited in ((2.0, 0.5), (2.0, 0.0)):
        with pace.step(reader):
            now[0] += seconds
            reader.waited += waited
        now[0] += 60  # a validation
    assert pace.take() == {"tokens_per_second": 50.0, "data_wait": 0.5, "data_wait_share": 0.125}
    with pace.step(reader):
        now[0] += 1.0
    assert pace.take() == {"tokens_per_second": 100.0, "data_wait": 0.0, "data_wait_share": 0.0}
