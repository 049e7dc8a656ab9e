"""Is a circuit true? Tests of it against the full model, each with a control, and the report card.

A :class:`Subject` is a circuit under test with its model, task and prompts; every test is a pure function of
it that returns an :class:`Outcome` (``adversarial``, ``resample``, ``interchange``, ...; ``catalogue`` lists
them). ``card.check_circuit`` runs those of a level and draws the verdicts; ``study.check`` does so for the
circuits of a run, with the tests that take prunings. :mod:`planted` has models whose circuits are known, on
which ``calibrate`` tries the tests.

:func:`sufficiency`, :func:`necessity`, :func:`output_match` and :func:`stochastic_ablation` are what pruning
prints: functions of model, circuit and pairs. :mod:`stability` compares the circuits of many prunings.
"""

from sparsecircuits.validate.interval import Interval, clustered_interval
from sparsecircuits.validate.necessity import Necessity, necessity
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.output_match import OutputMatch, output_match
from sparsecircuits.validate.stability import Stability, consensus_core, mean_jaccard, random_jaccard
from sparsecircuits.validate.stochastic import StochasticAblation, stochastic_ablation
from sparsecircuits.validate.subject import Subject
from sparsecircuits.validate.sufficiency import Sufficiency, sufficiency

__all__ = [
    "Interval",
    "Necessity",
    "Outcome",
    "OutputMatch",
    "Stability",
    "StochasticAblation",
    "Subject",
    "Sufficiency",
    "clustered_interval",
    "consensus_core",
    "mean_jaccard",
    "necessity",
    "output_match",
    "random_jaccard",
    "stochastic_ablation",
    "sufficiency",
]
