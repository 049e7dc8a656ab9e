"""Seconds by stage, over interruptions."""

from __future__ import annotations

from pathlib import Path

import pytest

from sparsecircuits.study.clock import Clock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def spend(clock: Clock, now: list[float], stage: str, seconds: float, interrupt: bool = False) -> None:
    with clock.stage(stage):
        now[0] += seconds
        if interrupt:
            raise KeyboardInterrupt


def test_stages_add_up(tmp_path: Path, now: list[float]) -> None:
    clock = Clock(tmp_path / "new" / "seconds.json")
    assert clock.seconds() == {"total": 0}
    spend(clock, now, "train", 2.25)
    spend(clock, now, "prune", 1.0)
    spend(clock, now, "train", 0.5)
    assert clock.seconds() == {"total": 3.8, "train": 2.8, "prune": 1.0}  # 3.75 and 2.75, to a tenth


def test_an_interrupted_stage_counts_and_is_gone_on_with(tmp_path: Path, now: list[float]) -> None:
    path = tmp_path / "seconds.json"
    with pytest.raises(KeyboardInterrupt):
        spend(Clock(path), now, "train", 3, interrupt=True)
    now[0] += 1000  # between the two calls
    clock = Clock(path)
    spend(clock, now, "train", 4)
    assert clock.seconds() == {"total": 7.0, "train": 7.0}
