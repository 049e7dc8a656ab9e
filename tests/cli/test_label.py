"""The command label: naming, listing, taking back; nothing but the labels changes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest

from sparsecircuits.circuit import Circuit, Group, Label, load_circuit, model_hash, save_circuit
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.model import Node
from sparsecircuits.prune import pretraining_means
from sparsecircuits.study.pruning import RunPruner
from sparsecircuits.train import load_run
from tests.cli.conftest import NAME
from tests.prune import planted

READ, VALUE, WRITE = sorted(planted.ATTENTION_CIRCUIT)


@pytest.fixture
def labelled_run(folder: Path) -> Path:
    """The planted run with the circuit that is known."""
    model, tokenizer = planted.attention_model(planted.byte_tokenizer()), planted.byte_tokenizer()
    means = pretraining_means(model, planted.corpus(tokenizer), count=512)
    info = {"model_sha256": model_hash(load_run(folder).model())}
    circuit = Circuit(NAME, planted.ATTENTION_CIRCUIT, means, scale=0.05, info=info)
    save_circuit(circuit, folder / "circuits" / NAME)
    return folder


def saved(run: Path) -> Circuit:
    return load_circuit(run / "circuits" / NAME)


def test_a_node_is_named_and_found_again(call, labelled_run: Path) -> None:
    assert call("label", labelled_run, NAME).out == f"the circuit for {NAME} has no labels\n"
    before = circuit_hash(saved(labelled_run))
    out = call("label", labelled_run, NAME, VALUE, "--name", "carries the quote", "--note", "±1").out
    assert "carries the quote" in out
    assert saved(labelled_run).labels.nodes == {VALUE: Label("carries the quote", "±1")}
    call("label", labelled_run, NAME, VALUE, "--note", "")  # the name stays
    assert saved(labelled_run).labels.nodes == {VALUE: Label("carries the quote")}
    told = call("label", labelled_run, NAME, "--json").json
    assert told["labels"]["nodes"] == {str(VALUE): {"name": "carries the quote", "note": ""}}
    assert told["circuit_sha256"] == before == circuit_hash(saved(labelled_run))
    assert "has no labels" in call("label", labelled_run, NAME, VALUE, "--remove").out


def test_groups(call, labelled_run: Path) -> None:
    call("label", labelled_run, NAME, VALUE, READ, "--group", "head", "--note", "the second")
    assert saved(labelled_run).labels.groups == (Group("head", "the second", (READ, VALUE)),)
    call("label", labelled_run, NAME, "--group", "head", "--name", "copying head")
    assert saved(labelled_run).labels.groups == (Group("copying head", "the second", (READ, VALUE)),)
    call("label", labelled_run, NAME, READ, "--group", "copying head", "--remove")
    assert saved(labelled_run).labels.groups == (Group("copying head", "the second", (VALUE,)),)
    call("label", labelled_run, NAME, "--group", "copying head", "--remove")
    assert saved(labelled_run).labels.groups == ()


def test_a_labels_file_replaces_all(call, labelled_run: Path, tmp_path: Path) -> None:
    call("label", labelled_run, NAME, VALUE, "--name", "one")
    call("label", labelled_run, NAME, VALUE, READ, "--group", "two")
    file = tmp_path / "labels.json"
    file.write_text(call("label", labelled_run, NAME, "--json").out)
    before = saved(labelled_run)
    call("label", labelled_run, NAME, VALUE, "--remove")
    call("label", labelled_run, NAME, WRITE, "--name", "three")
    call("label", labelled_run, NAME, "--from", file)
    assert saved(labelled_run).equals(before)
    file.write_text(json.dumps({**json.loads(file.read_text()), "circuit_sha256": "0"}))
    assert "of another circuit" in call("label", labelled_run, NAME, "--from", file).err
    assert saved(labelled_run).equals(before)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([str(VALUE)], "give what the node is called: --name, --note or both; or --remove"),
        (["--name", "x"], "which node? Give one, such as 0.mlp.post_act.863, or --group NAME"),
        (["--remove"], "which node?"),
        ([str(VALUE), str(READ), "--name", "x"], "are for one node"),
        ([str(VALUE), "--name", "x", "--remove"], "--remove takes labels away"),
        (["--from", "x.json", "--remove"], "--from replaces all labels"),
        (["--from", "nowhere.json"], "nowhere.json: not a readable labels file"),
        (["0.attn.v.4", "--name", "x"], "has no node 0.attn.v.4; did you mean '0.attn.v.5'"),
        (["0.attn.w.4", "--name", "x"], "no site 'attn.w'"),
        ([str(VALUE), "--name", "x" * 81], "at most 80"),
        ([str(VALUE), "--remove"], "has no label"),
        (["--group", "g"], "there is no group 'g' yet; give the nodes"),
        (["--group", "g", "--remove"], "no group 'g'"),
    ],
)
def test_what_cannot_be_meant_is_said_and_changes_nothing(call, labelled_run: Path, words, why) -> None:
    before = (labelled_run / "circuits" / NAME / "circuit.json").read_bytes()
    done = call("label", labelled_run, NAME, *words)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert (labelled_run / "circuits" / NAME / "circuit.json").read_bytes() == before


def test_a_group_takes_no_other_groups_name(call, labelled_run: Path) -> None:
    call("label", labelled_run, NAME, VALUE, "--group", "a")
    call("label", labelled_run, NAME, READ, "--group", "b")
    assert (
        "there is a group 'b' already" in call("label", labelled_run, NAME, "--group", "a", "--name", "b").err
    )
    assert [group.name for group in saved(labelled_run).labels.groups] == ["a", "b"]


def test_the_bundled_run_is_listed_but_not_labelled(call) -> None:
    task = "set_or_string_fixedvarname"
    assert "has no labels" in call("label", "example", task).out
    (node, *_) = call("label", "example", task, "--json").json["labels"]["nodes"] or ["0.attn.v.0"]
    assert "nothing is written into it" in call("label", "example", task, node, "--name", "x").err


def test_labels_survive_a_new_pruning_of_the_same_model(labelled_run: Path, tmp_path: Path) -> None:
    circuit = saved(labelled_run).labelled(VALUE, "carries").labelled(WRITE, "writes")
    place = labelled_run / "circuits" / NAME
    save_circuit(circuit, place)
    pruner = RunPruner(load_run(labelled_run), planted.SETTINGS)
    found = dataclasses.replace(saved(labelled_run), labels=type(circuit.labels)()).without([WRITE])
    pruner.keep(planted.STRING_CLOSING, found, place)
    assert saved(labelled_run).labels.nodes == {VALUE: Label("carries")}
    assert set(map(str, saved(labelled_run).nodes)) == {str(READ), str(VALUE)}
    other = tmp_path / "other"
    shutil.copytree(place, other)
    stranger = dataclasses.replace(circuit, info={"model_sha256": "another"})
    save_circuit(stranger, other)
    assert not pruner.keep(planted.STRING_CLOSING, found, other).labels
    assert Node.parse(str(VALUE)) in stranger.labels.nodes
