"""Planted models: weights written by hand for known programs, so that the true circuit is known exactly.

A pruner that is given such a model should return its truth; how near it comes is a number
(:func:`score_pruner`). The files, in reading order: ``program`` (what a program is), ``programs`` (the five),
``texts`` (their prompts), ``place`` and ``noise`` (writing weights), ``plant`` (whole models with decoys),
``truth`` and ``check`` (the true circuit, and whether it is true), ``score`` and ``pruners``.

>>> planted = plant("induction", seed=3, level=2)                        # doctest: +SKIP
>>> score_circuit(planted.truth, my_circuit, planted.model).nodes.f1     # doctest: +SKIP
"""

from sparsecircuits.validate.planted.check import TruthCheck, check_truth
from sparsecircuits.validate.planted.plant import LEVELS, SEEDS, PlantedModel, plant, planted_models
from sparsecircuits.validate.planted.program import Head, Neuron, Program, Row
from sparsecircuits.validate.planted.programs import PROGRAMS, get_program
from sparsecircuits.validate.planted.pruners import PRUNERS
from sparsecircuits.validate.planted.score import (
    EDGE_GOAL,
    NODE_GOAL,
    Agreement,
    PlantedMean,
    PlantedResult,
    PlantedScore,
    Pruner,
    means_of,
    score_circuit,
    score_pruner,
)
from sparsecircuits.validate.planted.truth import Part, Truth

__all__ = [
    "EDGE_GOAL",
    "LEVELS",
    "NODE_GOAL",
    "PROGRAMS",
    "PRUNERS",
    "SEEDS",
    "Agreement",
    "Head",
    "Neuron",
    "Part",
    "PlantedMean",
    "PlantedModel",
    "PlantedResult",
    "PlantedScore",
    "Program",
    "Pruner",
    "Row",
    "Truth",
    "TruthCheck",
    "check_truth",
    "get_program",
    "means_of",
    "plant",
    "planted_models",
    "score_circuit",
    "score_pruner",
]
