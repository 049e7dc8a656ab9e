"""Every threshold of the report card, in one place, the same for all tasks and models.

They are the proposals of the literature as far as planted models bear them out: there a
true circuit must pass everything and a decoy must fail (``benchmarks/truth.py``). A card carries their hash.
Change one only together with that calibration, never for a circuit.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass

from sparsecircuits.config import Config


@dataclass(frozen=True, kw_only=True)
class Thresholds(Config):
    """One field a threshold; losses in nats."""

    sufficiency_slack: float = 0.02
    """T1: by so much a held-out loss may exceed the target that the circuit was chosen by."""
    chance_low: float = 0.40
    """T2: accuracy without the circuit at least, raw and refitted ..."""
    chance_high: float = 0.60
    """T2: ... and at most."""
    one_way: float = 0.90
    """T2: accuracy, refitted, with all *other* circuits of a task deleted, at least: it is one way."""
    divergence: float = 0.1
    """T3: mean KL to the full model at most ..."""
    worst_divergence: float = 1.0
    """T3: ... its 99th percentile at most ..."""
    agreement: float = 0.95
    """T3: ... and the same answer on this share of prompts at least."""
    stochastic_targets: float = 2.0
    """T4: mean loss at most so many targets ..."""
    stochastic_worst: float = math.log(2)
    """T4: ... and the worst of the draws at most that of a coin."""
    adversarial: float = math.log(2)
    """T5: loss under the worst restoring that an adversary finds, at most; and below the control's."""
    recovered: float = 0.8
    """T6: share of the loss between coin and model that is recovered, at least, all else resampled."""
    interchange: float = 0.90
    """T7: share of answers that stay (flip) when the circuit's nodes come from a like (opposite) prompt, at
    least ..."""
    interchange_wrong: float = 0.10
    """T7: ... and that flip when as many other nodes do, at most."""
    control_ratio: float = 10.0
    """T8, T9: a control's circuit has at least so many times the nodes, or none reaches the target."""
    random_quantile: float = 0.99
    """T10: share of random circuits of equal profile that the circuit beats, at least ..."""
    random_null: float = 0.9
    """T10, T16: ... and the null hypothesis that a binomial test (at 0.05) must reject."""
    alpha: float = 0.05
    """T10, T16: level of that test."""
    heldout_gap: float = 0.05
    """T11: held-out loss minus train loss at most ..."""
    heldout_accuracy_gap: float = 0.02
    """T11: ... and as much accuracy lost at most."""
    shift_correlation: float = 0.8
    """T12: correlation of circuit's and model's logit differences on shifted prompts, at least ..."""
    shift_kappa: float = 0.6
    """T12: ... and Cohen's kappa of which prompts they fail on."""
    unexplained: float = 0.2
    """T13: fraction of the variance of kept nodes that differs from the model's, at most ..."""
    attention_distance: float = 0.1
    """T13: ... and the mean total variation of attention rows."""
    interchange_curve: float = 0.1
    """T14: range of the loss while shares of the kept nodes take the model's values, at most."""
    norm: float = 0.1
    """T15: change of the loss when norm scales are the model's, at most."""
    minimal: float = 0.95
    """T16: share of nodes (and of edges, where they were pruned) that each matter, at least ..."""
    harm: float = 1 / 30
    """T16: ... a rise of the loss counting as harm above this share of the target. (Planted models, of 0.15
    nats: up to 2% of it without one of two redundant copies, 160% and more without a node that is needed.)"""
    completeness: float = 0.10
    """T17: mean difference of circuit and model without the same nodes, as a share of the model's logit
    difference, at most."""
    jaccard: float = 0.6
    """T20: mean Jaccard index of the circuits of other seeds and data, at least ..."""
    core_slack: float = 0.1
    """T20: ... and the loss of what 80% of them share, above theirs, at most."""
    node_f1: float = 0.95
    """T21: of nodes, at least ..."""
    edge_f1: float = 0.90
    """T21: ... and of edges."""
    specificity: float = 0.10
    """T22: mean harm to other tasks as a share of that to its own, at most."""
    weights_ratio: float = 3.0
    """T23: harm of ablating the circuit's weights by that of ablating others of equal size, at least."""
    replay: float = 1e-5
    """T24: difference of the loss in another process, at most."""
    mediation: float = 0.70
    """T26: share of an upstream change that restoring the circuit's writes undoes, at least."""

    @property
    def sha256(self) -> str:
        """Tells which thresholds a card was judged by."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()


THRESHOLDS = Thresholds()
