"""``sparsecircuits label``: names and notes for the nodes of a circuit and groups of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from sparsecircuits.cli.arguments import open_own_run, open_run, saved_circuits
from sparsecircuits.cli.report import Column, print_json, print_table
from sparsecircuits.config import Config
from sparsecircuits.errors import ConfigError

if TYPE_CHECKING:
    from sparsecircuits.circuit import Circuit, Labels
    from sparsecircuits.model import Node

_COLUMNS = (Column("what", "node or group"), Column("name", "name"), Column("note", "note"))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Config):
    """Name the nodes of a circuit, and groups of them; without a change to make, list the labels.

    Labels are kept in the circuit's file and shown wherever its nodes are: on its page, in notebooks, in
    lists. They change nothing that the circuit does; its report card stays valid.

    Example: sparsecircuits label demo/sparse single_double_quote 0.mlp.post_act.863 --name "finds the quote"

    Example: sparsecircuits label demo/sparse single_double_quote 1.attn.q.15 1.attn.k.15 --group "copies"
    """

    run: Annotated[Positional[str], arg(metavar="RUN")]
    """A run: its folder, or its name in runs/."""
    circuit: Annotated[Positional[str], arg(metavar="CIRCUIT")]
    """A circuit by name, as it is called in RUN/circuits."""
    nodes: Annotated[Positional[tuple[str, ...]], arg(metavar="[NODE ...]")] = ()
    """Which node is named; with --group, which nodes make up the group."""
    name: Annotated[str | None, arg(metavar="TEXT")] = None
    """What the node is called; with --group, what the group is to be called from now on."""
    note: Annotated[str | None, arg(metavar="TEXT")] = None
    """A note on the node, or on the group; an empty one takes the old note away."""
    group: Annotated[str | None, arg(metavar="NAME")] = None
    """A group by name: made, or changed, instead of a node's label."""
    remove: bool = False
    """Take away the labels of these nodes; with --group the group, or, if nodes are given, these from it."""
    from_: Annotated[Path | None, arg(name="from", metavar="FILE")] = None
    """Replace all labels by those of a labels file, such as the page hands out."""
    json: bool = False
    """Print the circuit's labels as JSON: as a labels file, for --from."""


def run(options: Options) -> None:
    """Change what is asked for, save, and print all labels."""
    from sparsecircuits.circuit import save_labels
    from sparsecircuits.circuit.files import circuit_hash
    from sparsecircuits.circuit.labels import labels_file, read_labels

    _check(options)
    changes = options.from_ is not None or options.remove or _names(options) or options.group is not None
    run = (open_own_run if changes else open_run)(options.run)
    (circuit,) = saved_circuits(run, [options.circuit])
    if options.from_ is not None:
        labels = read_labels(options.from_, circuit_hash(circuit))
    else:
        labels = _changed(circuit, options)
    if changes:
        circuit = save_labels(run.circuits / options.circuit, labels)
    if options.json:
        print_json(labels_file(circuit.labels, circuit_hash(circuit)))
    else:
        _print(circuit)


def _check(options: Options) -> None:
    """What cannot be meant."""
    if options.from_ is not None and (options.nodes or options.remove or _names(options) or options.group):
        raise ConfigError("--from replaces all labels; give nothing else with it")
    if options.remove and _names(options):
        raise ConfigError("--remove takes labels away; give no --name or --note with it")
    if options.group is None:
        if (options.remove or _names(options)) and not options.nodes:
            raise ConfigError("which node? Give one, such as 0.mlp.post_act.863, or --group NAME")
        if _names(options) and len(options.nodes) > 1:
            raise ConfigError("--name and --note are for one node; for several at once give --group NAME")
        if options.nodes and not options.remove and not _names(options):
            raise ConfigError("give what the node is called: --name, --note or both; or --remove")


def _names(options: Options) -> bool:
    return options.name is not None or options.note is not None


def _changed(circuit: Circuit, options: Options) -> Labels:
    nodes = [_node(circuit, word) for word in options.nodes]
    if options.group is not None:
        return _changed_group(circuit.labels, options.group, nodes, options)
    labels = circuit.labels
    if options.remove:
        for node in nodes:
            labels = labels.without_node(node)
    elif nodes:
        from sparsecircuits.circuit import Label

        old = labels.nodes.get(nodes[0])
        name = options.name if options.name is not None else (old.name if old else "")
        note = options.note if options.note is not None else (old.note if old else "")
        labels = labels.with_node(nodes[0], Label(name, note))
    return labels


def _changed_group(labels: Labels, name: str, nodes: list[Node], options: Options) -> Labels:
    from sparsecircuits.circuit import Group

    old = labels.group(name)
    if options.remove:
        without = labels.without_group(name)  # or says that there is none
        assert old is not None
        left = tuple(node for node in old.nodes if node not in nodes)
        return labels.with_group(Group(name, old.note, left)) if nodes and left else without
    if old is None and not nodes:
        raise ConfigError(f"there is no group {name!r} yet; give the nodes that make it up")
    note = options.note if options.note is not None else (old.note if old else "")
    members = tuple(nodes) or (old.nodes if old else ())
    if options.name is not None and options.name.strip() != name:
        if labels.group(options.name.strip()) is not None:
            raise ConfigError(f"there is a group {options.name.strip()!r} already")
        labels, name = labels.without_group(name) if old else labels, options.name
    return labels.with_group(Group(name, note, members))


def _node(circuit: Circuit, word: str) -> Node:
    from sparsecircuits.errors import near_misses
    from sparsecircuits.model import Node

    node = Node.parse(word)
    if node not in circuit.nodes:
        near = near_misses(word, map(str, circuit.nodes)) if len(circuit) <= 2000 else "it is not in it"
        raise ConfigError(f"the circuit for {circuit.task} has no node {word}; {near}")
    return node


def _print(circuit: Circuit) -> None:
    labels = circuit.labels
    rows: list[dict[str, Any]] = [
        {"what": str(node), "name": labels.nodes[node].name, "note": _line(labels.nodes[node].note)}
        for node in sorted(labels.nodes)
    ]
    rows += [
        {"what": ", ".join(map(str, group.nodes)), "name": group.name, "note": _line(group.note)}
        for group in labels.groups
    ]
    if rows:
        print_table(rows, _COLUMNS, title=f"labels of the circuit for {circuit.task}")
    else:
        print(f"the circuit for {circuit.task} has no labels")


def _line(text: str) -> str:
    return " ".join(text.split())
