"""The measuring script of dead neurons: what it concludes from made-up trainings."""

from __future__ import annotations

from typing import Any

from benchmarks.dead_neurons import verdict


def row(scheme: str, seed: int, loss: float, dead: float, **edges: int) -> dict[str, Any]:
    return {"scheme": scheme, "seed": seed, "val_loss": loss, "dead": dead, "edges": edges}


BASE = [row("none", 0, 2.00, 0.2, a=10, b=8), row("none", 1, 2.01, 0.25, a=10)]


def test_a_change_beyond_the_seeds() -> None:
    said = verdict([*BASE, row("leak", 0, 1.98, 0.1), row("leak", 1, 1.95, 0.05)])
    assert said == (
        "- `leak` takes dead neurons from 20.0% to 10.0%, 25.0% to 5.0%, and lowers the loss by more than "
        "seeds do: -0.0200, -0.0600 nats a token, where the seeds without it lie 0.0100 apart."
    )


def test_a_change_within_the_seeds_and_one_of_both_signs() -> None:
    within = [row("leak", 0, 2.005, 0.1), row("leak", 1, 2.05, 0.05)]
    both = [row("resample", 0, 1.9, 0.1), row("resample", 1, 2.2, 0.05)]
    resample, leak = verdict([*BASE, *both, *within]).splitlines()
    assert "moves the loss now up, now down: -0.1000, +0.1900" in resample
    assert "raises the loss with every seed, but not by more than another seed may: +0.0050, +0.0400" in leak


def test_circuits_are_compared_pair_by_pair() -> None:
    # Twice as large, a quarter as large, as large: the geometric mean is (2 / 4) ** (1 / 3) = 0.79.
    said = verdict([*BASE, row("leak", 0, 1.9, 0.1, a=20, b=2, c=9), row("leak", 1, 1.9, 0.1, a=10)])
    assert said.endswith(
        "Its circuits have 0.79 times as many edges, as a geometric mean over 3 pairs of circuits for the "
        "same task and seed: 1 larger, 1 smaller."
    )
