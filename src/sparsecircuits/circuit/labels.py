"""What people call the nodes of a circuit: a name and a note for a node, or for a group of nodes.

Labels are kept in the circuit's file and shown wherever its nodes are. They change nothing that the circuit
does, so its hash, and a report card that rests on it, stay as they are.

As plain data, in the circuit's file and in a page's document alike::

    {"nodes": {"0.mlp.post_act.863": {"name": "finds the quote", "note": "fires on both kinds"}},
     "groups": [{"name": "the copying head", "note": "", "nodes": ["1.attn.q.15", "1.attn.v.11"]}]}

A *labels file* is what the page hands out and ``sparsecircuits label --from`` reads: these data under
``labels``, with the hash of the circuit that they are of.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from sparsecircuits.errors import ConfigError, near_misses
from sparsecircuits.model import Node

NAME_LIMIT = 80
NOTE_LIMIT = 2_000
GROUPS_LIMIT = 200
LABELS_FORMAT, LABELS_VERSION = "sparsecircuits.labels", 1
# Of the Unicode categories, those that are no text: control characters, halves of pairs, line separators.
_NO_TEXT = ("Cc", "Cs", "Zl", "Zp")
# They turn the direction of what follows, which may be text that is not the label's.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


@dataclass(frozen=True)
class Label:
    """What a node is called.

    Attributes:
        name: one line of at most 80 characters; may be empty if there is a note.
        note: at most 2,000 characters; lines may break.

    Raises:
        ConfigError: too long, a control character, or neither a name nor a note.
    """

    name: str
    note: str = ""

    def __post_init__(self) -> None:
        _tidy(self)
        if not self.name and not self.note:
            raise ConfigError("a label needs a name or a note")


@dataclass(frozen=True)
class Group:
    """Some nodes with a name of their own.

    Attributes:
        name: one line of at most 80 characters; no two groups of a circuit share it.
        note: at most 2,000 characters; lines may break.
        nodes: at least one; sorted, each once.

    Raises:
        ConfigError: no name, no nodes, too long, or a control character.
    """

    name: str
    note: str = ""
    nodes: tuple[Node, ...] = ()

    def __post_init__(self) -> None:
        _tidy(self)
        if not self.name:
            raise ConfigError("a group needs a name")
        if not self.nodes:
            raise ConfigError(f"the group {self.name!r} needs a node")
        object.__setattr__(self, "nodes", tuple(sorted(set(self.nodes))))


@dataclass(frozen=True)
class Labels:
    """All labels of a circuit; false if there are none.

    Raises:
        ConfigError: two groups of one name, or more than 200 groups.
    """

    nodes: Mapping[Node, Label] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"two groups are called {name!r}; a group's name is its own")
        if len(names) > GROUPS_LIMIT:
            raise ConfigError(f"{len(names)} groups; at most {GROUPS_LIMIT} are allowed")

    def __bool__(self) -> bool:
        return bool(self.nodes or self.groups)

    @property
    def touched(self) -> frozenset[Node]:
        """Every node with a label or in a group."""
        return frozenset(self.nodes) | {node for group in self.groups for node in group.nodes}

    def group(self, name: str) -> Group | None:
        """The group of this name, if there is one."""
        return next((group for group in self.groups if group.name == name), None)

    def with_node(self, node: Node, label: Label) -> Self:
        """A copy in which ``node`` has this label."""
        return replace(self, nodes={**self.nodes, node: label})

    def without_node(self, node: Node) -> Self:
        """A copy in which ``node`` has no label of its own; groups stay.

        Raises:
            ConfigError: it has none.
        """
        if node not in self.nodes:
            raise ConfigError(f"{node} has no label; {near_misses(str(node), map(str, self.nodes))}")
        return replace(self, nodes={other: label for other, label in self.nodes.items() if other != node})

    def with_group(self, group: Group) -> Self:
        """A copy with this group, in place of that of its name."""
        if self.group(group.name) is None:
            return replace(self, groups=(*self.groups, group))
        return replace(self, groups=tuple(group if old.name == group.name else old for old in self.groups))

    def without_group(self, name: str) -> Self:
        """A copy without this group; labels of its nodes stay.

        Raises:
            ConfigError: there is none.
        """
        if self.group(name) is None:
            raise ConfigError(
                f"no group {name!r}; {near_misses(name, [group.name for group in self.groups])}"
            )
        return replace(self, groups=tuple(group for group in self.groups if group.name != name))

    def keeping(self, nodes: Iterable[Node]) -> Self:
        """A copy without what is said of other nodes; a group that loses all of its nodes is gone."""
        kept = frozenset(nodes)
        groups = [(group, tuple(node for node in group.nodes if node in kept)) for group in self.groups]
        return replace(
            self,
            nodes={node: label for node, label in self.nodes.items() if node in kept},
            groups=tuple(replace(group, nodes=left) for group, left in groups if left),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as the module says; nodes in order."""
        return {
            "nodes": {
                str(node): {"name": self.nodes[node].name, "note": self.nodes[node].note}
                for node in sorted(self.nodes)
            },
            "groups": [
                {"name": group.name, "note": group.note, "nodes": [str(node) for node in group.nodes]}
                for group in self.groups
            ],
        }

    @classmethod
    def from_dict(cls, data: Any, where: str = "labels") -> Self:
        """Read :meth:`to_dict`'s data; a note may be left out, nothing else may be more or less.

        Args:
            data: the plain data, which nobody has checked.
            where: what to call their origin in messages.

        Raises:
            ConfigError: what is wrong and where.
        """
        _keys(data, {"nodes", "groups"}, where, optional={"nodes", "groups"})
        nodes, groups = data.get("nodes", {}), data.get("groups", [])
        if not isinstance(nodes, dict):
            raise ConfigError(f"{where}: nodes is {type(nodes).__name__}; expected a mapping")
        if not isinstance(groups, list):
            raise ConfigError(f"{where}: groups is {type(groups).__name__}; expected a list")
        labels: dict[Node, Label] = {}
        for name, told in nodes.items():
            place = f"{where}: nodes[{name!r}]"
            _keys(told, {"name", "note"}, place, optional={"note"})
            labels[_node(name, place)] = _built(place, Label, told["name"], told.get("note", ""))
        made = []
        for i, told in enumerate(groups):
            place = f"{where}: groups[{i}]"
            _keys(told, {"name", "note", "nodes"}, place, optional={"note"})
            if not isinstance(told["nodes"], list):
                raise ConfigError(f"{place}: nodes is {type(told['nodes']).__name__}; expected a list")
            members = tuple(_node(name, place) for name in told["nodes"])
            made.append(_built(place, Group, told["name"], told.get("note", ""), members))
        return _built(where, cls, labels, tuple(made))


def labels_file(labels: Labels, circuit_sha256: str) -> dict[str, Any]:
    """What a labels file holds, for :func:`read_labels`."""
    head = {"format": LABELS_FORMAT, "format_version": LABELS_VERSION}
    return {**head, "circuit_sha256": circuit_sha256, "labels": labels.to_dict()}


def read_labels(path: str | Path, circuit_sha256: str) -> Labels:
    """Read a labels file of the circuit with this hash.

    Raises:
        ConfigError: missing or damaged, or of another circuit.
    """
    try:
        data = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a readable labels file: {error}") from error
    _keys(data, {"format", "format_version", "circuit_sha256", "labels"}, str(path))
    if (data["format"], data["format_version"]) != (LABELS_FORMAT, LABELS_VERSION):
        raise ConfigError(
            f"{path}: format {data['format']!r} {data['format_version']!r}; "
            f"expected {LABELS_FORMAT!r} {LABELS_VERSION}"
        )
    if data["circuit_sha256"] != circuit_sha256:
        raise ConfigError(f"{path}: these labels are of another circuit, or of this one before it was edited")
    return Labels.from_dict(data["labels"], str(path))


def _tidy(label: Label | Group) -> None:
    """Check name and note, and take blanks off their ends."""
    for what, limit, breaks in (("name", NAME_LIMIT, ""), ("note", NOTE_LIMIT, "\n\t")):
        text = getattr(label, what)
        if not isinstance(text, str):
            raise ConfigError(f"a label's {what} is {type(text).__name__}; expected a string")
        text = text.replace("\r\n", "\n") if breaks else text
        for i, letter in enumerate(text):
            if letter in _TURNING or (unicodedata.category(letter) in _NO_TEXT and letter not in breaks):
                raise ConfigError(
                    f"a label's {what} cannot hold U+{ord(letter):04X} (character {i + 1}); "
                    "control characters are not allowed"
                )
        text = text.strip()
        if len(text) > limit:
            raise ConfigError(f"a label's {what} has {len(text):,} characters; at most {limit:,} are allowed")
        object.__setattr__(label, what, text)


def _built(where: str, make: Any, *values: Any) -> Any:
    try:
        return make(*values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _node(name: Any, where: str) -> Node:
    if not isinstance(name, str):
        raise ConfigError(f"{where}: {name!r} is no node's name")
    return _built(where, Node.parse, name)


def _keys(data: Any, known: set[str], where: str, optional: Iterable[str] = ()) -> None:
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: {type(data).__name__}; expected a mapping")
    for key in data:
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; {near_misses(str(key), known)}")
    for key in sorted(known.difference(optional)):
        if key not in data:
            raise ConfigError(f"{where}: missing key {key!r}")
