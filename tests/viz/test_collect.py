"""The document of a model that is small enough to work out by hand."""

from __future__ import annotations

import dataclasses
import json
import math
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsecircuits.circuit import Circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.data.tokenizer import Tokenizer, train_tokenizer
from sparsecircuits.model import GPTConfig, Node, SparseGPT
from sparsecircuits.prune.masks import all_nodes
from sparsecircuits.tasks import Task, TextPair
from sparsecircuits.validate import Interval, Necessity
from sparsecircuits.validate.card import Card
from sparsecircuits.validate.outcome import Outcome
from sparsecircuits.validate.thresholds import THRESHOLDS
from sparsecircuits.viz import check_document, collect, facts, render_page
from sparsecircuits.viz.budget import Budget
from sparsecircuits.viz.collect import circuit_entry, model_entry, page_document
from sparsecircuits.viz.entry import pairs_for_effects, units
from sparsecircuits.viz.samples import record_text
from sparsecircuits.viz.watch import Tally

CONFIG = GPTConfig(
    vocab_size=257, n_ctx=8, n_layer=1, d_model=16, d_head=4, d_mlp=8, topk_fraction=None, bigram=False
)
WRITE = 3
NODES = ("0.mlp.act_in.2", "0.mlp.post_act.5", f"0.mlp.resid_delta.{WRITE}", "0.attn.v.9")


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """One token for each byte."""
    return train_tokenizer(["ab"], 257)


@pytest.fixture(scope="module")
def ids(tokenizer: Tokenizer) -> dict[str, int]:
    return {char: tokenizer.encode(char)[0] for char in "abcxy"}


@pytest.fixture(scope="module")
def model(ids: dict[str, int]) -> SparseGPT:
    """Zero, but for a constant 1 that the MLP writes to channel 3, and some weights that carry nothing.

    The last norm divides by the root mean square, 1/4: the channel is 4 where the logits are read.
    """
    model = SparseGPT(CONFIG)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "ln_" not in name:
                parameter.zero_()
        model.get_parameter("transformer.h.0.mlp.c_proj.bias")[WRITE] = 1.0
        fc = model.get_parameter("transformer.h.0.mlp.c_fc.weight")
        fc[5, 2], fc[5, 7] = -0.5, 0.25
        model.get_parameter("transformer.h.0.mlp.c_proj.weight")[WRITE, 5] = 0.75
        model.lm_head.weight[ids["a"], WRITE] = 0.3
        model.lm_head.weight[ids["b"], WRITE] = -0.2
        model.lm_head.weight[ids["c"], WRITE] = -0.9
        embedding = model.get_parameter("transformer.wte.weight")
        embedding[ids["x"], 9] = embedding[ids["y"], 2] = 1e-9  # too small to matter in the forward
    return model.eval()


@pytest.fixture(scope="module")
def task() -> Task:
    """``xx`` is followed by a, ``yx`` by b."""

    def generate(rng: random.Random, split: str, room: int) -> TextPair:
        return TextPair("xx", "yx", "a", "b", "<<x|y>>x")

    return Task("ab", "a after x, b after y", "contrast", generate)


@pytest.fixture
def circuit() -> Circuit:
    frozen = {str(site): torch.zeros(CONFIG.width(site.site)) for site in CONFIG.site_names()}
    frozen["0.attn.v"] = torch.arange(16.0)
    return Circuit("ab", frozenset(map(Node.parse, NODES)), frozen, scale=2.0)


def test_nodes(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", samples=2, effect_pairs=4)
    nodes = {node["name"]: node for node in entry["nodes"]}
    assert list(nodes) == [str(node) for node in sorted(circuit.nodes)]
    value = nodes["0.attn.v.9"]
    assert (value["layer"], value["site"], value["index"]) == (0, "attn.v", 9)
    assert value["head"] == 2  # four channels to a head
    assert value["mean"] == 9.0
    assert [nodes[name]["head"] for name in NODES[:3]] == [None, None, None]
    # c_fc[5, 2]; c_fc[5, 2], c_fc[5, 7] and c_proj[3, 5]; c_proj[3, 5]; none.
    assert [nodes[name]["edges_total"] for name in NODES] == [1, 3, 1, 0]
    assert [(e["source"], e["target"], e["weight"]) for e in entry["edges"]] == [
        (NODES[0], NODES[1], -0.5),
        (NODES[1], NODES[2], 0.75),
    ]
    assert entry["stream"] == []


def test_tokens(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=4)
    nodes = {node["name"]: node for node in entry["nodes"]}
    # x writes another channel; the byte c is in no prompt.
    assert nodes[NODES[0]]["tokens_in"] == [("y", pytest.approx(1e-9))]
    # Candidates first, then the largest; zeros are left out.
    logits = nodes[NODES[2]]["logits_out"]
    assert [text for text, _ in logits] == ["a", "b", "c"]
    assert [weight for _, weight in logits] == pytest.approx([0.3, -0.2, -0.9])
    assert (nodes[NODES[1]]["tokens_in"], nodes[NODES[1]]["logits_out"]) == ([], [])


def test_effects(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=4)
    effects = {node["name"]: node["effect"] for node in entry["nodes"]}
    # The logit of a stands 4 * 0.5 above that of b on both sides, times the scale 2.
    z = 4 * 0.5 * 2
    whole = (-math.log(sigmoid(z)) - math.log(sigmoid(-z))) / 2
    # Without the write all logits are 0: the loss is ln 2, less than that of always saying a.
    assert effects[NODES[2]] == pytest.approx(math.log(2) - whole, abs=1e-5)
    assert [effects[name] for name in (NODES[0], NODES[1], NODES[3])] == pytest.approx([0, 0, 0], abs=1e-6)
    assert entry["metrics"]["loss"] == pytest.approx(whole, abs=1e-5)
    left_out = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=0)
    assert {node["effect"] for node in left_out["nodes"]} == {None}


def test_samples(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", samples=2, effect_pairs=4)
    assert [(s["pair"], s["side"]) for s in entry["samples"]] == [
        (0, "left"),
        (0, "right"),
        (1, "left"),
        (1, "right"),
    ]
    left, right = entry["samples"][:2]
    assert left["tokens"] == ["<|endoftext|>", "x", "x"]
    assert right["tokens"] == ["<|endoftext|>", "y", "x"]
    assert left["differs"] == right["differs"] == [1]
    assert (left["answer"], left["other"]) == (right["other"], right["answer"]) == ("a", "b")
    # The circuit with its scale 2, the full model raw.
    assert left["probability"] == pytest.approx(sigmoid(4), abs=1e-5)
    assert left["full_probability"] == pytest.approx(sigmoid(2), abs=1e-5)
    assert right["probability"] == pytest.approx(sigmoid(-4), abs=1e-5)
    assert left["activations"][NODES[2]] == [1.0, 1.0, 1.0]
    assert left["activations"][NODES[1]] == pytest.approx([0.0, 0.0, 0.0])


def test_one_token_against_all(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    alone = dataclasses.replace(task, form="one_against_all")
    entry = circuit_entry(model, tokenizer, circuit, alone, model_name="toy", samples=1, effect_pairs=4)
    left, right = entry["samples"]
    assert (left["answer"], left["other"]) == ("a", "")
    assert (right["answer"], right["other"]) == ("b", "a")  # anything but a; the text goes on with b
    # Logits at scale 2 are 2.4 for a, -1.6 for b, -7.2 for c and 0 for the other 254.
    share = math.exp(2.4) / (math.exp(2.4) + math.exp(-1.6) + math.exp(-7.2) + 254)
    assert left["probability"] == pytest.approx(share, abs=1e-5)
    assert right["probability"] == pytest.approx(1 - share, abs=1e-5)


def test_figures_come_from_pruning_where_they_fit(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task
) -> None:
    info = {
        **{"nodes": 4, "edges": 2, "loss": 0.1, "raw_loss": 0.2, "accuracy": 0.9, "full_loss": 0.05},
        **{"target": 0.12, "met": True, "config": {"heldout_pairs": 512, "seed": 0, "max_tokens": 8}},
    }
    needed = Necessity(0.5, 0.9, 0.5, 0.7, 0.05, 0.06, 0.07, 20)
    pruned = dataclasses.replace(circuit, info=info)
    entry = circuit_entry(model, tokenizer, pruned, task, model_name="toy", effect_pairs=4, necessity=needed)
    metrics = entry["metrics"]
    assert (metrics["loss"], metrics["heldout_pairs"], metrics["scale"]) == (0.1, 512, 2.0)
    assert (metrics["target"], metrics["met"]) == (0.12, True)
    assert metrics["necessity"]["refitted_loss"] == 0.7
    assert "draws" not in metrics["necessity"]
    # Of an edited circuit they are measured.
    edited = pruned.without([Node.parse(NODES[2])])
    metrics = circuit_entry(model, tokenizer, edited, task, model_name="toy", effect_pairs=4)["metrics"]
    assert metrics["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert (metrics["nodes"], metrics["edges"], metrics["met"]) == (3, 1, False)


def test_the_document_is_sound(model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task) -> None:
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=4)
    described = model_entry(model, label="toy", val_loss=2.5, tokens=1000)
    assert (described["n_head"], described["d_head"], described["d_mlp"]) == (4, 4, 8)
    # 3 edge weights, 1 bias, 3 unembedding and 2 embedding entries, 3 norms of 16.
    assert described["nonzero"] == 3 + 1 + 3 + 2 + 48
    # 3 of the 16*48 + 16*16 + 16*8 + 8*16 weights of attention and MLP
    assert described["density"] == 3 / 1280
    document = page_document("Toy", {"toy": described}, [entry])
    check_document(document)
    assert json.loads(json.dumps(document))["circuits"][0]["id"] == "toy/ab"
    assert "toy/ab" in render_page(document)


def test_an_empty_circuit_opens_without_complaint(
    open_page, model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task
) -> None:
    entry = circuit_entry(model, tokenizer, circuit.keeping([]), task, model_name="toy", effect_pairs=4)
    described = model_entry(model, label="toy", val_loss=2.5, tokens=1000)
    opened = open_page(page_document("Toy", {"toy": described}, [entry]))
    opened.assert_quiet()


def test_large_circuits_get_fewer_pairs(circuit: Circuit) -> None:
    everything = all_nodes(CONFIG.site_names(), [CONFIG.width(site.site) for site in CONFIG.site_names()])
    sizes = {size: pairs_for_effects(circuit.keeping(everything[:size])) for size in (4, 32, 64, 120)}
    assert sizes == {4: 128, 32: 128, 64: 64, 120: 34}  # 32 * 128 / nodes


def test_effects_of_a_large_circuit_are_estimated(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "MEASURED_NODES", 3)
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=4)
    assert entry["effects"] == {"estimated": True, "pairs": 4}
    # The logit of a stands z above that of b, on half of the prompts rightly. With the write's factor f the
    # loss is the mean of -log sigmoid(fz) and -log sigmoid(-fz), up to the norm, which undoes small factors:
    # at f = 1 the write is all that the norm sees, so its slope is zero.
    effects = {node["name"]: node["effect"] for node in entry["nodes"]}
    assert effects == pytest.approx(dict.fromkeys(NODES, 0), abs=1e-3)


def test_whole_sites_and_layers_are_ablated(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task
) -> None:
    told: list[tuple[int, int, str]] = []
    tally = Tally(units(circuit, 4), lambda *report: told.append(report))
    entry = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=4, tally=tally)
    rows = {row["name"]: row for row in entry["ablations"]}
    # One node of attention, so its site says nothing new; three sites of the MLP.
    assert list(rows) == ["0", "0.attn", "0.mlp", "0.mlp.act_in", "0.mlp.post_act", "0.mlp.resid_delta"]
    assert [row["nodes"] for row in rows.values()] == [4, 1, 3, 1, 1, 1]
    alone = {node["name"]: node["effect"] for node in entry["nodes"]}[NODES[2]]
    assert alone < -0.5  # half of the answers are wrong, and it is sure of them
    wanted = [alone, 0, alone, 0, 0, alone]
    assert [row["effect"] for row in rows.values()] == pytest.approx(wanted, abs=1e-5)
    # Four nodes and six groups, one after another.
    assert [report[:2] for report in told] == [(done, 10) for done in range(1, 11)]


def test_text_and_the_pruning_s_curve_join_the_entry(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task
) -> None:
    curve = {"step": [1, 2], "loss": [0.5, 0.25], "nodes": [100, 4]}
    stored = dataclasses.replace(circuit, info={"curve": curve})
    text = np.array(tokenizer.encode("abcxy" * 20))
    record = record_text(model, circuit.nodes, text, Budget(text_tokens=64))
    entry = circuit_entry(model, tokenizer, stored, task, model_name="toy", effect_pairs=4, text=record)
    assert entry["pruning"] == curve
    assert entry["text"]["measured"] == 64
    write = next(node for node in entry["nodes"] if node["name"] == NODES[2])
    assert (write["text"]["nonzero"], write["text"]["mean"]) == (1.0, 1)  # the constant that the bias writes
    plain = circuit_entry(model, tokenizer, circuit, task, model_name="toy", effect_pairs=0)
    assert not {"text", "pruning"} & plain.keys()
    check_document(page_document("Toy", {"toy": model_entry(model, label="", val_loss=1, tokens=1)}, [entry]))


def test_cuts_gains_and_bias_are_shown(
    model: SparseGPT, tokenizer: Tokenizer, circuit: Circuit, task: Task
) -> None:
    """An edge that is cut is not drawn, and figures that were stored before it was are measured anew."""
    stored = {"nodes": 4, "edges": 2, "loss": 0.5, "raw_loss": 0.5, "accuracy": 0.5, "full_loss": 0.5}
    circuit = dataclasses.replace(circuit, info=stored)
    first, second, write = map(Node.parse, NODES[:3])
    edited = dataclasses.replace(circuit.cutting([(second, write)]).rescaled(first, -2.5), bias=-4.0)
    before, entry = (
        circuit_entry(model, tokenizer, some, task, model_name="toy", samples=1, effect_pairs=4)
        for some in (circuit, edited)
    )
    assert before["metrics"]["loss"] == 0.5
    assert [(edge["source"], edge["target"]) for edge in entry["edges"]] == [NODES[:2]]
    assert entry["metrics"]["edges"] == 1
    assert {node["name"]: node.get("gain") for node in entry["nodes"]} == {
        NODES[0]: -2.5, NODES[1]: None, NODES[2]: None, NODES[3]: None,
    }  # fmt: skip
    # The logit of a stands 4 * 0.5 * 2 above that of b, and the bias takes that away.
    assert entry["metrics"]["loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert [sample["probability"] for sample in entry["samples"]] == pytest.approx([0.5, 0.5], abs=1e-3)
    models = {"toy": model_entry(model, label="toy", val_loss=1.0, tokens=1)}
    check_document(page_document("Edited", models, [entry]))


def test_a_card_joins_the_page_only_if_it_is_of_this_circuit(circuit: Circuit, tmp_path: Path) -> None:
    outcome = Outcome(test="T1", estimate=0.1, passed=True, interval=Interval(0.05, 0.15), control=0.7)
    card = Card(
        task=circuit.task,
        level="quick",
        circuit_sha256=circuit_hash(circuit),
        thresholds_sha256=THRESHOLDS.sha256,
        about={},
        outcomes=(outcome,),
    )
    path = tmp_path / "card.json"
    assert collect.card_entry(circuit, path) == {}
    card.save(path)
    shown = collect.card_entry(circuit, path)["card"]
    assert shown["level"] == "quick"
    assert [verdict["state"] for verdict in shown["verdicts"]] == ["open"] * 5
    assert (shown["tests"][0]["estimate"], shown["tests"][0]["interval"]) == (0.1, [0.05, 0.15])
    assert collect.card_entry(circuit.without([min(circuit.nodes)]), path) == {}
