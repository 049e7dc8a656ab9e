"""What the report card's tests are called, what each asks, and what a verdict needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from sparsecircuits.validate.passes import passes
from sparsecircuits.validate.thresholds import THRESHOLDS

#: Of the tests' definitions: a card of other ones is made anew.
VERSION = 2
Level = Literal["quick", "standard", "full"]
#: Held-out pairs of each level; there are twice as many prompts.
PAIRS: Mapping[Level, int] = {"quick": 64, "standard": 128, "full": 512}
LEVELS: tuple[Level, ...] = get_args(Level)
#: Test -> what it takes to pass, in words.
PASSES = passes(THRESHOLDS)


@dataclass(frozen=True)
class Kind:
    """One test, in words.

    Attributes:
        test: its short name.
        name: its long one.
        asks: what it asks, in a line.
        figure: what the estimate is, with its unit.
        passes: which way the estimate must lie, and how far.
        control: what stands beside it.
        rules_out: what a circuit that passes is not.
        level: from which level on it is run.
    """

    test: str
    name: str
    asks: str
    figure: str
    passes: str
    control: str
    rules_out: str
    level: Level


KINDS: Mapping[str, Kind] = {
    kind.test: kind
    for kind in (
        Kind(
            "T1",
            "sufficiency",
            "Does the circuit alone do the task, on prompts of new templates and words?",
            "held-out loss, nats",
            PASSES["T1"],
            "the empty circuit",
            "a circuit that lacks a part",
            "quick",
        ),
        Kind(
            "T2",
            "necessity",
            "Is the task lost without it, even when scale and bias are refitted?",
            "accuracy without it, refitted",
            PASSES["T2"],
            "harm of deleting a random circuit, nats",
            "one of several ways in which the model does the task, taken for the only one",
            "quick",
        ),
        Kind(
            "T3",
            "output match",
            "Does it answer as the model does, where that is right and where it is wrong?",
            "KL to the model, nats",
            PASSES["T3"],
            "a random circuit",
            "a circuit for the right answers that the model does not give",
            "quick",
        ),
        Kind(
            "T4",
            "stochastic ablation",
            "Does it go on working when deleted nodes come back at random?",
            "mean loss over 64 draws, nats",
            PASSES["T4"],
            "a random circuit",
            "one of two nodes that cancel: a circuit that lives by what it leaves out",
            "quick",
        ),
        Kind(
            "T5",
            "adversarial ablation",
            "... and when an adversary chooses what comes back?",
            "loss under the worst restoring, nats",
            PASSES["T5"],
            "the same attack on a random circuit",
            "weaknesses that random draws miss",
            "standard",
        ),
        Kind(
            "T6",
            "resample ablation",
            "... and when deleted nodes take their values from other texts, not their means?",
            "share of the loss recovered",
            PASSES["T6"],
            "a random circuit",
            "a circuit that needs exactly the mean around it",
            "standard",
        ),
        Kind(
            "T7",
            "interchange",
            "In the full model, do its nodes alone carry the answer from one prompt to another?",
            "answers that flip with the circuit's nodes",
            PASSES["T7"],
            "as many other nodes",
            "nodes that accompany the answer but do not carry it",
            "standard",
        ),
        Kind(
            "T8",
            "nonsense tasks",
            "How large a circuit does the same search find for answers that the model never gives?",
            "nodes of the smallest one, by the real one's",
            PASSES["T8"],
            "this is the control",
            "a search that finds a circuit for anything",
            "full",
        ),
        Kind(
            "T9",
            "random weights",
            "... and in a model of the same sparsity whose weights are random or shuffled?",
            "nodes of the smallest one, by the real one's",
            PASSES["T9"],
            "this is the control",
            "a search that does not need a trained model",
            "full",
        ),
        Kind(
            "T10",
            "random circuits",
            "Is it better than random circuits of equal profile?",
            "share of them that it beats",
            PASSES["T10"],
            "one of them, against the others",
            "size alone",
            "quick",
        ),
        Kind(
            "T11",
            "held-out templates",
            "Does it lose more on new templates than on those it was found on?",
            "held-out less train loss, nats",
            PASSES["T11"],
            "the model's own gap",
            "a circuit fitted to its prompts",
            "quick",
        ),
        Kind(
            "T12",
            "shifted prompts",
            "Where the model fails on shifted prompts, does the circuit foretell on which?",
            "Cohen's kappa of circuit and model",
            PASSES["T12"],
            "a random circuit",
            "another mechanism with the same answers on ordinary prompts",
            "standard",
        ),
        Kind(
            "T13",
            "internal match",
            "Do its nodes have the values, and its heads the patterns, that they have in the model?",
            "unexplained share of variance",
            PASSES["T13"],
            "a random circuit",
            "nodes that are used for something else than in the model",
            "standard",
        ),
        Kind(
            "T14",
            "interchange to full",
            "Does its loss stay when some of its nodes take the model's values?",
            "rise of the loss, nats",
            PASSES["T14"],
            "a random circuit",
            "errors within the circuit that make up for one another",
            "standard",
        ),
        Kind(
            "T15",
            "norm sensitivity",
            "Does it need another norm's scale than the model has?",
            "change of the loss, nats",
            PASSES["T15"],
            "a random circuit",
            "work done by RMSNorm unseen",
            "standard",
        ),
        Kind(
            "T16",
            "minimality",
            "Does each node matter more than a random one that is added?",
            "share of nodes that do",
            PASSES["T16"],
            "random nodes that are added",
            "idle nodes",
            "standard",
        ),
        Kind(
            "T17",
            "completeness",
            "With some of its nodes gone, do circuit and model lose the same?",
            "mean difference, of the model's lead",
            PASSES["T17"],
            "a random circuit",
            "parts that take over where the circuit is hurt",
            "standard",
        ),
        Kind(
            "T20",
            "stability",
            "Do other seeds and other data give the same circuit?",
            "mean Jaccard index",
            PASSES["T20"],
            "random sets of the same sizes",
            "an accident of one search",
            "full",
        ),
        Kind(
            "T21",
            "ground truth",
            "Is it what was planted?",
            "F1 of nodes",
            PASSES["T21"],
            "",
            "anything else",
            "quick",
        ),
        Kind(
            "T22",
            "specificity",
            "Does the model keep its other tasks without it?",
            "harm to others, by that to its own",
            PASSES["T22"],
            "a random circuit, of the same own harm",
            "nodes that everything needs",
            "standard",
        ),
        Kind(
            "T23",
            "weights, magnitude-matched",
            "Do its weights matter more than others of equal size?",
            "harm, by that of other weights",
            PASSES["T23"],
            "other weights of equal size",
            "large weights taken for important ones",
            "standard",
        ),
        Kind(
            "T24",
            "replay",
            "Does the saved circuit give the same loss in a new process?",
            "change of the loss, nats",
            PASSES["T24"],
            "",
            "a circuit that only its maker can run",
            "quick",
        ),
        Kind(
            "T25",
            "exhaustive check",
            "Do circuit, model and stated program agree on every input of a domain?",
            "share of inputs on which they do",
            PASSES["T25"],
            "",
            "rare inputs that no sample holds",
            "standard",
        ),
        Kind(
            "T26",
            "mediation",
            "Does a change upstream act through the nodes that the circuit says it does?",
            "share undone by restoring them",
            PASSES["T26"],
            "as many other nodes",
            "paths beside the circuit's",
            "standard",
        ),
    )
}

#: Verdict -> the tests that it needs; all but the first need the first too.
VERDICTS: Mapping[str, tuple[str, ...]] = {
    "Sufficient": ("T1", "T2", "T10", "T11", "T24"),
    "Robust": ("T3", "T4", "T13", "T16"),
    "Controlled": ("T8", "T9"),
    "Faithful": ("T5", "T6", "T7", "T12", "T20"),
    "Verified": ("T25",),
}
#: What each verdict says, for the card.
MEANINGS: Mapping[str, str] = {
    "Sufficient": "does the task, is needed for it, and no random circuit would do",
    "Robust": "answers and works inside as the model does, whatever else comes back; no idle nodes",
    "Controlled": "the same search finds nothing as small for nonsense or in random weights",
    "Faithful": "holds against an adversary, other texts and other prompts, and every search finds it",
    "Verified": "agrees with model and program on every input of a domain",
}
