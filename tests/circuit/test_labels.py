"""Labels: what may be said of a node, where it goes, and that it changes nothing else."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from sparsecircuits.circuit import Circuit, Group, Label, Labels, load_circuit, save_circuit, save_labels
from sparsecircuits.circuit.files import circuit_hash
from sparsecircuits.circuit.labels import labels_file, read_labels
from sparsecircuits.errors import CheckpointError, ConfigError
from sparsecircuits.model import Node
from sparsecircuits.prune.edits import undo_all
from tests.circuit import toy

VALUE, NEURON, READ = (Node.parse(name) for name in ("0.attn.v.3", "0.mlp.post_act.7", "1.mlp.act_in.2"))
NAMES = tuple(map(str, (VALUE, NEURON, READ)))
PLAIN = {
    "nodes": {"0.attn.v.3": {"name": "the quote", "note": "which kind"}},
    "groups": [{"name": "copying", "note": "", "nodes": ["0.attn.v.3", "1.mlp.act_in.2"]}],
}


def labelled() -> Circuit:
    circuit = toy.circuit(*NAMES, scale=1.75)
    return circuit.labelled(VALUE, "the quote", "which kind").grouped("copying", [READ, VALUE, READ])


def test_labels_are_said_and_taken_back():
    circuit = labelled()
    assert circuit.labels.nodes == {VALUE: Label("the quote", "which kind")}
    assert circuit.labels.groups == (Group("copying", "", (VALUE, READ)),)  # sorted, each node once
    assert circuit.labelled(VALUE, "new").labels.nodes == {VALUE: Label("new")}
    assert circuit.grouped("copying", [NEURON], "now").labels.groups == (Group("copying", "now", (NEURON,)),)
    assert not circuit.unlabelled(VALUE).ungrouped("copying").labels
    assert not toy.circuit(*NAMES).labels
    with pytest.raises(ConfigError, match=r"0\.mlp\.post_act\.7 has no label"):
        circuit.unlabelled(NEURON)
    with pytest.raises(ConfigError, match="no group 'coping'; did you mean 'copying'"):
        circuit.ungrouped("coping")


def test_a_label_of_a_node_that_is_not_kept_is_refused():
    circuit = toy.circuit(*NAMES)
    with pytest.raises(CheckpointError, match=r"a label of 0\.attn\.v\.4, which it lacks"):
        circuit.labelled(Node.parse("0.attn.v.4"), "x")
    with pytest.raises(CheckpointError, match=r"a label of 0\.attn\.v\.4, which it lacks"):
        circuit.grouped("g", [VALUE, Node.parse("0.attn.v.4")])


def test_they_are_in_no_hash_but_in_what_is_equal():
    assert circuit_hash(labelled()) == circuit_hash(toy.circuit(*NAMES, scale=1.75))
    assert not labelled().equals(toy.circuit(*NAMES, scale=1.75))
    assert labelled().equals(labelled())


def test_edits_carry_them_over_and_drop_those_of_dropped_nodes():
    circuit = labelled()
    assert circuit.rescaled(VALUE, 2).labels == circuit.labels
    assert circuit.without([NEURON]).labels == circuit.labels
    assert undo_all(circuit).labels == circuit.labels
    fewer = circuit.without([VALUE])
    assert fewer.labels == Labels({}, (Group("copying", "", (READ,)),))
    assert not circuit.keeping([NEURON]).labels
    assert not circuit.with_frozen(VALUE, 0.5).with_frozen(READ, 0.5).labels


def test_describe_tells_them():
    told = labelled().describe().splitlines()
    assert "  0.attn.v.3: the quote – which kind" in told
    assert "  group copying: 0.attn.v.3, 1.mlp.act_in.2" in told


def test_they_come_back_from_the_file(tmp_path: Path):
    save_circuit(labelled(), tmp_path)
    assert load_circuit(tmp_path).equals(labelled())
    data = json.loads((tmp_path / "circuit.json").read_text())
    assert (data["labels"], data["format_version"]) == (PLAIN, 1)  # earlier releases pass over them
    save_circuit(toy.circuit(*NAMES), tmp_path)
    assert "labels" not in json.loads((tmp_path / "circuit.json").read_text())


def test_saving_labels_alone_writes_what_saving_the_circuit_does(tmp_path: Path):
    save_circuit(toy.circuit(*NAMES, scale=1.75), tmp_path / "a")
    save_circuit(labelled(), tmp_path / "b")
    values = (tmp_path / "a" / "circuit.safetensors").stat().st_mtime_ns
    assert save_labels(tmp_path / "a", labelled().labels).equals(labelled())
    assert (tmp_path / "a/circuit.json").read_bytes() == (tmp_path / "b/circuit.json").read_bytes()
    assert (tmp_path / "a" / "circuit.safetensors").stat().st_mtime_ns == values
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["circuit.json", "circuit.safetensors"]
    save_labels(tmp_path / "a", Labels())
    assert load_circuit(tmp_path / "a").equals(toy.circuit(*NAMES, scale=1.75))


def test_labels_that_do_not_fit_are_not_saved(tmp_path: Path):
    save_circuit(labelled(), tmp_path)
    before = (tmp_path / "circuit.json").read_bytes()
    with pytest.raises(CheckpointError, match="which it lacks"):
        save_labels(tmp_path, Labels({Node.parse("0.attn.v.4"): Label("x")}))
    assert (tmp_path / "circuit.json").read_bytes() == before


def test_damaged_labels_of_a_file_are_named(tmp_path: Path):
    save_circuit(labelled(), tmp_path)
    path = tmp_path / "circuit.json"
    data = json.loads(path.read_text())
    for labels, why in (
        ({"nodes": {"0.attn.v.3": {"name": "other", "note": ""}}}, "its own hash"),
        ({"nodes": {"0.attn.v.4": {"name": "x"}}}, "which it lacks"),
        ({"names": {}}, "unknown key 'names'"),
        ([], "expected a mapping"),
    ):
        path.write_text(json.dumps({**data, "labels": labels}))
        with pytest.raises(CheckpointError, match=rf"circuit\.json: .*{why}"):
            load_circuit(tmp_path)


@pytest.mark.parametrize(
    ("name", "note", "why"),
    [
        ("", "", "a name or a note"),
        ("  ", "\n", "a name or a note"),
        ("x" * 81, "", "name has 81 characters; at most 80"),
        ("x", "y" * 2001, "note has 2,001 characters; at most 2,000"),
        ("a\nb", "", r"name cannot hold U\+000A \(character 2\)"),
        ("a", "b\0", r"note cannot hold U\+0000"),
        ("\x1b[31mred", "", r"U\+001B"),
        ("a\u2028b", "", r"U\+2028"),
        ("a\u202egnp", "", r"U\+202E"),
        ("\ud800", "", r"U\+D800"),
        (3, "", "name is int; expected a string"),
        ("x", None, "note is NoneType; expected a string"),
    ],
)
def test_what_a_label_cannot_say(name: Any, note: Any, why: str):
    with pytest.raises(ConfigError, match=why):
        Label(name, note)


def test_what_a_label_can_say():
    assert Label("  x" * 26 + "  ", " two\r\nlines\tof it ") == Label(
        ("  x" * 26).strip(), "two\nlines\tof it"
    )
    assert Label("🧠" * 80).name == "🧠" * 80
    assert Label("", "only a note").name == ""


def test_what_a_group_cannot_be():
    with pytest.raises(ConfigError, match="needs a name"):
        Group("", "note", (VALUE,))
    with pytest.raises(ConfigError, match="the group 'g' needs a node"):
        Group("g")
    with pytest.raises(ConfigError, match="two groups are called 'g'"):
        Labels({}, (Group("g", "", (VALUE,)), Group("g", "", (READ,))))
    many = tuple(Group(str(i), "", (VALUE,)) for i in range(201))
    assert len(Labels({}, many[:200]).groups) == 200
    with pytest.raises(ConfigError, match="201 groups; at most 200"):
        Labels({}, many)


def test_plain_data_there_and_back():
    assert labelled().labels.to_dict() == PLAIN
    assert Labels.from_dict(PLAIN) == labelled().labels
    assert Labels.from_dict({}) == Labels()
    assert Labels.from_dict({"nodes": {"0.attn.v.3": {"name": "x"}}}).nodes == {VALUE: Label("x")}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (3, "labels: int; expected a mapping"),
        ({"node": {}}, "unknown key 'node'; did you mean 'nodes'"),
        ({"nodes": []}, "nodes is list; expected a mapping"),
        ({"groups": {}}, "groups is dict; expected a list"),
        ({"nodes": {"0.attn.w.3": {"name": "x"}}}, "no site 'attn.w'"),
        ({"nodes": {"0.attn.v.3": "x"}}, r"nodes\['0.attn.v.3'\]: str; expected a mapping"),
        ({"nodes": {"0.attn.v.3": {"note": "x"}}}, "missing key 'name'"),
        ({"nodes": {"0.attn.v.3": {"name": "x", "color": "red"}}}, "unknown key 'color'"),
        ({"nodes": {"0.attn.v.3": {"name": "x" * 81}}}, r"nodes\['0.attn.v.3'\]: .*at most 80"),
        ({"groups": [{"name": "g", "nodes": []}]}, r"groups\[0\]: the group 'g' needs a node"),
        ({"groups": [{"name": "g", "nodes": "0.attn.v.3"}]}, r"groups\[0\]: nodes is str"),
        ({"groups": [{"name": "g", "nodes": [3]}]}, "3 is no node's name"),
        ({"groups": [None]}, "NoneType; expected a mapping"),
    ],
)
def test_plain_data_that_do_not_fit(data: Any, why: str):
    with pytest.raises(ConfigError, match=why):
        Labels.from_dict(data)


def test_a_labels_file_is_of_one_circuit(tmp_path: Path):
    circuit, path = labelled(), tmp_path / "labels.json"
    path.write_text(json.dumps(labels_file(circuit.labels, circuit_hash(circuit))))
    assert read_labels(path, circuit_hash(circuit)) == circuit.labels
    with pytest.raises(ConfigError, match="of another circuit"):
        read_labels(path, circuit_hash(dataclasses.replace(circuit, scale=2.0)))
    path.write_text(path.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ConfigError, match="'sparsecircuits.labels' 2; expected"):
        read_labels(path, circuit_hash(circuit))
    path.write_text("[")
    with pytest.raises(ConfigError, match=r"labels\.json: not a readable labels file"):
        read_labels(path, circuit_hash(circuit))
