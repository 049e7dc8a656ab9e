"""Presets of our own, small enough for a laptop, and what ``sparsecircuits demo`` does with two of them.

>>> demo().model.n_layer
2
"""

from __future__ import annotations

from sparsecircuits.data import DataConfig
from sparsecircuits.model import GPTConfig
from sparsecircuits.prune import PruneConfig
from sparsecircuits.recipes.preset import Preset
from sparsecircuits.study.demo import DemoPlan
from sparsecircuits.train import RunConfig, TrainConfig


def demo() -> Preset:
    """A sparse model that does most of the twenty tasks, in minutes on one core."""
    return Preset(
        data=DataConfig(vocab_size=1024, train_tokens=2_400_000),
        model=GPTConfig(vocab_size=1024, n_ctx=64, n_layer=2, d_model=128),
        train=TrainConfig(steps=2200, lr=3e-2, density=1 / 32, embed_density=1 / 48, eval_every=250),
    )


def demo_dense() -> Preset:
    """The dense twin of ``demo``: the same but for the sparsity of its weights and its own best rate."""
    preset = demo()
    return preset.replace(train=preset.train.replace(density=1.0, embed_density=1.0, lr=8e-3))


def stories() -> Preset:
    """A sparse model of plain English: it learns simple stories and does the tasks of that suite."""
    preset = demo()
    return preset.replace(
        data=preset.data.replace(mix={"stories": 1.0}, vocab_size=640, train_tokens=5_200_000),
        model=preset.model.replace(vocab_size=640),
        train=preset.train.replace(steps=5000, embed_density=1 / 24),
    )


def small() -> Preset:
    """Deeper, of a longer context and longer trained than ``demo``, with positions: what copying takes."""
    preset = demo()
    return preset.replace(
        data=preset.data.replace(train_tokens=16_000_000),
        model=preset.model.replace(n_layer=3, n_ctx=128, positions="learned"),
        train=preset.train.replace(steps=15_600, rows=8),
    )


def tiny() -> Preset:
    """Seconds: for tests, and for trying things out. It does a few of the easiest tasks."""
    preset = demo()
    return preset.replace(
        data=preset.data.replace(train_tokens=150_000, val_tokens=8_192, tokenizer_chars=200_000),
        model=preset.model.replace(d_model=48),
        train=preset.train.replace(steps=250, rows=4, density=1 / 8, embed_density=1 / 4, eval_tokens=4_096),
    )


#: What ``sparsecircuits demo`` prunes; the rest is a matter of ``sparsecircuits prune RUN --all``.
DEMO_TASKS = (
    "single_double_quote",
    "bracket_counting",
    "set_or_string_fixedvarname",
    "for_while",
    "bracket_brace",
    "while_return_true",
    "with_as",
)


def demo_plan(seed: int = 0) -> DemoPlan:
    """What ``sparsecircuits demo`` does; one seed for models, batches, pairs and masks.

    The corpus stays the same, so that losses of several seeds can be compared. Circuits are searched
    and measured on prompts of up to 32 tokens, half of the context, chosen on half as many pairs as
    otherwise, and by what they do alone (objective ``task``, the paper's), so that it takes minutes.
    """
    sparse, dense = demo(), demo_dense()
    return DemoPlan(
        data=sparse.data,
        sparse=sparse.run.replace(train=sparse.train.replace(seed=seed)),
        dense=dense.run.replace(train=dense.train.replace(seed=seed)),
        prune=PruneConfig(
            objective="task", seed=seed, max_tokens=32, selection_pairs=128, validation_pairs=128
        ),
        tasks=DEMO_TASKS,
        eval_pairs=256,
    )


def quick_demo_plan(seed: int = 0) -> DemoPlan:
    """The same line in about a minute, to see that it works: smaller models, fewer tasks and pairs."""
    plan = demo_plan(seed)
    shape = plan.sparse.model.replace(d_model=64)
    brief = {"steps": 800, "eval_tokens": 8_192, "checkpoint_every": 200}
    return plan.replace(
        data=plan.data.replace(train_tokens=700_000, val_tokens=16_384, tokenizer_chars=500_000),
        sparse=RunConfig(
            model=shape, train=plan.sparse.train.replace(density=1 / 16, embed_density=1 / 16, **brief)
        ),
        dense=RunConfig(model=shape, train=plan.dense.train.replace(**brief)),
        prune=plan.prune.replace(
            steps=60,
            train_pairs=128,
            selection_pairs=64,
            validation_pairs=64,
            heldout_pairs=64,
            evaluations=30,
        ),
        tasks=("single_double_quote", "bracket_counting", "set_or_string_fixedvarname"),
        eval_pairs=64,
    )
