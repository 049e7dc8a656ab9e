"""The paper's ablations at the scale of ``demo``: each is ``demo`` with a field or two changed.

Gao et al. 2025, §A.1, §A.2 and §D, Figs 3, 13 to 30, 35 and 37. Each entry says what the paper found, as far
as it is known here, and what that lets one expect of the validation loss; ``benchmarks/ablations.py`` trains
them all, and ``docs/ablations.md`` says which findings hold at this size.

>>> ablation("no_anneal").changes
{'train.anneal_start': 0.0, 'train.anneal_stop': 0.0}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.recipes.demo import demo
from sparsecircuits.recipes.preset import Preset
from sparsecircuits.study.ablations import Expected

#: What stands where the paper's finding is not known here.
NOT_STATED = "not stated here"
#: Rates beside the baseline's, as factors, where a change may alter the size of good steps.
RATES = (1 / 3, 3.0)


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """One change of the recipe or of the model."""

    name: str
    about: str
    """What is changed."""
    changes: Mapping[str, Any]
    """Field to value, such as ``{"train.floor": 0}``."""
    source: str
    """Figure or section of the paper."""
    found: str = NOT_STATED
    """What the paper found."""
    expected: Expected | None = None
    """What that lets one expect of the loss, beside ``against``; None: nothing is stated."""
    against: str = ""
    """The ablation that it is compared with; "": the baseline."""
    rates: tuple[float, ...] = ()
    """Other rates to try, as factors: the paper sweeps the rate in every experiment."""

    @property
    def preset(self) -> Preset:
        """``demo`` with the changes."""
        return demo().changed(self.changes)

    def at_rate(self, factor: float) -> Preset:
        """The same with the learning rate multiplied by ``factor``."""
        preset = self.preset
        return preset.replace(train=preset.train.replace(lr=preset.train.lr * factor))


def _ablation(name: str, about: str, source: str, changes: Mapping[str, Any], **more: Any) -> Ablation:
    return Ablation(name=name, about=about, source=source, changes=changes, **more)


BASELINE = Ablation(
    name="baseline", about="the preset demo as it is", source="", changes={}, found="", rates=RATES
)

_SCHEDULE = (
    _ablation(
        "no_warmup",
        "the rate starts at its full height",
        "Fig 13",
        {"train.warmup": 0.0},
        found="no warm-up does worse",
        expected="worse",
    ),
    _ablation(
        "long_warmup",
        "warm-up over 5% of the steps instead of 1%",
        "Fig 14",
        {"train.warmup": 0.05},
        found="a longer warm-up is slightly better",
        expected="better",
    ),
    _ablation(
        "no_lr_decay",
        "the rate does not fall at the end",
        "Fig 15",
        {"train.decay": "constant"},
        found="no decay does worse",
        expected="worse",
        rates=RATES,
    ),
    _ablation("cosine", "the rate falls by half a cosine", "§A.2", {"train.decay": "cosine"}),
    _ablation(
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
    _ablation(
        "no_anneal",
        "at the target density from the first step on",
        "Fig 23",
        {"train.anneal_start": 0.0, "train.anneal_stop": 0.0},
        found="no annealing does worse",
        expected="worse",
        rates=RATES,
    ),
    _ablation(
        "power",
        "density falls by a cubic, fast at first",
        "§A.2",
        {"train.anneal_shape": "power"},
        found="fast early annealing ends similarly",
        expected="similar",
    ),
    _ablation(
        "exponential",
        "density falls by the same factor in every step",
        "§A.2",
        {"train.anneal_shape": "exponential"},
        found="fast early annealing ends similarly",
        expected="similar",
    ),
    _ablation("stop_0.2", "annealing ends at 20% of the steps", "§A.2", {"train.anneal_stop": 0.2}),
    _ablation(
        "stop_0.8",
        "annealing ends at 80% of the steps",
        "§A.2",
        {"train.anneal_stop": 0.8},
        found="used for the largest and sparsest models; its effect is not stated here",
    ),
    _ablation(
        "late_embeddings",
        "embeddings stay dense long, then fall fast (the paper's bug)",
        "Fig 21",
        {"train.embed_schedule": "late"},
        found="the fix, which is the baseline here, hurts very slightly",
        expected="better",
    ),
    _ablation("sparse_biases", "biases are made sparse like embeddings", "§2.1", {"train.biases": "sparse"}),
    _ablation(
        "floor_0",
        "no least number of weights of a neuron",
        "Fig 22",
        {"train.floor": 0},
        found="the floor hurts the loss",
        expected="better",
    ),
    _ablation(
        "floor_2",
        "at least 2 weights of a neuron instead of 4",
        "Fig 22",
        {"train.floor": 2},
        found="the floor hurts the loss",
        expected="better",
    ),
    _ablation(
        "density_double",
        "twice as many weights",
        "Figs 3, 37",
        {"train.density": 1 / 16, "train.embed_density": 1 / 24},
        found="a larger L0 lowers the loss (and makes circuits larger)",
        expected="better",
    ),
    _ablation(
        "density_half",
        "half as many weights, and a floor of 2, since 4 would not fit",
        "Figs 3, 37",
        {"train.density": 1 / 64, "train.embed_density": 1 / 96, "train.floor": 2},
        found="a smaller L0 raises the loss (and makes circuits smaller)",
        expected="worse",
    ),
    _ablation(
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
    _ablation(
        "grad_clip",
        "gradients divided by their RMS only where it exceeds 1 (the paper's text)",
        "Fig 16",
        {"train.grad_rms": "clip"},
        found="clipping is essential for stability; how it compares with dividing always is not stated here",
        rates=(10.0, 100.0),
    ),
    _ablation(
        "grad_none",
        "gradients as they come",
        "Fig 16",
        {"train.grad_rms": "none"},
        found="without, training is unstable",
        expected="worse",
        rates=(10.0, 100.0),
    ),
    _ablation(
        "grad_none_eps_5e-5",
        "gradients as they come, and an epsilon of 5e-5: 0.1 times their RMS, which is about 5e-4 here",
        "Fig 16",
        {"train.grad_rms": "none", "train.eps": 5e-5},
        found="without, training is unstable",
        expected="worse",
        rates=RATES,
    ),
    _ablation("beta1_0", "Adam without momentum", "§A.2", {"train.beta1": 0.0}, rates=RATES),
    _ablation("beta2_0.999", "Adam's usual second decay rate", "§A.2", {"train.beta2": 0.999}, rates=RATES),
    _ablation(
        "eps_1e-8",
        "Adam's usual epsilon",
        "Fig 30",
        {"train.eps": 1e-8},
        found="0.1 was chosen from a sweep; the others' losses are not stated here",
        rates=(1 / 10, 1 / 3),
    ),
    _ablation(
        "eps_0.01",
        "a tenth of the epsilon",
        "Fig 30",
        {"train.eps": 0.01},
        found="0.1 was chosen from a sweep; the others' losses are not stated here",
        rates=RATES,
    ),
    _ablation(
        "eps_1",
        "ten times the epsilon",
        "Fig 30",
        {"train.eps": 1.0},
        found="0.1 was chosen from a sweep; the others' losses are not stated here",
        rates=(3.0, 10.0),
    ),
    _ablation("no_weight_decay", "no weight decay", "§A.2", {"train.weight_decay": 0.0}),
)

_MODEL = (
    _ablation(
        "no_bigram",
        "no bigram table",
        "Fig 24",
        {"model.bigram": False},
        found="no bigram table does worse",
        expected="worse",
    ),
    _ablation(
        "bigram_uniform",
        "the bigram table starts at random, as the paper's",
        "§A.1",
        {"train.bigram_init": "uniform"},
        found="the paper's own start; the baseline here starts from counts",
    ),
    _ablation(
        "no_sink",
        "no attention sink",
        "Fig 18",
        {"model.sink": False},
        found="the sink costs little loss",
        expected="similar",
    ),
    _ablation(
        "positions_learned",
        "learned positions, added to the embedding and sparse",
        "Fig 26",
        {"model.positions": "learned"},
        found="positions are neutral on the loss",
        expected="similar",
    ),
    _ablation(
        "positions_concat",
        "learned positions, beside the residual stream at every read",
        "§A.1",
        {"model.positions": "concat"},
        found="improves interpretability; its loss is not stated here",
    ),
    _ablation("d_head_32", "heads of 32 channels instead of 16", "Fig 20", {"model.d_head": 32}),
    _ablation("d_head_64", "heads of 64 channels instead of 16", "Fig 20", {"model.d_head": 64}),
    _ablation("no_biases", "no biases in attention and MLP", "§A.1", {"model.bias": False}),
    _ablation(
        "topk_1_8",
        "an eighth of the activations stay instead of a quarter",
        "Fig 37",
        {"model.topk_fraction": 1 / 8},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    _ablation(
        "topk_1_2",
        "half of the activations stay",
        "Fig 37",
        {"model.topk_fraction": 1 / 2},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    _ablation(
        "topk_none",
        "all activations stay",
        "Fig 37",
        {"model.topk_fraction": None},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    _ablation(
        "topk_reads",
        "AbsTopK at the residual reads alone",
        "§A.1",
        {"model.topk_sites": ("attn.act_in", "mlp.act_in")},
    ),
    _ablation(
        "topk_no_qkv",
        "AbsTopK everywhere but at q, k and v",
        "§A.1",
        {
            "model.topk_sites": (
                "attn.act_in",
                "attn.resid_delta",
                "mlp.act_in",
                "mlp.post_act",
                "mlp.resid_delta",
            )
        },
    ),
    _ablation(
        "width_half",
        "half as wide at the same number of nonzero weights",
        "Figs 3, 37",
        {"model.d_model": 64, "train.density": 1 / 8, "train.embed_density": 1 / 24},
        found="wider at a fixed L0 is better",
        expected="worse",
    ),
    _ablation(
        "width_double",
        "twice as wide at the same number of nonzero weights, and a floor of 2, since 4 would not fit",
        "Figs 3, 37",
        {
            "model.d_model": 256,
            "train.density": 1 / 128,
            "train.embed_density": 1 / 96,
            "train.floor": 2,
        },
        found="wider at a fixed L0 is better",
        expected="better",
    ),
)

#: All of them, by theme.
ABLATIONS: tuple[Ablation, ...] = (*_SCHEDULE, *_ANNEALING, *_OPTIMIZER, *_MODEL)
_BY_NAME = {entry.name: entry for entry in (BASELINE, *ABLATIONS)}


def ablation(name: str) -> Ablation:
    """The ablation of that name, or ``baseline``.

    Raises:
        ConfigError: there is none; the message names the closest.
    """
    if name not in _BY_NAME:
        raise ConfigError(f"unknown ablation {name!r}; {near_misses(name, _BY_NAME)}")
    return _BY_NAME[name]
