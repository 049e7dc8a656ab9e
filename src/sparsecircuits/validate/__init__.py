"""Is a circuit true? Tests of it against the full model.

:func:`sufficiency`, :func:`necessity`, :func:`output_match` and :func:`stochastic_ablation` are pure
functions of model, circuit and pairs; each returns what it measured and whether that passes. :mod:`stability`
compares the circuits of many prunings; :mod:`planted` has models whose circuits are known.
"""

from sparsecircuits.validate.interval import Interval, clustered_interval
from sparsecircuits.validate.necessity import Necessity, necessity
from sparsecircuits.validate.output_match import OutputMatch, output_match
from sparsecircuits.validate.stability import Stability, consensus_core, mean_jaccard, random_jaccard
from sparsecircuits.validate.stochastic import StochasticAblation, stochastic_ablation
from sparsecircuits.validate.sufficiency import Sufficiency, sufficiency

__all__ = [
    "Interval",
    "Necessity",
    "OutputMatch",
    "Stability",
    "StochasticAblation",
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
