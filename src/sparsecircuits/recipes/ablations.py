"""The paper's ablations at the scale of ``demo``: each is ``demo`` with a field or two changed.

Gao et al. 2025, §A.1, §A.2 and §D, Figs 3, 13 to 30, 35 and 37. Each entry says what the paper found, as far
as it is known here, and what that lets one expect of the validation loss; ``benchmarks/ablations.py`` trains
them all, and ``docs/ablations.md`` says which findings hold at this size.

>>> ablation("no_anneal").changes
{'train.anneal_start': 0.0, 'train.anneal_stop': 0.0}
"""

from __future__ import annotations

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.recipes.ablation import BASELINE, RATES, Ablation, change
from sparsecircuits.recipes.model_ablations import MODEL_ABLATIONS

_SCHEDULE = (
    change(
        "no_warmup",
        "the rate starts at its full height",
        "Fig 13",
        {"train.warmup": 0.0},
        found="no warm-up does worse",
        expected="worse",
    ),
    change(
        "long_warmup",
        "warm-up over 5% of the steps instead of 1%",
        "Fig 14",
        {"train.warmup": 0.05},
        found="a longer warm-up is slightly better",
        expected="better",
    ),
    change(
        "no_lr_decay",
        "the rate does not fall at the end",
        "Fig 15",
        {"train.decay": "constant"},
        found="no decay does worse",
        expected="worse",
        rates=RATES,
    ),
    change("cosine", "the rate falls by half a cosine", "§A.2", {"train.decay": "cosine"}),
    change(
        "no_sharkfin",
        "annealing, but the rate does not rise as the model grows sparser",
        "Fig 25",
        {"train.sharkfin": False},
        found="annealing helps only with the sharkfin: without it, it is no better than not annealing",
        expected="not better",
        against="no_anneal",
        rates=RATES,
    ),
)

_ANNEALING = (
    change(
        "no_anneal",
        "at the target density from the first step on",
        "Fig 23",
        {"train.anneal_start": 0.0, "train.anneal_stop": 0.0},
        found="no annealing does worse",
        expected="worse",
        rates=RATES,
    ),
    change(
        "power",
        "density falls by a cubic, fast at first",
        "§A.2",
        {"train.anneal_shape": "power"},
        found="fast early annealing ends similarly",
        expected="similar",
    ),
    change(
        "exponential",
        "density falls by the same factor in every step",
        "§A.2",
        {"train.anneal_shape": "exponential"},
        found="fast early annealing ends similarly",
        expected="similar",
    ),
    change("stop_0.2", "annealing ends at 20% of the steps", "§A.2", {"train.anneal_stop": 0.2}),
    change(
        "stop_0.8",
        "annealing ends at 80% of the steps",
        "§A.2",
        {"train.anneal_stop": 0.8},
        found="used for the largest and sparsest models; its effect is not stated here",
    ),
    change(
        "late_embeddings",
        "embeddings stay dense long, then fall fast (the paper's bug)",
        "Fig 21",
        {"train.embed_schedule": "late"},
        found="the fix, which is the baseline here, hurts very slightly",
        expected="better",
    ),
    change("sparse_biases", "biases are made sparse like embeddings", "§2.1", {"train.biases": "sparse"}),
    change(
        "floor_0",
        "no least number of weights of a neuron",
        "Fig 22",
        {"train.floor": 0},
        found="the floor hurts the loss",
        expected="better",
    ),
    change(
        "floor_2",
        "at least 2 weights of a neuron instead of 4",
        "Fig 22",
        {"train.floor": 2},
        found="the floor hurts the loss",
        expected="better",
    ),
    change(
        "density_double",
        "twice as many weights",
        "Figs 3, 37",
        {"train.density": 1 / 16, "train.embed_density": 1 / 24},
        found="a larger L0 lowers the loss (and makes circuits larger)",
        expected="better",
    ),
    change(
        "density_half",
        "half as many weights, and a floor of 2, since 4 would not fit",
        "Figs 3, 37",
        {"train.density": 1 / 64, "train.embed_density": 1 / 96, "train.floor": 2},
        found="a smaller L0 raises the loss (and makes circuits smaller)",
        expected="worse",
    ),
    change(
        "hard_concrete",
        "learned gates and a penalty on their expected number instead of top-k",
        "Fig 35, §D",
        {"train.sparsity": "hard_concrete"},
        found="top-k does better",
        expected="worse",
        rates=RATES,
    ),
)

_OPTIMIZER = (
    change(
        "grad_clip",
        "gradients divided by their RMS only where it exceeds 1 (the paper's text)",
        "Fig 16",
        {"train.grad_rms": "clip"},
        found="clipping is essential for stability; how it compares with dividing always is not stated here",
        rates=(10.0, 100.0),
    ),
    change(
        "grad_none",
        "gradients as they come",
        "Fig 16",
        {"train.grad_rms": "none"},
        found="without, training is unstable",
        expected="worse",
        rates=(10.0, 100.0),
    ),
    change(
        "grad_none_eps_5e-5",
        "gradients as they come, and an epsilon of 5e-5: 0.1 times their RMS, which is about 5e-4 here",
        "Fig 16",
        {"train.grad_rms": "none", "train.eps": 5e-5},
        found="without, training is unstable",
        expected="worse",
        rates=RATES,
    ),
    change("beta1_0", "Adam without momentum", "§A.2", {"train.beta1": 0.0}, rates=RATES),
    change("beta2_0.999", "Adam's usual second decay rate", "§A.2", {"train.beta2": 0.999}, rates=RATES),
    change(
        "eps_1e-8",
        "Adam's usual epsilon",
        "Fig 30",
        {"train.eps": 1e-8},
        found="swept, 0.1 is the paper's choice; the losses are not stated here",
        rates=(1 / 10, 1 / 3),
    ),
    change(
        "eps_0.01",
        "a tenth of the epsilon",
        "Fig 30",
        {"train.eps": 0.01},
        found="swept, 0.1 is the paper's choice; the losses are not stated here",
        rates=RATES,
    ),
    change(
        "eps_1",
        "ten times the epsilon",
        "Fig 30",
        {"train.eps": 1.0},
        found="swept, 0.1 is the paper's choice; the losses are not stated here",
        rates=(3.0, 10.0),
    ),
    change("no_weight_decay", "no weight decay", "§A.2", {"train.weight_decay": 0.0}),
)

#: All of them, by theme.
ABLATIONS: tuple[Ablation, ...] = (*_SCHEDULE, *_ANNEALING, *_OPTIMIZER, *MODEL_ABLATIONS)
_BY_NAME = {entry.name: entry for entry in (BASELINE, *ABLATIONS)}


def ablation(name: str) -> Ablation:
    """The ablation of that name, or ``baseline``.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"unknown ablation {name!r}; {near_misses(name, _BY_NAME)}")
    return _BY_NAME[name]
