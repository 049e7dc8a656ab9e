"""Ablations of the model's parts and shape (Gao et al. 2025, §A.1; Figs 3, 18, 20, 24, 26, 37)."""

from __future__ import annotations

from sparsecircuits.recipes.ablation import change

MODEL_ABLATIONS = (
    change(
        "no_bigram",
        "no bigram table",
        "Fig 24",
        {"model.bigram": False},
        found="no bigram table does worse",
        expected="worse",
    ),
    change(
        "bigram_uniform",
        "the bigram table starts at random, as the paper's",
        "§A.1",
        {"train.bigram_init": "uniform"},
        found="the paper's own start; the baseline here starts from counts",
    ),
    change(
        "no_sink",
        "no attention sink",
        "Fig 18",
        {"model.sink": False},
        found="the sink costs little loss",
        expected="similar",
    ),
    change(
        "positions_learned",
        "learned positions, added to the embedding and sparse",
        "Fig 26",
        {"model.positions": "learned"},
        found="positions are neutral on the loss",
        expected="similar",
    ),
    change(
        "positions_concat",
        "learned positions, beside the residual stream at every read",
        "§A.1",
        {"model.positions": "concat"},
        found="improves interpretability; its loss is not stated here",
    ),
    change("d_head_32", "heads of 32 channels instead of 16", "Fig 20", {"model.d_head": 32}),
    change("d_head_64", "heads of 64 channels instead of 16", "Fig 20", {"model.d_head": 64}),
    change("no_biases", "no biases in attention and MLP", "§A.1", {"model.bias": False}),
    change(
        "topk_1_8",
        "an eighth of the activations stay instead of a quarter",
        "Fig 37",
        {"model.topk_fraction": 1 / 8},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    change(
        "topk_1_2",
        "half of the activations stay",
        "Fig 37",
        {"model.topk_fraction": 1 / 2},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    change(
        "topk_none",
        "all activations stay",
        "Fig 37",
        {"model.topk_fraction": None},
        found="some activation sparsity helps, too much is dominated, in loss and circuit size together",
    ),
    change(
        "topk_reads",
        "AbsTopK at the residual reads alone",
        "§A.1",
        {"model.topk_sites": ("attn.act_in", "mlp.act_in")},
    ),
    change(
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
    change(
        "width_half",
        "half as wide at the same number of nonzero weights",
        "Figs 3, 37",
        {"model.d_model": 64, "train.density": 1 / 8, "train.embed_density": 1 / 24},
        found="wider at a fixed L0 is better",
        expected="worse",
    ),
    change(
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
