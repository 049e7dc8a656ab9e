"""Controls: how large are the circuits of what the model does not do? (T8, T9; Drori 2026.)

A circuit is evidence only where pruning, asked for something untrue, finds none or a far larger one. T8 asks
for nonsense (:mod:`.nonsense`), T9 asks models with random weights (:mod:`.random_weights`); both with the
objective ``task``, since with a divergence from the model in it nonsense could not be found by construction.
Judged are sizes at equal plain loss, which :mod:`.prune_controls` measures. They are a property of method and
model: there is one pair of outcomes for a task and a model, whatever other circuits the task has.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sparsecircuits.config import Config
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.thresholds import THRESHOLDS

ControlKind = Literal[
    "real", "nonsense-pair", "nonsense-wrong", "nonsense-constant", "random-weights", "shuffled-weights"
]

#: Told beside T8, and not judged: one token against all others needs nothing from the prompt, a constant is
#: enough. In planted models one node gives it, so that their truths would fail.
UNJUDGED = ("nonsense-constant",)


@dataclass(frozen=True, kw_only=True)
class ControlResult(Config):
    """What one pruning came to.

    Losses are in nats. Where the target was not reached there are no sizes.
    """

    kind: ControlKind
    """What was asked of which model; ``real``: the real task of the trained one."""
    seed: int = 0
    """Of tokens or weights."""
    nodes: int | None = None
    """Of the circuit."""
    edges: int | None = None
    """Of the circuit."""
    loss: float | None = None
    """Held-out task loss of the circuit, under its own scale; if unreachable, the lowest that was seen."""
    stochastic: float | None = None
    """T4 of it: mean task loss on held-out pairs while deleted nodes come back at random."""
    scale: float | None = None
    """The positive factor on the logits that was held while it was looked for."""
    unreachable: bool = False
    """Whether no circuit held the target."""

    @property
    def name(self) -> str:
        """Such as ``nonsense-pair-0``; the real one is ``real``."""
        return self.kind if self.kind == "real" else f"{self.kind}-{self.seed}"

    def node_ratio(self, real: ControlResult) -> float | None:
        """Its nodes by those of the real circuit; None where it is unreachable.

        Of a real circuit without any node, that of one node.
        """
        return None if self.nodes is None else self.nodes / max(1, real.nodes or 0)

    def edge_ratio(self, real: ControlResult) -> float | None:
        """Its edges by those of the real circuit, likewise."""
        return None if self.edges is None else self.edges / max(1, real.edges or 0)


def nonsense_control(
    real: ControlResult | None, controls: Sequence[ControlResult], *, target: float
) -> Outcome:
    """T8: nonsense tasks on the trained model; those of :data:`UNJUDGED` are told beside.

    Args:
        real: the real task's circuit, found with the objective ``task`` and the same settings.
        controls: of any kind; those of nonsense are used.
        target: the task loss that all were pruned to.

    Returns:
        Its estimate is the smallest number of nodes of a control by that of the real circuit; None, and
        passed, where none reaches the target. It is open where one of the two was not pruned.
    """
    asked = [one for one in controls if one.kind.startswith("nonsense")]
    judged = [one for one in asked if one.kind not in UNJUDGED]
    outcome = _outcome("T8", real, judged, target)
    beside = [one.to_dict() for one in asked if one.kind in UNJUDGED]
    return dataclasses.replace(outcome, figures={**outcome.figures, "beside": beside})


def random_weights_control(
    real: ControlResult | None, controls: Sequence[ControlResult], *, target: float
) -> Outcome:
    """T9: the real task on models with random weights; as :func:`nonsense_control`."""
    return _outcome("T9", real, [one for one in controls if one.kind.endswith("weights")], target)


def _outcome(
    test: str, real: ControlResult | None, controls: Sequence[ControlResult], target: float
) -> Outcome:
    if real is None or not controls:
        missing = "no control was pruned" if real is not None else "the real task was not pruned beside it"
        return Outcome(test=test, estimate=None, passed=None, open=True, note=missing)
    if real.unreachable:
        none = "with the objective task the real task has no circuit either, so there is nothing to compare"
        return Outcome(test=test, estimate=None, passed=None, open=True, note=none)
    found = list(_ratios(real, controls))
    smallest = min(found, default=None)
    return Outcome(
        test=test,
        estimate=smallest,
        passed=smallest is None or smallest >= THRESHOLDS.control_ratio,
        figures=_figures(real, controls, target),
        settings={"objective": "task", "target": target, "controls": [one.name for one in controls]},
        note="" if found else f"none of {len(controls)} reaches the target",
    )


def _ratios(real: ControlResult, controls: Sequence[ControlResult]) -> Iterator[float]:
    """The node ratios of those that are reachable."""
    for one in controls:
        ratio = one.node_ratio(real)
        if ratio is not None:
            yield ratio


def _figures(real: ControlResult, controls: Sequence[ControlResult], target: float) -> dict[str, Any]:
    found = list(_ratios(real, controls))
    edges = [ratio for one in controls if (ratio := one.edge_ratio(real)) is not None]
    return {
        "reachable": len(found),
        "of": len(controls),
        "geometric_mean": statistics.geometric_mean(found) if found and min(found) > 0 else None,
        "edge_ratio": min(edges, default=None),
        "ratio_at_stochastic": min(_ratios(real, _as_true(real, controls, target)), default=None),
        "real": real.to_dict(),
        "controls": [one.to_dict() for one in controls],
    }


def _as_true(real: ControlResult, controls: Sequence[ControlResult], target: float) -> list[ControlResult]:
    """Those whose loss while nodes come back is no higher than T4 allows, or than the real circuit's."""
    most = max(real.stochastic or 0.0, THRESHOLDS.stochastic_targets * target)
    return [one for one in controls if one.stochastic is not None and one.stochastic <= most]
