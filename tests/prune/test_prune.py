"""From end to end on models whose circuits are known."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecircuits.circuit import model_hash, save_circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.data.tokenizer import Tokenizer
from sparsecircuits.errors import CheckpointError, PruneError, TaskError
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.prune import (
    PruneConfig,
    PruneJob,
    PruneResult,
    Splits,
    pair_logits,
    pretraining_means,
    prune,
    prune_many,
    score,
)
from sparsecircuits.prune.optimise import MaskJob, MaskRun, optimise_masks
from sparsecircuits.tasks.pairs import Split, Task, TextPair, listed_only
from sparsecircuits.tasks.score import Calibration
from tests.prune import planted
from tests.prune.planted import SETTINGS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return planted.byte_tokenizer()


@pytest.fixture(scope="module")
def tokens(tokenizer: Tokenizer) -> np.ndarray:
    return planted.corpus(tokenizer)


@pytest.fixture(scope="module")
def result(tokenizer: Tokenizer, tokens: np.ndarray) -> PruneResult:
    return prune(planted.attention_model(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("make", "task", "truth", "edges"),
    [
        (planted.attention_model, planted.STRING_CLOSING, planted.ATTENTION_CIRCUIT, 2),
        (planted.neuron_model, planted.LAST_QUOTE, planted.NEURON_CIRCUIT, 4),
    ],
    ids=["head", "two neurons"],
)
def test_a_known_circuit_is_found_exactly(
    make: Callable[[Tokenizer], SparseGPT],
    task: Task,
    truth: frozenset[Node],
    edges: int,
    seed: int,
    tokenizer: Tokenizer,
    tokens: np.ndarray,
):
    found = prune(make(tokenizer), task, tokenizer, tokens, SETTINGS.replace(seed=seed))
    assert found.circuit.nodes == truth
    assert (found.nodes, found.edges, found.met) == (len(truth), edges, True)
    assert found.accuracy == 1.0
    assert found.loss < 0.001
    assert found.validation_loss < 0.001


def test_figures_are_those_of_the_circuit(result: PruneResult, tokenizer: Tokenizer):
    model = planted.attention_model(tokenizer)
    heldout = Splits.draw(planted.STRING_CLOSING, tokenizer, SETTINGS, 64).heldout
    with result.circuit.installed(model):
        logits = pair_logits(model, heldout)
    assert score(logits, heldout).loss == result.raw_loss
    scaled = score(logits, heldout, Calibration(result.circuit.scale, 0.0))
    assert (scaled.loss, scaled.accuracy) == (result.loss, result.accuracy)
    full_scale = result.circuit.info["full_scale"]
    assert score(pair_logits(model, heldout), heldout, Calibration(full_scale, 0.0)) == result.full
    info = result.circuit.info
    assert info["model_sha256"] == model_hash(model)
    assert (info["nodes"], info["edges"], info["total_nodes"]) == (3, 2, 64)
    assert info["pairs_sha256"]["heldout"] == heldout.hash
    assert PruneConfig.from_dict(info["config"]) == SETTINGS
    json.dumps(info, allow_nan=False)
    curve = info["curve"]
    assert len(curve["step"]) == len(curve["loss"]) == len(curve["nodes"]) == SETTINGS.steps
    assert curve["nodes"][0] == 64 > curve["nodes"][-1] >= 3
    # It says how the circuit was found, and no more: a report card holds with it and without.
    bare = replace(result.circuit, info={})
    assert circuit_hash(bare) == circuit_hash(result.circuit)


def test_the_model_is_left_as_it_was(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.attention_model(tokenizer)
    model.lm_head.weight.requires_grad_(False)
    before = model_hash(model)
    wanted = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert model_hash(model) == before
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == wanted
    assert wanted["lm_head.weight"] is False
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(site._forward_hooks for site in model.sites().values())


def test_the_model_is_left_as_it_was_after_an_error_too(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.refusing_model(tokenizer)
    with pytest.raises(PruneError):
        prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_model_that_cannot_do_the_task_is_not_pruned(tokenizer: Tokenizer, tokens: np.ndarray):
    with pytest.raises(PruneError, match=r"string_closing.*0\.693.*0\.15"):  # log 2: it knows nothing
        prune(planted.refusing_model(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)


def test_a_target_that_no_circuit_reaches_is_marked(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.attention_model(tokenizer)
    found = prune(model, planted.UNLEARNT_VALIDATION, tokenizer, tokens, SETTINGS)
    assert found.met is False
    assert found.circuit.info["met"] is False
    assert found.validation_loss > SETTINGS.target
    assert found.nodes == len(found.circuit.nodes)


def test_a_failed_mask_run_is_tried_again_with_another_penalty(tokenizer: Tokenizer, tokens: np.ndarray):
    # Nothing survives a penalty of 1,000, and nothing is removed at 1e-6.
    model = planted.attention_model(tokenizer)
    for penalty, gentler in ((1000.0, True), (1e-6, False)):
        config = SETTINGS.replace(penalties=(penalty,), adapt=0.0)
        found = prune(model, planted.STRING_CLOSING, tokenizer, tokens, config)
        used = found.circuit.info["penalty"]
        assert used < penalty if gentler else used > penalty
        assert found.circuit.nodes == planted.ATTENTION_CIRCUIT


def test_a_mask_run_that_turned_off_too_much_is_followed_by_a_gentler_one(
    tokenizer: Tokenizer, tokens: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    """The first run keeps one node that is of no use; the second, at a quarter of the penalty, is real."""
    penalties = []

    def first_too_hard(model: SparseGPT, jobs: list[MaskJob], **others: object) -> list[MaskRun]:
        penalties.extend(job.penalty for job in jobs)
        (run,) = optimise_masks(model, jobs, **others)  # type: ignore[arg-type]
        if len(penalties) > 1:
            return [run]
        tau = torch.full_like(run.tau, -1.0)
        tau[-1] = 1.0
        return [run._replace(tau=tau, kept=1)]

    monkeypatch.setattr(
        importlib.import_module("sparsecircuits.prune.prune"), "optimise_masks", first_too_hard
    )
    model = planted.attention_model(tokenizer)
    found = prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert penalties == [SETTINGS.penalties[0], SETTINGS.penalties[0] / 4]
    assert found.circuit.nodes == planted.ATTENTION_CIRCUIT


def test_same_seed_same_circuit_in_another_process_too(
    result: PruneResult, tokenizer: Tokenizer, tokens: np.ndarray, tmp_path: Path
):
    model = planted.attention_model(tokenizer)
    again = prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS)
    assert again.circuit.nodes == result.circuit.nodes
    assert again.circuit.info == result.circuit.info
    code = (
        "import sys\n"
        "from sparsecircuits.circuit import save_circuit\n"
        "from sparsecircuits.prune import prune\n"
        "from tests.prune import planted\n"
        "tokenizer = planted.byte_tokenizer()\n"
        "model, tokens = planted.attention_model(tokenizer), planted.corpus(tokenizer)\n"
        "found = prune(model, planted.STRING_CLOSING, tokenizer, tokens, planted.SETTINGS)\n"
        "save_circuit(found.circuit, sys.argv[1])\n"
    )
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "12345"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "other")], env=environment, check=True)
    save_circuit(result.circuit, tmp_path / "own")
    for name in ("circuit.json", "circuit.safetensors"):
        assert (tmp_path / "own" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


def test_given_means_are_used_and_checked(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.attention_model(tokenizer)
    means = pretraining_means(model, tokens, count=256, seed=9)
    found = prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS, means=means)
    assert all(torch.equal(found.circuit.frozen[name], means[name]) for name in means)
    del means["0.mlp.post_act"]
    with pytest.raises(CheckpointError, match=r"0\.mlp\.post_act"):
        prune(model, planted.STRING_CLOSING, tokenizer, tokens, SETTINGS, means=means)


def test_without_clean_up_the_circuit_is_a_prefix_that_holds(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.neuron_model(tokenizer)
    config = SETTINGS.replace(cleanup=False)
    found = prune(model, planted.LAST_QUOTE, tokenizer, tokens, config)
    assert found.met
    assert found.circuit.nodes >= planted.NEURON_CIRCUIT


def test_work_is_watched_and_counted(tokenizer: Tokenizer, tokens: np.ndarray):
    seen: list[tuple[str, int, int, float]] = []
    found = prune(
        planted.attention_model(tokenizer), planted.STRING_CLOSING, tokenizer, tokens, SETTINGS,
        watch=lambda *report: seen.append(report),
    )  # fmt: skip
    steps = [done for stage, done, _, _ in seen if stage == "masks"]
    assert len(steps) == found.forwards["mask_steps"] >= SETTINGS.steps
    assert all(0 < done <= of for stage, done, of, _ in seen if stage == "masks")


def test_splits_have_their_sizes_and_train_is_apart_from_selection(tokenizer: Tokenizer):
    config = replace(SETTINGS, train_pairs=5, selection_pairs=4, validation_pairs=3, heldout_pairs=2)
    splits = Splits.draw(planted.STRING_CLOSING, tokenizer, config, 64)
    parts = [splits.train, splits.selection, splits.validation, splits.heldout]
    assert [len(part) for part in parts] == [5, 4, 3, 2]
    assert [part.split for part in parts] == ["train", "train", "validation", "heldout"]
    both = planted.STRING_CLOSING.pairs(tokenizer, "train", 9, seed=config.seed, max_tokens=config.max_tokens)
    assert splits.train.texts + splits.selection.texts == both.texts


def test_a_short_list_is_shared_between_train_and_selection(tokenizer: Tokenizer):
    texts = [TextPair(f"f('{c}", f'f("{c}', "')\n", '")\n', c) for c in "abcdef"]
    fixed: dict[Split, list[TextPair]] = {"train": texts, "validation": texts[:1], "heldout": texts[:2]}
    task = Task("listed", "six pairs", "contrast", listed_only, fixed=fixed)
    config = replace(SETTINGS, train_pairs=20, selection_pairs=10, validation_pairs=9, heldout_pairs=9)
    splits = Splits.draw(task, tokenizer, config, 64)
    assert [len(part) for part in (splits.train, splits.selection, splits.validation, splits.heldout)] == [
        4,
        2,
        1,
        2,
    ]
    assert not set(splits.train.texts) & set(splits.selection.texts)
    lone = replace(task, fixed={"train": texts[:1]})
    with pytest.raises(TaskError, match="a single pair for the split 'train'"):
        Splits.draw(lone, tokenizer, config, 64)


def test_a_task_that_does_not_fit_the_tokenizer_shows_its_tokens(tokenizer: Tokenizer, tokens: np.ndarray):
    pair = TextPair("f('a", 'f("a', ")\n", ")\n", "t")
    same = Task("same", "both answers begin alike", "contrast", lambda rng, split, room: pair)
    with pytest.raises(TaskError, match="same token"):
        prune(planted.attention_model(tokenizer), same, tokenizer, tokens, SETTINGS)


def test_prompts_beyond_the_context_are_an_error_of_the_task(tokenizer: Tokenizer, tokens: np.ndarray):
    pair = TextPair("f('" + 20 * "a", 'f("' + 20 * "a", "')\n", '")\n', "t")
    long = Task("long", "24 tokens, but n_ctx is 16", "contrast", lambda rng, split, room: pair)
    with pytest.raises(TaskError, match="above 16"):
        prune(planted.attention_model(tokenizer), long, tokenizer, tokens, SETTINGS)


def test_every_option_of_the_model_at_once(tokenizer: Tokenizer, tokens: np.ndarray):
    # An untrained model that does the task by its bigram table alone: no node is needed.
    config = GPTConfig(vocab_size=257, n_ctx=16, n_layer=2, d_model=8, d_head=4, d_mlp=8, positions="concat")
    model = SparseGPT(config)
    single, double = (tokenizer.encode(quote)[0] for quote in ("'", '"'))
    assert model.bigram_table is not None
    with torch.no_grad():
        model.bigram_table[single, single] = model.bigram_table[double, double] = 9.0
    found = prune(model, planted.LAST_QUOTE, tokenizer, tokens, SETTINGS)
    assert found.met
    assert found.edges == 0
    assert found.nodes <= 1


def test_many_at_once_are_what_they_are_alone(tokenizer: Tokenizer, tokens: np.ndarray):
    """Two tasks, two seeds, two objectives, and one that cannot be pruned."""
    model = planted.neuron_model(tokenizer)
    jobs = [
        PruneJob(planted.LAST_QUOTE, SETTINGS),
        PruneJob(planted.STRING_CLOSING, SETTINGS),  # not this model's task
        PruneJob(planted.LAST_QUOTE, SETTINGS.replace(seed=1, lr=2e-2)),
        PruneJob(planted.LAST_QUOTE, SETTINGS.replace(objective="faithful")),
    ]
    seen: set[tuple[int, str]] = set()
    many = prune_many(
        model, jobs, tokenizer, tokens, watch=lambda job, stage, *_: seen.add((job, stage))
    )  # fmt: skip
    for job, result in zip(jobs, many, strict=True):
        if job.task is planted.STRING_CLOSING:
            assert isinstance(result, PruneError)
            assert "full model's own loss" in str(result)
            continue
        assert isinstance(result, PruneResult)
        alone = prune(model, job.task, tokenizer, tokens, job.config)
        assert result.circuit.nodes == alone.circuit.nodes
        assert result.loss == pytest.approx(alone.loss, abs=1e-5)
        assert result.circuit.info["pairs_sha256"] == alone.circuit.info["pairs_sha256"]
    assert seen == {(job, stage) for job in (0, 2, 3) for stage in ("masks", "nodes")}


def test_removed_nodes_are_as_if_they_had_never_been(tokenizer: Tokenizer, tokens: np.ndarray):
    model = planted.neuron_model(tokenizer)
    one = frozenset([Node.parse(f"0.mlp.post_act.{planted.UP}")])
    found = prune(model, planted.LAST_QUOTE, tokenizer, tokens, SETTINGS, removed=one)
    assert found.circuit.nodes == planted.NEURON_CIRCUIT - one
    with pytest.raises(PruneError, match="full model's own loss"):
        prune(model, planted.LAST_QUOTE, tokenizer, tokens, SETTINGS, removed=planted.NEURON_CIRCUIT)


def test_the_papers_way_is_bisection_on_raw_logits_then_scale_and_bias(
    tokenizer: Tokenizer, tokens: np.ndarray
):
    config = PruneConfig.paper().replace(
        steps=60, lr=1e-2, pairs_per_step=16, train_pairs=64, selection_pairs=32, validation_pairs=32,
        heldout_pairs=32, mean_tokens=512,
    )  # fmt: skip
    model = planted.attention_model(tokenizer)
    with torch.no_grad():  # less sure of itself, and it leans to one of the two answers
        model.lm_head.weight *= 0.2
        model.blocks[0].attn.c_proj.bias[planted.WRITTEN] += 0.5  # type: ignore[union-attr]
    found = prune(model, planted.STRING_CLOSING, tokenizer, tokens, config)
    assert found.circuit.nodes >= planted.ATTENTION_CIRCUIT
    assert found.circuit.info["full_scale"] == 1.0
    assert abs(found.circuit.bias) > 0.1
    selection = Splits.draw(planted.STRING_CLOSING, tokenizer, config, 64).selection
    with found.circuit.installed(model):
        assert score(pair_logits(model, selection), selection).loss <= config.target
