"""What it takes to pass each test, in words: every number in them is that of :mod:`.thresholds`."""

from __future__ import annotations

import math
from decimal import Decimal

from sparsecircuits.validate.thresholds import Thresholds


def passes(at: Thresholds) -> dict[str, str]:
    """Test -> which way its estimate must lie, and how far, by the thresholds ``at``."""
    control = f"at least {at.control_ratio:g}, or the target is out of reach"
    return {
        "T1": f"at most the target + {plain(at.sufficiency_slack)}",
        "T2": f"{at.chance_low:.0%} to {at.chance_high:.0%}, raw and refitted",
        "T3": f"mean at most {plain(at.divergence)}, 99th percentile {plain(at.worst_divergence)}, "
        f"same answer on {at.agreement:.0%}",
        "T4": f"at most {times(at.stochastic_targets)} the target, "
        f"the worst draw at most {plain(at.stochastic_worst)}",
        "T5": f"at most {plain(at.adversarial)}, and below the control's",
        "T6": f"at least {at.recovered:.0%}",
        "T7": f"at least {at.interchange:.0%} flip, {at.interchange:.0%} stay among like prompts, "
        f"at most {at.interchange_wrong:.0%} flip with others",
        "T8": control,
        "T9": control,
        "T10": f"at least {at.random_quantile:.0%}, and more than {at.random_null:.0%} beyond chance",
        "T11": f"at most {plain(at.heldout_gap)} nats, and {at.heldout_accuracy_gap:.0%} of accuracy",
        "T12": f"at least {plain(at.shift_kappa)}, and a correlation of {plain(at.shift_correlation)}",
        "T13": f"at most {at.unexplained:.0%}, attention rows at most {plain(at.attention_distance)} apart",
        "T14": f"at most {plain(at.interchange_curve)}",
        "T15": f"at most {plain(at.norm)}",
        "T16": f"at least {at.minimal:.0%}",
        "T17": f"at most {at.completeness:.0%}",
        "T20": f"at least {plain(at.jaccard)}, the shared core within {plain(at.core_slack)} nats",
        "T21": f"at least {at.node_f1:.2f}, of edges {at.edge_f1:.2f}",
        "T22": f"at most {at.specificity:.0%}",
        "T23": f"at least {at.weights_ratio:g}",
        "T24": f"at most {plain(at.replay)}",
        "T25": "all of them",
        "T26": f"at least {at.mediation:.0%}",
    }


def plain(number: float) -> str:
    """Without an exponent; a coin's loss by its name.

    >>> plain(1e-5), plain(math.log(2)), plain(1.0)
    ('0.00001', 'ln 2', '1.0')
    """
    return "ln 2" if number == math.log(2) else format(Decimal(repr(number)), "f")


def times(number: float) -> str:
    """Such as ``twice``.

    >>> times(2.0), times(2.5)
    ('twice', '2.5 times')
    """
    return "twice" if number == 2 else f"{number:g} times"
