"""The commands of a bridge: train --bridge, and what bridge report says of it."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from sparsecircuits.circuit import Circuit, save_circuit
from sparsecircuits.model import Node
from sparsecircuits.model.sites import READS, WRITES
from sparsecircuits.train import load_run

SHORT = ("--preset", "tiny", "--set", "train.steps=3", "--set", "train.eval_tokens=512")


@pytest.fixture(scope="module")
def bridged(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a bridge to a dense one, both tiny, on the same corpus."""
    from sparsecircuits.cli import main

    root = tmp_path_factory.mktemp("bridged")
    shutil.copytree(trained, root / "dense")
    words = ["train", root / "run", *SHORT, "--bridge", root / "dense", "--set", "bridge.mixtures=1"]
    assert main([str(word) for word in words]) == 0
    return root / "run"


def test_training_says_what_it_is_beside(call, bridged: Path) -> None:
    told = json.loads((bridged / "run.json").read_text())["beside"]
    assert told["source"] == "../dense"
    assert told["settings"]["mixtures"] == 1
    run = load_run(bridged)
    assert run.corpus_folder == (bridged.parent / "dense" / "data").resolve()  # the dense run's
    words = ("train", bridged, *SHORT, "--bridge", bridged.parent / "dense", "--set", "bridge.mixtures=1")
    again = call(*words, "--json")
    assert again.code == 0
    assert again.json["steps"] == 3
    shown = call("train", "--show", "--bridge", bridged.parent / "dense", "--set", "bridge.lr=0.5").out
    assert "bridge.lr=0.5" in shown.splitlines()
    assert "bridge.lr" not in call("train", "--show").out


def test_a_run_goes_on_beside_the_same_model_only(call, bridged: Path) -> None:
    dense = bridged.parent / "dense"
    for words, message in (
        ((), "it is trained with a bridge to .*/dense there, alone here"),
        (("--bridge", dense), "bridge.mixtures: 1 there, 0 here"),
        (("--bridge", bridged), "its bridge leads to .*/dense, not to a model with the weights of"),
    ):
        refused = call("train", bridged, *SHORT, "--data", dense / "data", *words)
        assert refused.code == 2
        assert len(refused.err.splitlines()) == 1
        assert re.search(message, refused.err), refused.err


def test_what_cannot_be(call, bridged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dense = bridged.parent / "dense"
    for words, message in (
        (("--set", "bridge.lr=1"), "bridge.lr is a setting of a bridge; say to which model: --bridge"),
        (("--bridge", dense, "--set", "bridge.lr=-1"), "bridge.lr is -1.0; it must be positive"),
        (
            ("--bridge", dense, "--set", "bridge.mixture_count=1"),
            "did you mean 'bridge.mixture' or 'bridge.mixtures'",
        ),
        (("--bridge", dense, "--set", "model.n_layer=3"), "a bridge joins models of the same depth"),
        (("--bridge", dense / "model"), "no corpus comes with it"),
        (("--bridge", dense, "--source", "idioms"), f"--set data.tokenizer={dense}/tokenizer.json"),
        (("--bridge", "./nothing"), "no model here"),
    ):
        refused = call("train", "mine", *SHORT, *words)
        assert refused.code == 2, words
        assert message in refused.err, refused.err
    assert list(tmp_path.iterdir()) == []


def test_the_report(call, bridged: Path, tmp_path: Path) -> None:
    words = ("bridge", "report", bridged, "--tokens", "512", "--mixtures", "3")
    done = call(*words, "--json")
    assert done.code == 0
    report = done.json
    assert report == json.loads((bridged / "bridge" / "report.json").read_text())
    assert (bridged / "bridge" / "report.png").is_file()
    places = 2 * load_run(bridged).config.model.n_layer + 1
    assert [len(report[key]) for key in ("locations", "encode", "decode", "to_sparse", "to_dense")] == [
        places
    ] * 5
    assert len(report["mixtures"]) == 3
    assert report["worse"] == max(report["dense"], report["sparse"])
    assert report["largest_excess"] == max(*report["to_sparse"], *report["to_dense"]) - report["worse"]
    table = call(*words, "--picture", tmp_path / "a.svg")
    assert f"loss: dense {report['dense']:.4f}" in table.out
    assert table.out.count("resid") == places
    assert (tmp_path / "a.svg").is_file()
    alone = call(*words, "--unbridged", bridged)
    assert alone.code == 2
    assert "trained alone" in alone.err


def test_steering_and_transfer(call, bridged: Path) -> None:
    """Of a circuit that is no good one: its nodes are those of channels 0 to 9 at every place."""
    run = load_run(bridged)
    config = run.config.model
    sites = [at for at in config.site_names() if at.site in (*READS, *WRITES)]
    nodes = frozenset(Node(site, index) for site in sites for index in range(10))
    frozen = {str(at): torch.zeros(config.width(at.site)) for at in config.site_names()}
    circuit = Circuit("var_if", nodes | {Node.parse("0.mlp.post_act.3")}, frozen)
    save_circuit(circuit, run.circuits / "var_if")
    few = (bridged, "--pairs", "6", "--draws", "2", "--json")
    steered = call("bridge", "steer", *few)
    assert steered.code == 0, steered.err
    (one,) = steered.json
    assert one["node"] == one["ranking"][0][0]
    assert 10 < len(one["ranking"]) < len(nodes)  # those that never differ, or have no row, cannot steer
    assert one["prompts"] == 12
    assert one == json.loads((bridged / "bridge" / "steering" / "var_if.json").read_text())
    # A circuit for which it cannot be done costs the others nothing.
    none = Circuit("if_equals", frozenset({Node.parse("0.mlp.post_act.3")}), frozen)
    save_circuit(none, run.circuits / "if_equals")
    both = call("bridge", "steer", *few)
    assert both.json == [one]
    assert "left out: if_equals: the circuit for if_equals has no node that touches" in both.err
    shutil.rmtree(run.circuits / "if_equals")
    node = one["ranking"][-1][0]
    named = call("bridge", "steer", *few[:-1], "--node", node, "--task", "var_if")
    assert node in named.out
    assert "the dense model's own means" in named.out
    carried = call("bridge", "transfer", *few)
    (moved,) = carried.json
    assert len(moved["nodes"]) == 40
    assert moved["left_out"] == 41
    assert moved["share"]["own"]["estimate"] == pytest.approx(1, abs=1e-4)
    assert "the circuit's nodes" in call("bridge", "transfer", *few[:-1]).out
    for name in ("steering.png", "transfer.png"):
        assert (bridged / "bridge" / name).is_file()
    for words, message in (
        (("transfer", "--node", node), "--node and --side are of steer"),
        (("report", "--side", "left"), "--task, --node and --side are of steer and transfer"),
        (
            ("steer", "--node", "0.mlp.post_act.3"),
            "neither reads a channel of the residual stream nor writes",
        ),
        (("steer", "--task", "for_whil"), "no circuit 'for_whil'"),
        (("steer", "--pairs", "0"), "--pairs is 0; it must be at least 1"),
    ):
        refused = call("bridge", words[0], bridged, *words[1:])
        assert refused.code == 2, words
        assert message in refused.err


def test_a_run_without_a_bridge_is_told(call, trained: Path) -> None:
    refused = call("bridge", "report", trained)
    assert refused.code == 2
    assert "trained without a bridge; sparsecircuits train NAME --bridge DENSE makes one" in refused.err
